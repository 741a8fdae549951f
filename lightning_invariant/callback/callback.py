"""One callback for any training loop: watch a layer's latents at every validation, and export the encoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_invariant.batch import BatchReader
from lightning_invariant.callback.arguments import Arguments
from lightning_invariant.callback.capture.frames import LatentFunction
from lightning_invariant.callback.capture.latent import Pool
from lightning_invariant.callback.capture.nodes import Readout
from lightning_invariant.callback.export import Export, Exporter, HubExport
from lightning_invariant.callback.report.illustrate import Figures
from lightning_invariant.callback.report.reporter import Reporter
from lightning_invariant.callback.support.gather import gathered
from lightning_invariant.callback.support.roots import callback_base
from lightning_invariant.callback.support.trainer_facts import (
    files_folder,
    is_last_validation,
    is_sharded,
    monitored_names,
    repeated_share,
)
from lightning_invariant.errors import InvariantError
from lightning_invariant.evaluation import repeats_training
from lightning_invariant.groups import Representation
from lightning_invariant.groups.actions import InputAction
from lightning_invariant.orbit_layer import OrbitLayer
from lightning_invariant.probes import KNN
from lightning_invariant.projections import Projection
from lightning_invariant.tracking import Report, publish

if TYPE_CHECKING:
    from pytorch_lightning import Callback, LightningModule, Trainer
else:
    Callback = callback_base()

NO_VALIDATION = (
    "Expected a validation to report at, but this training run has none, so nothing is measured before "
    "trainer.validate() or test(); give the module a validation_step, and fit() validation data, with "
    "limit_val_batches over 0."
)


class InvariantCallback(Callback):
    """Monitor a layer's latents once their symmetry is accounted for, and export the encoder with its projection.

    At every validation it records the latents that the validation step computes, transforms a sample of the inputs by
    random group elements, encodes them on a private copy of the network, and compares raw with invariantly projected
    latents: leave-one-out probes, invariance and equivariance errors (`lightning_invariant.evaluation.names` lists what
    is logged), points for TensorBoard's projector, and a figure. The training run is not changed: every weight is the
    same without the callback. A number that is logged was measured; what cannot be measured is absent, with the reason
    as a finding.

    Args:
        layer: Name of the layer whose output is the latent, as in `named_modules`, such as "encoder";
            `OrbitLayer("encoder", "C8")` for its outputs under all elements of a group, where the network is not
            equivariant; or a function of the LightningModule and a batch that gives the latent.
        representation: How the symmetry acts on the latent, such as "C4: 16 regular"; None to read it off the layer or
            its output, where they are escnn's or e3nn's, or off the projection; or a group alone, such as
            "C4: find", to find that from the latents (docs/find.md).
        projection: The invariant map; None for the best that is known (`choose`).
        action: How the group transforms the arguments that lead to the layer: an `InputAction`, a mapping of their
            names to rules such as {"pos": "vectors", "z": "points"}, or a function of input and elements; None to find
            that by group, name and shape. What was found is said once.
        pick: Index, key or function that takes the latent out of a tuple or dict that the layer gives; such as
            `lambda tokens: tokens[:, 0]` for a class token.
        pool: "mean" or "max" of the latents at the positions of a feature map or the tokens of a sequence. Where each
            node of a graph has a latent of its own, "readout sum" or "readout mean" of the features of a graph's nodes.
            None if the latent has no positions, or each node is a sample. Maps of escnn whose representation is read
            off them are averaged.
        batch: Reads labels, groups of samples and masks off a batch where that cannot be found by itself.
        probes: Probes by name: "knn", "weighted_knn", "cosine_knn", "weighted_cosine_knn", "linear" (ridge),
            "logistic"; or `KNN(k=5, metric="cosine")`.
        sample_size: Most validation samples whose transformed inputs are encoded, for each loader.
        bank_size: Most validation latents that the probes are fitted on, for each loader.
        every_n_validations: Report at every n-th validation; nothing is logged in between.
        max_overhead: Bound on the time of monitoring over the training's own. The first validation fixes how many
            samples fit, and every later one measures the same ones. None for all of `sample_size`.
        figures: How figures put points into the plane: "pca", "umap" (seconds a figure, extra `umap`), or "quotient"
            (components modulo the group beside those of raw latents); None for no points and no figures.
        export: Folder for the encoder at the end of `fit`, `Export` for one with settings, or `HubExport` for the
            Hugging Face Hub; None for nothing.
        prefix: Put before every logged name, for callbacks on several layers.
        seed: Seed of every random choice; the global random state is not touched.

    Raises:
        ParseError: The representation cannot be read.
        ValueError: A number is out of range, a probe is not known, or the projection is for another representation.
        ActionError: `action` is none of the kinds above.

    Example:
        >>> callback = InvariantCallback("encoder", "C4: 16 regular")

    References:
        Hansen, Calissano, Feragen 2024, Interpreting Equivariant Representations (arXiv 2401.12588).
    """

    def __init__(
        self,
        layer: str | LatentFunction | OrbitLayer,
        representation: str | Representation | None = None,
        projection: Projection | None = None,
        action: InputAction | Mapping[str, Any] | Callable[..., Any] | None = None,
        pick: Callable[[Any], Any] | int | str | None = None,
        pool: Pool | Readout | None = None,
        batch: BatchReader | None = None,
        probes: Sequence[str | KNN] = ("knn", "linear"),
        sample_size: int = 1000,
        bank_size: int = 4000,
        every_n_validations: int = 1,
        max_overhead: float | None = 0.05,
        figures: Figures | None = "pca",
        export: str | Path | Export | HubExport | None = None,
        prefix: str = "",
        seed: int = 0,
    ) -> None:
        super().__init__()
        given = Arguments(layer, representation, projection, action, pick, pool, batch)
        self._given, self.layer = given, given.layer_name
        given.require_settings(probes, sample_size, bank_size, every_n_validations, figures, prefix)
        self.prefix, self.every_n_validations = prefix, every_n_validations
        self.report: Report | None = None
        self._reporter = Reporter(given, probes, (bank_size, sample_size), max_overhead, figures, prefix, seed)
        self._capture, self._findings = self._reporter.capture, self._reporter.findings
        self._budget = self._reporter.budget
        self._exporter = Exporter(export, self._reporter)
        self._validations = 0
        self._due = self._fitting = False
        self._network: Any = None
        self._unseen: Report | None = None
        self._folder: str | None = None

    @property
    def representation(self) -> Representation | None:
        """How the symmetry acts on the latent; None until that was read off the layer."""
        return self._given.representation

    @property
    def projection(self) -> Projection | None:
        """The invariant map; None until it is known how the symmetry acts."""
        return self._given.projection if self._given.symmetry.is_known else None

    @property
    def state_key(self) -> str:
        """Tell callbacks on several layers apart in a checkpoint."""
        declared = str(self._given.symmetry.declared)
        return self._generate_state_key(layer=self.layer, representation=declared, prefix=self.prefix)

    def state_dict(self) -> dict[str, Any]:
        """Return plain values from which `lightning-invariant export` makes the encoder out of a checkpoint."""
        return self._exporter.notes(self.report)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse a second callback that would log under the same names."""
        others = [other for other in trainer.callbacks if isinstance(other, InvariantCallback)]  # type: ignore[attr-defined]
        if [other.prefix for other in others].count(self.prefix) > 1:
            raise InvariantError(
                f"Expected a prefix of its own for each InvariantCallback but {len(others)} log as {self.prefix!r}; "
                "give all but one of them prefix=, such as prefix='second_'."
            )

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Raise an error for whatever can be known to be wrong before the first step."""
        self._begin_run(pl_module, fitting=True)
        checked = trainer.enable_validation and trainer.num_sanity_val_steps != 0
        self._given.symmetry.look(self._capture.find(pl_module), last=not checked)
        self._exporter.begin(trainer)
        folder = files_folder(trainer)  # a collective call: on every process
        if trainer.is_global_zero:
            with self._findings.guarding("settings", strict=False):
                self._reporter.open_pages(trainer, pl_module, folder)
        if not trainer.enable_validation:
            self._findings.add("no validation", NO_VALIDATION)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Publish a checkpoint that was saved since."""
        self._exporter.between(trainer, pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start a fresh sample where a report is due."""
        with self._budget.spending():
            self._exporter.between(trainer, pl_module)
            if trainer.state.fn != "fit":
                self._begin_run(pl_module, fitting=False)
            self._due = trainer.sanity_checking or self._is_due(trainer)
            if self._due:
                self._budget.begin_validation()
                self._capture.sharded = is_sharded(trainer, pl_module)
                loaders = trainer.test_dataloaders if trainer.testing else trainer.val_dataloaders
                with self._findings.guarding("layer", strict=trainer.sanity_checking or not self._fitting):
                    self._capture.begin_validation(pl_module, loaders, trainer)

    def on_validation_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int | None = None,
    ) -> None:
        """Record the calls that lead to the layer from here."""
        if self._due:
            step = "test_step" if trainer.testing else "validation_step"
            with self._budget.spending(), self._guarding(trainer, "validation batch"):
                self._capture.begin_batch(pl_module, batch, batch_idx, dataloader_idx, step)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int | None = None,
    ) -> None:
        """Keep a sample of what was recorded."""
        if self._due:
            with self._budget.spending(), self._guarding(trainer, "validation batch"):
                self._capture.end_batch(pl_module, batch)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report; in the sanity check only check that everything fits."""
        if not self._due:
            if not trainer.sanity_checking:
                self._validations += 1
            return
        if trainer.sanity_checking:
            with self._budget.spending():
                self._capture.detach()
                self._reporter.check(self._monitored(trainer))
            self._exporter.rehearse(trainer, pl_module)
            self._capture.release()
            return
        with self._budget.spending():
            self._capture.detach()
            self._validations += 1
            if self._fitting and self._validations == 1 and (share := repeated_share(trainer)):
                self._findings.add(*repeats_training(share))
            report = self._reporter.report(pl_module, trainer.global_step, self._validations, testing=trainer.testing)
            if self._fitting:
                self._exporter.measured(report, trainer.global_step)
            self._capture.copied = None
            if report is None:
                return
            self.report = report
            self._show(trainer, report)
            for name, value in report.scalars.items():
                # Every process has the same value. Logged so, Lightning does not advise to synchronise it.
                pl_module.log(name, value, sync_dist=True, reduce_fx="max", batch_size=1, add_dataloader_idx=False)

    # testing is a validation on other data
    on_test_start = on_validation_start
    on_test_batch_start = on_validation_batch_start
    on_test_batch_end = on_validation_batch_end
    on_test_epoch_end = on_validation_epoch_end

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare the weights that were measured with those of the training run, which may be averaged ones."""
        self._exporter.after_validation(pl_module, trainer.global_step)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show what was held back to save time, and the last numbers beside the settings."""
        self._show_last(trainer, pl_module)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Export the encoder, and wait for uploads."""
        self._exporter.end(trainer, pl_module)
        self._end()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Show what was held back and detach; `teardown` is not called after an exception."""
        self._capture.detach()
        if self._fitting:
            with self._findings.guarding("interrupted", strict=False):
                self._show_last(trainer, pl_module)
            self._exporter.stop(trainer, pl_module)
        self._end()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Note that there will be something to publish; the file does not exist yet."""
        self._exporter.saved()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Detach from the network."""
        self._end()

    def _begin_run(self, network: Any, *, fitting: bool) -> None:
        """Forget every other run: its numbers, findings and samples are of other weights or of another network."""
        self._fitting, self._network = fitting, network
        self._validations, self._unseen, self.report = 0, None, None
        self._reporter.begin_run(fitting=fitting)

    def _end(self) -> None:
        self._capture.release()
        self._budget.end()
        self._fitting, self._due, self._network = False, False, None

    def _guarding(self, trainer: Trainer, key: str) -> Any:
        return self._findings.guarding(key, strict=trainer.sanity_checking or not self._fitting)

    def _is_due(self, trainer: Trainer) -> bool:
        every = max(self.every_n_validations, gathered(self._budget.plan.every)[0])
        if self._validations % every == 0 or trainer.testing or trainer.state.fn != "fit":
            return True
        if is_last_validation(trainer) and self._exporter.active:
            return True
        names = self._monitored(trainer)
        if names and self._budget.plan.every > self.every_n_validations:
            self._findings.note(
                "monitored",
                f"{', '.join(sorted(names))} is monitored, so it is measured at every validation, which costs more "
                "than max_overhead.",
            )
        return bool(names)

    def _monitored(self, trainer: Trainer) -> set[str]:
        return {name for name in monitored_names(trainer) if self._reporter.owns(name)}

    def _show(self, trainer: Trainer, report: Report) -> None:
        """Publish, without points and figures where those are not paid for."""
        self._folder = files_folder(trainer)  # a collective call: on every process
        if not trainer.is_global_zero:
            return
        if not self._budget.wants_figures():
            self._unseen = replace(report, messages=())
            report = replace(report, embeddings={}, figures={})
        else:
            self._unseen = None
        self._publish(trainer, report)

    def _show_last(self, trainer: Trainer, module: LightningModule) -> None:
        if self._unseen is not None:
            report, self._unseen = self._unseen, None
            self._publish(trainer, report)
        if self.report is not None and trainer.is_global_zero:
            self._reporter.close_pages(trainer, module, self.report)

    def _publish(self, trainer: Trainer, report: Report) -> None:
        started = self._budget.clock()
        for failure in publish(report, trainer.loggers, self._folder):
            # The same failure at every step is one finding.
            self._findings.add(failure.replace(f" of step {report.step}", ""), failure)
        if report.embeddings:
            self._budget.paid_figures(self._budget.clock() - started)
