"""From what was collected to a Report: on every process the same numbers, on rank 0 the points and pictures too."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from lightning_invariant.callback.collector import Collector
from lightning_invariant.callback.evidence import Evidence, joined
from lightning_invariant.callback.findings import Findings
from lightning_invariant.callback.gather import gathered, process_count, shared
from lightning_invariant.callback.illustrate import illustrated, picture
from lightning_invariant.callback.measure import measure
from lightning_invariant.callback.names import METRICS, SCORES
from lightning_invariant.projections import Projection
from lightning_invariant.tracking import Report

if TYPE_CHECKING:
    from pytorch_lightning import LightningModule, Trainer


@dataclass
class Reporter:
    """Makes reports; what fails becomes a finding and finite fallback values, never an exception.

    Args:
        projection: The invariant map.
        collector: What was kept of the batches.
        findings: Where failures go.
        neighbours: k of the kNN probe.
        embeddings: Whether points and pictures are made.
        prefix: Put before every name.
        samples: Sizes of the bank and of the queries that were measured last.
    """

    projection: Projection
    collector: Collector
    findings: Findings
    neighbours: int
    embeddings: bool
    prefix: str
    samples: dict[str, int] = field(default_factory=dict)

    def report(self, trainer: Trainer, network: LightningModule, last: Report | None) -> Report:
        """A report of the validation that just ended; a collective call on every process."""
        started = time.perf_counter()
        numbers: dict[str, float] = {}
        shown: Evidence | None = None
        for loader in sorted(self.collector.samples) or [0]:
            local = self._local_evidence(trainer, network, loader)
            parts = [part for part in gathered(local) if part is not None]
            evidence, outcome = self._measure(network, parts) if trainer.is_global_zero else (None, None)
            shown = evidence if loader == 0 else shown
            suffix = f"/dataloader_{loader}" if loader else ""
            measured = shared(outcome) or self._fallback(last, suffix)
            numbers |= {f"{name}{suffix}": value for name, value in measured.items()}
        numbers["invariant/problems"] = float(shared(len(self.findings)))
        numbers["invariant/seconds"] = shared(time.perf_counter() - started)
        scalars = {self.prefix + name: value for name, value in numbers.items()}
        report = Report(trainer.global_step, scalars, messages=self.findings.fresh())
        if shown is None or not self.embeddings:
            return report
        return illustrated(report, shown, self.projection, prefix=self.prefix)

    def picture(self, report: Report) -> bytes | None:
        """The scatter of a report as PNG, None where it has none or matplotlib is missing."""
        return picture(report, self.findings, prefix=self.prefix)

    def _local_evidence(self, trainer: Trainer, network: LightningModule, loader: int) -> Evidence | None:
        if loader not in self.collector.samples:  # the layer was not called, which is a finding of its own
            return None
        with self.findings.guarding("report", strict=False):
            evidence = self.collector.evidence(network, trainer.precision_plugin.forward_context, loader)
            if evidence.simulated:
                self.findings.add(
                    "simulated",
                    f"latents of moved inputs are not to be had: {self.collector.unreachable}. Latents are moved as "
                    "the declared representation says, and the network's own equivariance is not measured.",
                )
            if evidence.labels is None:
                self.findings.add("labels", "no labels were found, so no probe is scored; give labels= to read them.")
            return evidence.to("cpu") if process_count() > 1 else evidence
        return None

    def _measure(
        self, network: LightningModule, parts: list[Evidence]
    ) -> tuple[Evidence | None, dict[str, float] | None]:
        if not parts:
            return None, None
        with self.findings.guarding("report", strict=False):
            device = next((p.device for p in network.parameters()), torch.device("cpu"))
            evidence, dropped = joined(parts).to(device).finite()
            if dropped:
                layer = self.collector.tap.layer
                self.findings.add(
                    "nan", f"latents of {layer!r} with NaN or infinity were left out, {dropped} at first."
                )
            self.projection.to(device)
            self.samples = {"bank": len(evidence.bank), "queries": len(evidence.queries)}
            return evidence, measure(evidence, self.projection, neighbours=self.neighbours)
        return None, None

    def _fallback(self, last: Report | None, suffix: str) -> dict[str, float]:
        """The last values, or the worst: a key that is missing or NaN would end a training that monitors it."""
        known = {} if last is None else last.scalars
        worst = {name: 0.0 if name in SCORES else 1.0 for name in METRICS}
        return {name: known.get(f"{self.prefix}{name}{suffix}", value) for name, value in worst.items()}
