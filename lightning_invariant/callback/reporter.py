"""From what was collected to a Report: on every process the same numbers, on rank 0 the points and pictures too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from lightning_invariant.callback.budget import Budget
from lightning_invariant.callback.diagnose import diagnose
from lightning_invariant.callback.evidence import Evidence
from lightning_invariant.callback.findings import Findings
from lightning_invariant.callback.gather import gathered, process_count, shared
from lightning_invariant.callback.illustrate import illustrated, picture
from lightning_invariant.callback.measure import Measurement, measure
from lightning_invariant.callback.names import WORST, score_names
from lightning_invariant.callback.progress import forwarding
from lightning_invariant.callback.survey import Survey
from lightning_invariant.probes import ProbeName
from lightning_invariant.projections import Projection
from lightning_invariant.tracking import Report
from lightning_invariant.tracking.figures import Reduction

if TYPE_CHECKING:
    from pytorch_lightning import LightningModule, Trainer

LEAST_ROWS = 400
"""Rows of bank and queries together below which a report says too little."""
WORTHWHILE = 1.5
"""How much wider a second look must be to follow the first report of a training, whose cost nobody knew."""


@dataclass
class Reporter:
    """Makes reports; what fails becomes a finding and finite fallback values, never an exception.

    Args:
        projection: The invariant map.
        survey: Gives evidence.
        findings: Where failures go.
        budget: What reports may cost.
        probes: Which probes are fitted.
        neighbours: k of the nearest-neighbour probes.
        embeddings: Whether points and pictures are made.
        prefix: Put before every name.
        scatter: How the picture puts points into the plane.
        samples: Sizes of the bank and of the queries that were measured last.
    """

    projection: Projection
    survey: Survey
    findings: Findings
    budget: Budget
    probes: Sequence[ProbeName]
    neighbours: int
    embeddings: bool
    prefix: str
    scatter: Reduction = "pca"
    samples: dict[str, int] = field(default_factory=dict)

    def report(self, trainer: Trainer, network: LightningModule, last: Report | None, *, final: bool) -> Report:
        """A report of the validation that just ended; a collective call on every process."""
        started, least = self.budget.clock(), self.least()
        share = shared(self.budget.share(final=final, least=least))
        numbers, shown = self._numbers(trainer, network, last, share)
        self.budget.paid_report(share, self.budget.clock() - started)
        wider = shared(self.budget.share(final=final, least=least))
        if last is None and wider > WORTHWHILE * share:
            started, share = self.budget.clock(), wider
            numbers, shown = self._numbers(trainer, network, last, share)
            self.budget.paid_report(share, self.budget.clock() - started)
        if share < 1:
            self.thinned(f"{share:.0%} of the samples were used")
        numbers["invariant/problems"] = float(shared(len(self.findings)))
        numbers["invariant/seconds"] = shared(self.budget.clock() - started)
        numbers["invariant/overhead"] = shared(self.budget.overhead)
        scalars = {self.prefix + name: value for name, value in numbers.items()}
        report = Report(trainer.global_step, scalars, messages=self.findings.fresh())
        if shown is None or not self.embeddings:
            return report
        return illustrated(report, shown, prefix=self.prefix, scatter=self.scatter)

    def least(self) -> float:
        """Smallest share of the samples that is of use."""
        collector = self.survey.collector
        rows = len(collector.bank) + sum(len(sample) for sample in collector.samples.values())
        return min(1.0, LEAST_ROWS / max(1, rows * process_count()))

    def thinned(self, how: str) -> None:
        """Say once that the budget made a difference."""
        self.findings.note(
            "budget",
            f"to keep monitoring within max_overhead={self.budget.max_overhead}, {how}; now and then this happens "
            "again. max_overhead=None reports on everything at every validation.",
        )

    def _numbers(
        self, trainer: Trainer, network: LightningModule, last: Report | None, share: float
    ) -> tuple[dict[str, float], Measurement | None]:
        """Numbers of every validation loader, on every process; what the first loader's are of, on rank 0."""
        numbers: dict[str, float] = {}
        shown: Measurement | None = None
        seen = set().union(*gathered(set(self.survey.collector.samples)))
        for loader in sorted(seen) or [0]:
            # A layer that was not called is a finding of its own.
            parts = self._parts(trainer, network, loader, share) if seen else []
            measured = self._measure(network, parts[0]) if parts else None
            shown = measured if loader == 0 else shown
            suffix = f"_dataloader_{loader}" if loader else ""
            found = shared(None if measured is None else measured.numbers) or self._fallback(last, suffix)
            numbers |= {f"{name}{suffix}": value for name, value in found.items()}
        return numbers, shown

    def _parts(self, trainer: Trainer, network: LightningModule, loader: int, share: float) -> list[Evidence]:
        precision = trainer.precision_plugin.forward_context
        with self.findings.guarding("report", strict=False):
            parts = self.survey.evidence(forwarding(trainer, network), precision, loader, share)
            if parts and parts[0].simulated:
                self.findings.add(
                    "simulated",
                    f"latents of moved inputs are not to be had: {self.survey.unreachable}. Latents are moved as "
                    "the declared representation says, and the network's own equivariance is not measured.",
                )
            if parts and parts[0].labels is None:
                self.findings.add("labels", "no labels were found, so no probe is scored; give labels= to read them.")
            return parts
        return []

    def picture(self, report: Report) -> bytes | None:
        """The scatter of a report as PNG, None where it has none or matplotlib is missing."""
        return picture(report, self.findings, prefix=self.prefix)

    def _measure(self, network: LightningModule, whole: Evidence) -> Measurement | None:
        with self.findings.guarding("report", strict=False):
            layer = self.survey.collector.source.tap.layer
            device = next((p.device for p in network.parameters()), torch.device("cpu"))
            evidence, dropped = whole.to(device).finite()
            if dropped:
                self.findings.add(
                    "nan", f"latents of {layer!r} with NaN or infinity were left out, {dropped} at first."
                )
            self.projection.to(device)
            self.samples = {"bank": len(evidence.bank), "queries": len(evidence.queries)}
            measured = measure(evidence, self.projection, neighbours=self.neighbours, probes=self.probes)
            with self.findings.guarding("diagnosis", strict=False):
                for key, text in diagnose(measured, self.projection, network, layer):
                    self.findings.add(key, text)
            return measured
        return None

    def _fallback(self, last: Report | None, suffix: str) -> dict[str, float]:
        """The last values, or the worst: a key that is missing or NaN would end a training that monitors it."""
        known = {} if last is None else last.scalars
        worst = dict.fromkeys(score_names(self.probes), 0.0) | WORST
        return {name: known.get(f"{self.prefix}{name}{suffix}", value) for name, value in worst.items()}
