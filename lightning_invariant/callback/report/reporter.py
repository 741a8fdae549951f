"""One report: latents of all processes, numbers, findings, points and figures, as one immutable value."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

from lightning_invariant.callback.capture.capture import MAX_BYTES, Capture, Sizes
from lightning_invariant.callback.capture.orbit import Orbit
from lightning_invariant.callback.report.assemble import Assembled, Assembler
from lightning_invariant.callback.report.finder import Finder
from lightning_invariant.callback.report.illustrate import Figures, figures_of, points_of
from lightning_invariant.callback.support.budget import LEAST, Budget, Cost
from lightning_invariant.callback.support.findings import Findings
from lightning_invariant.callback.support.gather import alone, gathered, process_count, shared
from lightning_invariant.callback.support.masked import without_masks
from lightning_invariant.errors import ActionError, InvariantError, LatentError, LayerError
from lightning_invariant.evaluation import Evaluation, evaluate, findings, headlines, names
from lightning_invariant.evaluation.evaluate import UNKNOWN
from lightning_invariant.groups import Sampled
from lightning_invariant.groups.actions import member_action
from lightning_invariant.probes import parse_probes, target_kind
from lightning_invariant.tracking import Report, announce, conclude, dashboard

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytorch_lightning import LightningModule, Trainer

    from lightning_invariant.callback.arguments import Arguments
    from lightning_invariant.callback.capture.private_copy import PrivateCopy
    from lightning_invariant.evaluation import Latents
    from lightning_invariant.groups.actions import MemberAction
    from lightning_invariant.probes import KNN
    from lightning_invariant.projections import Projection

UNSAMPLED = ("equivariance_", "action_error", "pose", "spearman", "distortion", "hard_negatives")
"""Numbers that take a group, not samples of transforms."""
TRANSFORMED = {
    *("error", "error_raw", "equivariance_error", "equivariance_worst", "equivariance_held", "action_error"),
    *("retrieval", "retrieval_raw", "pose", "pose_raw", "queries"),
}
"""Numbers that take latents of transformed inputs, beside the scores of probes."""


@dataclass(frozen=True)
class Reach:
    """Whether latents of transformed inputs can be had.

    Args:
        action: How the group transforms the arguments; None if they cannot be had.
        reason: Why.
        is_mistake: Whether what the user says of the action fits no argument.
    """

    action: MemberAction | None
    reason: str
    is_mistake: bool = False


class Reporter:
    """Makes reports of what was captured.

    Args:
        given: What the user says of the latent.
        probes: Which probes are fitted.
        sizes: Bank and queries that are kept.
        max_overhead: Bound on our time over the training's own.
        figures: How figures put points into the plane; None for none.
        prefix: Put before every name.
        seed: Of every random choice.
    """

    def __init__(
        self,
        given: Arguments,
        probes: Sequence[str | KNN],
        sizes: tuple[int, int],
        max_overhead: float | None,
        figures: Figures | None,
        prefix: str,
        seed: int,
    ) -> None:
        self.given, self.prefix, self.seed = given, prefix, seed
        self.figures: Figures | None = figures
        self.probes = parse_probes(probes)
        self.names, self.headlines = names(self.probes), headlines(self.probes)
        self.findings, self.budget = Findings(), Budget(max_overhead)
        sized = Sizes(sizes[0], sizes[1], seed)
        orbit = None if given.orbit is None else partial(Orbit.of, given.orbit, given.action)
        self.capture = Capture(given.reader, given.function, given.batch, sized, self.findings.add, orbit)
        self._assembler: Assembler | None = None
        self.evaluation: Evaluation | None = None
        self._reach: Reach | None = None
        self._fitting = False

    @property
    def projection(self) -> Projection:
        """The invariant map of latents as they are recorded."""
        return self.given.measured

    @property
    def assembler(self) -> Assembler:
        """Encodes transformed inputs."""
        group = self.given.symmetry.group
        if self._assembler is None or self._assembler.group != group:
            samples: Any = self.given.projection.samples if isinstance(group, Sampled) else 0
            self._assembler = Assembler(self.capture, group, self.seed, samples)
        return self._assembler

    def begin_run(self, *, fitting: bool) -> None:
        """Forget another run."""
        self.given.symmetry.begin()
        self.capture.begin_run()
        self.given.nodes.seen = False
        self.findings.begin()
        self.evaluation, self._reach, self._fitting = None, None, fitting
        if fitting:
            self.budget.begin()
        else:
            self.budget.end()

    def check(self, monitored: set[str]) -> None:
        """Check, at the sanity check, that everything fits; a collective call.

        Args:
            monitored: Names of ours that callbacks and schedulers act on.

        Raises:
            LayerError: The layer is never called.
            LatentError: No latent is finite.
            ActionError: What the user says of the action fits no argument.
            InvariantError: Something monitors a number that cannot be measured.
        """
        if not any(gathered(self.capture.called)):
            raise LayerError(
                f"Expected layer {self.given.layer_name!r} to give latents in the validation step but it gave none; "
                "name a layer that the step uses."
            )
        rows = [kept.bank.columns["z"] for kept in self.capture.kept.values() if len(kept.bank)]
        finite = gathered([int(z.isfinite().all(dim=1).sum()) for z in rows])
        if not any(map(sum, finite)):
            raise LatentError(
                f"Expected finite latents from layer {self.given.layer_name!r} but got NaN or infinity in all "
                f"{sum(map(len, rows))} rows; look at the inputs' scale and the layer's weights."
            )
        reach = self.reach()
        if reach.is_mistake:
            raise ActionError(f"{reach.reason}.")
        has_labels = any(gathered(any("y" in kept.bank.columns for kept in self.capture.kept.values())))
        for name in sorted(monitored):
            reason = self._unmeasured(self._inner(name), reach, has_labels=has_labels)
            if not reason and len(self.capture.kept) > 1 and "/dataloader_idx_" not in name:
                reason = f"with several loaders it is logged as '{name}/dataloader_idx_0' and so on"
            if reason:
                raise InvariantError(
                    f"Expected to measure {name!r}, which a callback or scheduler monitors, but {reason}; monitor "
                    "another number, or make this one measurable."
                )
        with self.findings.guarding("warming up", strict=False):  # first calls are slow, and no part of the plan
            if self.given.symmetry.sought is None:  # a sanity check has too few samples to find anything in
                self._evaluated(sorted(self.capture.kept)[0] if self.capture.kept else 0, reach, limit=LEAST)

    def owns(self, name: str) -> bool:
        """Return whether a name is one of ours."""
        return self._inner(name) is not None

    def report(self, module: LightningModule, step: int, validations: int, *, testing: bool) -> Report | None:
        """Return a report of the validation that has run, the same numbers on every process; a collective call.

        Args:
            module: The network; looked through for strides.
            step: Global step.
            validations: How many there were in this run, this one included.
            testing: Whether the data are those of a test, whose names are different.

        Returns:
            None, with a finding, where no latent was recorded, or the plan leaves this validation out.
        """
        if not any(gathered(self.capture.called)):
            self.findings.add("no latents", f"layer {self.given.layer_name!r} gave no latents in this validation.")
            return None
        scalars: dict[str, float] = {}
        missing: dict[str, str] = {}
        embeddings, drawings, samples = {}, {}, {}
        loaders = sorted(set().union(*gathered(set(self.capture.kept))))
        reach = self.reach()
        for loader in loaders:
            suffix = f"/dataloader_idx_{loader}" if len(loaders) > 1 else ""
            with self._guarding(f"report{suffix}"):
                started = perf_counter()
                measured, assembled = self._planned(loader, reach, validations, testing=testing)
                seconds = perf_counter() - started
                told: tuple[dict[str, float], Mapping[str, str]] = ({}, {})
                with self._guarding("evaluation"):  # rank 0 alone works here, and no other may wait for it
                    if measured is not None:
                        tag = self._tag(testing, suffix)
                        told = self._told(measured, module, seconds)
                        if loader == loaders[0]:
                            self.evaluation = measured
                        if self.figures is not None:
                            embeddings |= points_of(measured, tag)
                            drawings |= figures_of(measured, tag, self.figures, self.projection.representation)
                        samples |= {f"bank{suffix}": len(measured.latents.bank)}
                        samples |= {f"queries{suffix}": assembled.queries}
                told = shared(told)  # rank 0 alone has measured
                scalars |= {self._name(name, testing) + suffix: value for name, value in told[0].items()}
                missing |= {f"{name}{suffix}": reason for name, reason in told[1].items()}
        if any(kept.calls is not None and kept.calls.cut for kept in self.capture.kept.values()):
            self.findings.note("memory", f"inputs are large: as many are kept as {MAX_BYTES // 2**20} MiB hold.")
        scalars[self._name("findings", testing)] = float(shared(len(self.findings)))
        return Report(
            step=step,
            scalars=scalars,
            embeddings=embeddings,
            figures=drawings,
            messages=self.findings.fresh(),
            missing=missing,
            samples=shared(samples),
        )

    def measure_again(self, copied: PrivateCopy) -> Evaluation | None:
        """Return what other weights than those of the last validation give on its kept inputs; for one process.

        Args:
            copied: With those weights.
        """
        reach = self.reach()
        if reach.action is None or not self.capture.kept:
            return None
        loader = min(self.capture.kept)
        with alone():
            assembled = self.assembler.assemble(loader, reach.action, "", copied=copied)
            latents = self._in_basis(loader, reach, assembled.latents, copied)
        if latents is None or len(latents.bank) < 2:
            return None
        return evaluate(latents, self.projection, probes=self.probes, seed=self.seed)

    def reach(self) -> Reach:
        """Return whether latents of transformed inputs can be had, said once; a collective call."""
        if self._reach is None:
            own = self._own_reach()
            reasons = [reason for reason in gathered(own.reason) if reason]
            self._reach = own if not reasons else Reach(None, reasons[0], own.is_mistake)
            if self._reach.action is None and not self._reach.is_mistake:
                self.findings.add(
                    "not transformed",
                    f"latents of transformed inputs cannot be had, so nothing that needs them is measured: "
                    f"{self._reach.reason}.",
                )
            elif self._reach.action is not None:
                self.findings.note("action", f"{self._reach.action}. What is made again: {self.capture.way}.")
            if self.given.symmetry.story:
                self.findings.note("representation", f"representation: {self.given.symmetry.story}.")
            self.findings.note("labels", f"labels: {self._labels()}.")
            if self.given.nodes.seen:
                self.findings.note("rows", f"{self.given.nodes}.")
        return self._reach

    def _labels(self) -> str:
        """Where labels were found, and how many classes they have so far."""
        found = [kept.bank.columns["y"] for kept in self.capture.kept.values() if "y" in kept.bank.columns]
        if not found:
            return self.capture.labels_from or "none were found"
        place = self.capture.labels_from.split(",")[0]
        kind = target_kind(found[0])
        return f"{place}, {len(found[0].unique())} classes so far" if kind == "classes" else f"{place}, {kind}"

    def open_pages(self, trainer: Trainer, module: LightningModule, folder: str | None) -> None:
        """Write settings and the dashboard's layout, once, before Lightning logs hyperparameters; on one rank only."""
        settings: dict[str, Any] = {"layer": self.given.layer_name}
        if self.given.symmetry.is_known:
            projection = self.given.projection
            settings |= {
                "representation": str(projection.representation),
                "projection": type(projection).__name__,
                "guarantee": str(projection.guarantee),
                "latent size": projection.representation.size,
                "features": projection.out_features,
            }
        for failure in announce(
            {f"{self.prefix}invariance/{name}": value for name, value in settings.items()},
            dashboard([probe.key for probe in self.probes], self.prefix),
            trainer.loggers,
            folder,
            hyperparameters=_hyperparameters(trainer, module),
            metrics=[self._name(name, False) for name in self.headlines],
            part=self.prefix,
        ):
            self.findings.add(failure, failure)

    def close_pages(self, trainer: Trainer, module: LightningModule, report: Report) -> None:
        """Write the last headline numbers beside the settings; on one rank only."""
        numbers = {name: value for name, value in report.scalars.items() if self._inner(name) in self.headlines}
        hyperparameters = _hyperparameters(trainer, module)
        for failure in conclude(
            numbers, report.step, trainer.loggers, hyperparameters=hyperparameters, part=self.prefix
        ):
            self.findings.add(failure, failure)

    def _planned(
        self, loader: int, reach: Reach, validations: int, *, testing: bool
    ) -> tuple[Evaluation | None, Assembled]:
        """Numbers on as many queries as the plan says; the first report of a run makes the plan."""
        budget = self.budget
        if testing or not budget.bounded:
            return self._evaluated(loader, reach)
        if not budget.planned:
            if self.given.symmetry.sought is not None:  # finding an action happens once, and is no part of the plan
                self._evaluated(loader, reach, limit=LEAST)
            started = perf_counter()
            measured, assembled = self._evaluated(loader, reach, limit=LEAST)
            mathematics = perf_counter() - started - assembled.seconds
            cost = Cost(budget.recording + mathematics, assembled.queries, assembled.seconds)
            plan = shared(budget.make_plan(cost, assembled.available, validations))
            budget.plan, budget.planned = plan, True
            if plan.queries is not None and plan.queries <= assembled.queries:
                return measured, assembled
            if assembled.queries == assembled.available:
                return measured, assembled
        return self._evaluated(loader, reach, limit=budget.plan.queries)

    def _evaluated(self, loader: int, reach: Reach, limit: int | None = None) -> tuple[Evaluation | None, Assembled]:
        assembled = self.assembler.assemble(loader, reach.action, reach.reason, limit=limit)
        latents, measured = self._in_basis(loader, reach, assembled.latents), None
        if latents is not None:
            with self._guarding("evaluation"):
                measured = evaluate(latents, self.projection, probes=self.probes, seed=self.seed)
        return measured, assembled

    def _in_basis(
        self, loader: int, reach: Reach, latents: Latents | None, copied: PrivateCopy | None = None
    ) -> Latents | None:
        """Latents in the basis in which the representation acts: another one only where that is to be found.

        What was found is kept, so that features can be compared, as long as it holds for the weights of this moment.
        A collective call.
        """
        if self.given.symmetry.sought is None:
            return latents
        finder = Finder(self.given, self.assembler, self.seed)
        if not shared(latents is not None and finder.holds(latents)):
            refusal = finder.find(loader, reach.action, copied)
            if refusal:
                self.findings.add("not found", f"{refusal} So nothing is measured; declare the representation.")
                return None
            self.findings.note("found", f"representation: {self.given.symmetry.estimate}.")
        return None if latents is None else finder.in_basis(latents)

    def _guarding(self, key: str) -> Any:
        """Errors are findings in a training run, and where other processes wait for this one."""
        return self.findings.guarding(key, strict=not self._fitting and process_count() == 1)

    def _told(self, measured: Evaluation, module: Any, seconds: float) -> tuple[dict[str, float], Mapping[str, str]]:
        """Numbers of one loader with those of the callback itself; findings are said."""
        shown, given = measured, self.given
        declared = given.projection.representation
        if self.projection.representation != declared:
            shown = without_masks(measured, declared)
        found = findings(shown, given.projection, given.layer_name, module, pooled=given.reader.pooling is not None)
        for finding in found:
            self.findings.add(finding.key, finding.text)
        numbers = dict(measured.numbers)
        numbers |= {"seconds": seconds}
        if self._fitting:
            numbers["overhead"] = self.budget.overhead
        return numbers, measured.missing

    def _own_reach(self) -> Reach:
        capture = self.capture
        way, example = capture.way, capture.example
        if way is None or example is None:
            return Reach(None, capture.reason)
        if way.layout is None:
            return Reach(None, f"no argument of {way.frame} has one entry for each latent")
        try:
            action = member_action(self.given.symmetry.group, example, self.given.action, way.layout)
        except InvariantError as error:
            return Reach(None, str(error).rstrip("."), is_mistake=self.given.action is not None)
        if action.unknown:
            return Reach(None, action.question.rstrip("."))
        if not action.actions and action.function is None:
            return Reach(None, f"{action}, so transformed inputs would be the same")
        return Reach(action, "")

    def _inner(self, name: str) -> str | None:
        """The number that a logged name of a validation stands for; None for names that are not ours."""
        for root in ("invariance", "invariance_details"):
            start = f"{self.prefix}{root}/"
            if name.startswith(start):
                return name.removeprefix(start).split("/dataloader_idx_")[0]
        return None

    def _unmeasured(self, name: str | None, reach: Reach, *, has_labels: bool) -> str:
        """Why a number will be missing; "" if it is measured."""
        if name not in self.names:
            near = get_close_matches(name or "", list(self.names), n=3, cutoff=0.4)
            return "there is no such number" + (f" (near are {', '.join(near)})" if near else "")
        of_probe = any(name.startswith(f"{probe.key}_") or name == probe.key for probe in self.probes)
        if of_probe and not has_labels:
            return "no labels were found in the batch (give batch=BatchReader(labels=...))"
        samples = self.assembler.samples
        if name.startswith("residual_") and int(name.removeprefix("residual_")) > samples:
            return f"{samples} transforms are sampled for each input" if samples else "no transforms are sampled"
        if samples and name.startswith(UNSAMPLED):
            return UNKNOWN
        if reach.action is None and "_upright" not in name and (of_probe or name in TRANSFORMED):
            return reach.reason
        return ""

    def plain(self, scalars: Mapping[str, float]) -> dict[str, float]:
        """Return numbers of the first loader by their own names, out of logged ones."""
        found: dict[str, float] = {}
        for name, value in scalars.items():
            inner = self._inner(name)
            if inner is not None and "/dataloader_idx_" not in name.replace("/dataloader_idx_0", ""):
                found[inner] = value
        return found

    def scalars_of(self, measured: Evaluation) -> dict[str, float]:
        """Return the numbers of an evaluation that was made for an export."""
        return dict(measured.numbers)

    def _root(self, name: str) -> str:
        return "invariance" if name in self.headlines else "invariance_details"

    def _name(self, name: str, testing: bool) -> str:
        return f"{self.prefix}{'test_' if testing else ''}{self._root(name)}/{name}"

    def _tag(self, testing: bool, suffix: str) -> str:
        return f"{self.prefix}{'test_' if testing else ''}%s{suffix.replace('/', '_')}"


def _hyperparameters(trainer: Trainer, module: LightningModule) -> Mapping[str, Any] | None:
    """What Lightning is about to log; None if it will log nothing."""
    if not getattr(trainer, "enable_autolog_hparams", True):
        return None
    found: dict[str, Any] | None = None
    for part in (module, getattr(trainer, "datamodule", None)):
        if getattr(part, "_log_hyperparams", False):
            found = (found or {}) | dict(part.hparams_initial)  # type: ignore[union-attr]
    return None if found is None else {name: value for name, value in found.items() if name != "_class_path"}
