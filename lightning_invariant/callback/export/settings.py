"""What a user says of exporting: where to, when, and how long it may take."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from lightning_invariant.encoder.onnx_model import require_packages
from lightning_invariant.hub.target import Target

When = Literal["best", "last", "end"]
Head = Literal["linear", "logistic"]
_LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]*")


class Export:
    """Write encoder and projection to a folder at the end of a training run.

    Args:
        folder: Empty, new, or an earlier export.
        name: Name of the model on its card; the folder's name if None.
        arguments: JSON-able arguments that the layer's class is built from. Where the network cannot be written
            without its class, class path and arguments are published instead; without them that is refused.
        onnx: Whether `model.onnx` stands beside the other files; needs the extra `onnx`.

    Raises:
        OnnxError: ONNX is asked for, and what writes it is not installed.
    """

    def __init__(
        self,
        folder: str | Path,
        name: str | None = None,
        arguments: Mapping[str, Any] | None = None,
        onnx: bool = False,
    ) -> None:
        if onnx:
            require_packages()
        self.folder, self.name, self.onnx = Path(folder), name, onnx
        self.arguments = None if arguments is None else dict(arguments)


class HubExport:
    """Publish encoder and projection to the Hugging Face Hub during a training run.

    Token, names and rights are checked before the first step, and a repository that is missing is made then. Each
    export is loaded in a fresh process and compared with the live network before it is uploaded, as one commit, in the
    background. What cannot be uploaded stays in a local queue, which `lightning-invariant push` empties. Nothing of it
    ends the training.

    Args:
        repo_id: "user/name"; made if it does not exist.
        when: "best" after every new best checkpoint, "last" after every checkpoint, "end" once, with the weights that
            the training ended with.
        private: Whether a repository that does not exist yet is made private; None leaves that to the Hub.
        revision: Branch; the main branch if None. One that does not exist yet is made.
        create_pr: Open a pull request instead of committing; later exports of the run go to the same one.
        monitor: Follow the ModelCheckpoint that monitors this; None for the trainer's first.
        license: Identifier of a licence for the card, such as "apache-2.0"; None to choose none.
        head: Fit a probe on the features of validation inputs at each export, "linear" or "logistic", so that whoever
            pulls the encoder has `encoder.classify(x)`; the leave-one-out score of that probe stands on the card where
            it is among the callback's `probes`. None for none.
        labels: A name for each class from 0 on, or for each value; numbers if None.
        onnx: Whether `model.onnx` stands beside the other files; needs the extra `onnx`. Where the encoder cannot be
            written so that is a finding, and the export goes without.
        hyperparameters: Whether the module's hyperparameters stand on the card; they may hold paths or secrets.
        at_most_every: Seconds between two exports, at least 30: the Hub takes 128 commits an hour. The last one of a
            training does not wait.
        timeout: Seconds that the end of the training waits for uploads.
        queue: Folder for what is not uploaded yet; None for that of `lightning-invariant push`.
        folder: Folder that holds the latest export too; None for none.
        name: Name of the model on its card; that of the repository if None.
        arguments: Arguments of the class, as for `Export`.
        replace: Whether an encoder of another training run that measured better may be replaced; otherwise a worse one
            goes to a branch of its own.

    Raises:
        HubError: No name of a repository or branch that could be committed to.
        OnnxError: ONNX is asked for, and what writes it is not installed.
        ValueError: Another argument is out of range.
    """

    def __init__(
        self,
        repo_id: str,
        when: When = "best",
        *,
        private: bool | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        monitor: str | None = None,
        license: str | None = None,
        head: Head | None = None,
        labels: Sequence[str] | None = None,
        onnx: bool = False,
        hyperparameters: bool = False,
        at_most_every: float = 60.0,
        timeout: float = 300.0,
        queue: str | None = None,
        folder: str | Path | None = None,
        name: str | None = None,
        arguments: Mapping[str, Any] | None = None,
        replace: bool = False,
    ) -> None:
        self.folder, self.name = None if folder is None else Path(folder), name
        self.arguments = None if arguments is None else dict(arguments)
        self.target = Target(repo_id, revision, create_pr, private, replace)
        if when not in get_args(When):
            raise ValueError(f"Expected when to be one of {', '.join(map(repr, get_args(When)))} but got {when!r}.")
        if license is not None and not _LICENSE.fullmatch(license):
            raise ValueError(f"Expected a licence as the Hub names it, such as 'apache-2.0', but got {license!r}.")
        if head is not None and head not in get_args(Head):
            raise ValueError(f"Expected head to be one of {', '.join(map(repr, get_args(Head)))} but got {head!r}.")
        if labels is not None and (head is None or isinstance(labels, str) or len(set(labels)) < len(labels)):
            raise ValueError(f"Expected different labels for a head but got {labels!r} with head={head!r}.")
        if not at_most_every >= 30 or not timeout >= 0:
            raise ValueError(
                f"Expected at_most_every of at least 30 s and a timeout of at least 0 s but got {at_most_every} and "
                f"{timeout}."
            )
        if onnx:
            require_packages()
        self.onnx = onnx
        self.when, self.monitor, self.license, self.hyperparameters = when, monitor, license, hyperparameters
        self.head, self.labels = head, None if labels is None else [str(label) for label in labels]
        self.at_most_every, self.timeout, self.queue = at_most_every, timeout, queue
