"""What a training run hears of the Hub: whether it may publish, and what became of its uploads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning_invariant.callback.export.checkpoints import followed
from lightning_invariant.callback.support.roots import inform

if TYPE_CHECKING:
    from pytorch_lightning import Trainer

    from lightning_invariant.callback.export.settings import HubExport
    from lightning_invariant.callback.support.findings import Findings
    from lightning_invariant.hub.queue import Queue
    from lightning_invariant.hub.worker import Worker

PUSH = "run `lightning-invariant push` to try again"


class HubNews:
    """Uploads of one training run; news of them become findings.

    Args:
        hub: Where to publish.
        findings: Where failures go.
    """

    def __init__(self, hub: HubExport, findings: Findings) -> None:
        self.hub, self.findings = hub, findings
        self.publisher: Worker | None = None

    @property
    def queue(self) -> Queue:
        """Where exports wait."""
        from lightning_invariant.hub.queue import Queue

        return Queue(self.hub.queue)

    def check(self, trainer: Trainer) -> None:
        """Check whether the Hub takes what will be published.

        Raises:
            ArtifactError: The queue cannot be written.
            HubError: It refuses, or there is no checkpoint to follow.
        """
        from lightning_invariant.hub.access import check_access

        followed(trainer, self.hub.monitor)
        queue = self.queue
        queue.check()
        if trouble := check_access(self.hub.target):
            self.findings.add(
                "hub",
                f"{trouble}. The training goes on; exports wait in {queue.folder}, and are uploaded when it answers.",
            )

    def upload(self, queue: Queue) -> None:
        """Start to empty the queue in the background."""
        from lightning_invariant.hub.worker import Worker

        if self.publisher is None:
            self.publisher = Worker(queue, self.hub.target.repo_id)
        self.publisher.start()

    def listen(self) -> None:
        """Turn news of uploads into words."""
        if self.publisher is None:
            return
        outcomes, troubles = self.publisher.news()
        for outcome in outcomes:
            if outcome.state == "published":
                inform(f"lightning-invariant: published {outcome.url}")
            elif outcome.state in ("kept", "refused"):
                self.findings.add(
                    f"hub {outcome.trouble}",
                    f"not published to {outcome.repo_id}: {outcome.trouble}. It is kept in {outcome.entry}; {PUSH}.",
                )
        for trouble in troubles:
            self.findings.add(
                f"hub {trouble}", f"{trouble}. Exports are kept in {self.publisher.queue.folder}; {PUSH}."
            )

    def wait(self) -> None:
        """Wait until uploads are done, or as long as the user allows."""
        if self.publisher is None:
            return
        say = lambda text: inform(f"lightning-invariant: {text}")  # noqa: E731
        with self.findings.guarding("upload", strict=False):
            ended = self.publisher.finish(self.hub.timeout, say)
            self.listen()
            if not ended:
                self.findings.add(
                    "hub timeout",
                    f"uploads to {self.hub.target} were not done after {self.hub.timeout:.0f} s. They go on in a "
                    f"process of their own; what that cannot upload is kept in {self.publisher.queue.folder}: {PUSH}.",
                )

    def leave(self) -> None:
        """Leave without waiting."""
        self.listen()
        if self.publisher is not None:
            self.publisher.leave()
