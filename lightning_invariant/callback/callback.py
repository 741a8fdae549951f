"""One callback for any training loop: projects latents invariantly at every validation and logs what that is worth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from lightning_invariant.callback.arguments import (
    require_drawable,
    require_known,
    require_monitorable,
    require_positive,
)
from lightning_invariant.callback.budget import Budget
from lightning_invariant.callback.collector import Collector
from lightning_invariant.callback.content import Content
from lightning_invariant.callback.encode import undisturbed
from lightning_invariant.callback.export_writer import ExportWriter
from lightning_invariant.callback.exporting import Exporter
from lightning_invariant.callback.findings import Findings
from lightning_invariant.callback.gather import shared
from lightning_invariant.callback.hub_export import HubExport
from lightning_invariant.callback.masked import default_masked, masked, takes_masks
from lightning_invariant.callback.names import stand_in
from lightning_invariant.callback.progress import (
    averaged_weights,
    forwarding,
    is_last_validation,
    is_whole_pass,
    monitored_names,
)
from lightning_invariant.callback.reporter import Reporter
from lightning_invariant.callback.roots import callback_bases
from lightning_invariant.callback.settings import open_pages
from lightning_invariant.callback.source import LatentFunction, Source
from lightning_invariant.callback.survey import TRIED, Survey
from lightning_invariant.callback.tap import Pool
from lightning_invariant.errors import LayerError
from lightning_invariant.groups import Representation
from lightning_invariant.groups.actions import InputAction
from lightning_invariant.probes import DEFAULT_PROBES, ProbeName
from lightning_invariant.projections import Projection, choose
from lightning_invariant.tracking import Report, publish
from lightning_invariant.tracking.figures import Reduction

if TYPE_CHECKING:
    from pytorch_lightning import LightningModule, Trainer

NO_VALIDATION = (
    "Expected a validation to report at, but this training has none, so nothing is measured before trainer.validate() "
    "or test(); give the module a validation_step, and fit() validation data, with limit_val_batches over 0."
)


class InvariantCallback(*callback_bases()):
    """Monitors a layer's latents once their symmetry is accounted for, and exports the encoder with its projection.

    At every validation it moves a sample of validation inputs by random group elements, and compares raw with
    invariantly projected latents: kNN and linear probes fitted on training inputs as they come, invariance and
    equivariance errors (`lightning_invariant.callback.names` lists what is logged), points for TensorBoard's projector,
    and a picture. The training is not changed: every weight is the same without the callback, and after the run no
    hook, attribute or state_dict key is left in the module.

    Args:
        layer: Name of the layer whose output is the latent, as in `named_modules`, such as "encoder"; or a function of
            the LightningModule and a batch that gives the latent.
        representation: How the symmetry acts on the latent, such as "C4: 16 regular".
        projection: The invariant map; None for the best that is known (`choose`).
        features: Wished number of features where `choose` is free to set it.
        action: How the group moves inputs; None to find it from the inputs' shape.
        pick: Index, key or function that takes the latent out of a tuple or dict that the layer gives; such as
            `lambda tokens: tokens[:, 0]` for a class token.
        pool: "mean" or "max" over the positions of a feature map or the tokens of a sequence; None if the latent has
            none.
        mask: Of padded sets: reads off a batch which points exist, booleans (B, n). Where `projection` is ragged and
            no mask is given, layer or `pick` give a pair, latents and mask.
        inputs: Reads the input tensor off a batch that is no tensor, (x, y) or dict with a usual key.
        labels: Reads the labels off such a batch.
        max_overhead: Bound on the time of monitoring over the training's own. To keep it, reports take fewer samples
            or wait, and in between the last values are logged again; `callback.budget` has the rule. With None
            every report is whole, and two runs with one seed log the same.
        every_n_validations: Report at every n-th validation; in between the last values are logged again.
        bank_size: Training inputs kept for the probes, from the first whole pass over the training data. If the data
            hold more and are shuffled, runs on different numbers of processes choose different ones of them.
        sample_size: Validation inputs kept, for each loader.
        max_bytes: Bound on the memory of each of those two samples.
        probes: Which probes are fitted: "knn", "weighted_knn", "cosine_knn", "weighted_cosine_knn", "linear" (ridge),
            "logistic".
        neighbours: k of the nearest-neighbour probes.
        embeddings: Whether points and pictures are written.
        scatter: How the picture puts points into the plane: "pca", or "umap" (seconds a picture, extra `umap`).
        export_dir: Folder for the exported encoder, written at the end of `fit`, or at each export to the Hub.
        export_name: Of the model on its card; the name of the repository or folder if None.
        export: Where on the Hugging Face Hub to publish it, and when; None for nowhere.
        prefix: Put before every logged name, for callbacks on several layers.
        seed: Of every random choice; the global random state is not touched.

    Raises:
        ParseError: The representation cannot be read.
        ValueError: A number is below 1, a probe is not known, or the projection is for another representation.

    Source:
        Hansen, Calissano, Feragen 2024, Interpreting Equivariant Representations (arXiv 2401.12588).
    """

    def __init__(
        self,
        layer: str | LatentFunction,
        representation: str | Representation,
        *,
        projection: Projection | None = None,
        features: int | None = None,
        action: InputAction | None = None,
        pick: Callable[[Any], Any] | int | str | None = None,
        pool: Pool | None = None,
        inputs: Callable[[Any], Tensor] | None = None,
        labels: Callable[[Any], Tensor] | None = None,
        mask: Callable[[Any], Tensor] | None = None,
        max_overhead: float | None = 0.05,
        every_n_validations: int = 1,
        bank_size: int = 2000,
        sample_size: int = 2000,
        max_bytes: int = 256 * 2**20,
        probes: Sequence[ProbeName] = DEFAULT_PROBES,
        neighbours: int = 5,
        embeddings: bool = True,
        scatter: Reduction = "pca",
        export_dir: str | Path | None = None,
        export_name: str | None = None,
        export: HubExport | None = None,
        prefix: str = "",
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.representation = Representation.parse(representation)
        require_monitorable(self.representation)
        require_positive(
            every_n_validations=every_n_validations,
            bank_size=bank_size,
            sample_size=sample_size,
            max_bytes=max_bytes,
            neighbours=neighbours,
        )
        require_known(probes)
        require_drawable(scatter)
        self.projection = projection if projection is not None else _default(self.representation, features, mask)
        if self.projection.representation != self.representation:
            raise ValueError(
                f"Expected a projection for '{self.representation}' but got one for "
                f"'{self.projection.representation}'; build it with the callback's representation."
            )
        self.prefix, self.every_n_validations = prefix, every_n_validations
        self.report: Report | None = None
        ragged = mask is not None or takes_masks(self.projection)
        measured = masked(self.projection) if ragged else self.projection
        self._findings, self._budget = Findings(), Budget(max_overhead)
        content = Content(inputs, labels, mask, whole=not isinstance(layer, str), say=self._findings.add)
        self._source = Source(layer, self.representation, content, pick, pool, ragged=ragged)
        self._tap = self._source.tap
        self.layer = self._tap.layer
        self._collector = Collector(self._source, content, bank_size, sample_size, max_bytes, seed)
        survey = Survey(self._collector, measured.representation, action)
        self._reporter = Reporter(
            measured, survey, self._findings, self._budget, tuple(probes), neighbours, embeddings, prefix, scatter
        )
        writer = ExportWriter(
            self.projection,
            self._collector,
            self._reporter,
            self._findings,
            prefix=prefix,
            folder=None if export_dir is None else Path(export_dir),
            name=export_name,
            hub=export,
        )
        self._exporter = Exporter(writer)
        self._validations = 0
        self._checked, self._called, self._due, self._final = False, False, True, False
        self._from_start = False
        self._unseen: Report | None = None
        self._folder: str | None = None

    @property
    def state_key(self) -> str:
        """Tells callbacks on several layers apart in a checkpoint."""
        return self._generate_state_key(layer=self.layer, representation=str(self.representation), prefix=self.prefix)

    def state_dict(self) -> dict[str, Any]:
        """Plain values from which `lightning-invariant export` makes the encoder out of a checkpoint."""
        return self._exporter.notes(self.report)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Attach, and raise whatever can be known to be wrong before the first step."""
        self._source.attach(pl_module)
        self._checked = False
        self._collector.begin_training()
        self._budget.begin()
        self._exporter.begin(trainer)
        self._open_pages(trainer, pl_module)
        if not trainer.enable_validation:
            self._findings.add("no validation", NO_VALIDATION)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A pass over the training data starts."""
        self._from_start = False
        if not self._collector.bank_is_complete:
            self._collector.begin_pass(trainer.train_dataloader)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Offer the batch to the bank; before the very first step see that the latent fits."""
        self._exporter.between(trainer, pl_module, self.report)
        self._from_start |= batch_idx == 0
        if self._collector.bank_is_complete and self._checked:
            return
        with self._budget.spending():
            with self._findings.guarding("training batch", strict=False):
                self._collector.add_training(batch)
            if not self._checked:
                self._check_before_training(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After a whole pass the bank has seen everything."""
        self._collector.end_pass(whole=self._from_start and is_whole_pass(trainer))

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Attach where `configure_model` or a bare `validate` made that impossible before; start a fresh sample."""
        with self._budget.spending():
            self._source.attach(pl_module)
            self._called = False
            self._due = trainer.sanity_checking or self._wants_report(trainer)
            if self._due:
                loaders = trainer.test_dataloaders if trainer.testing else trainer.val_dataloaders
                self._collector.begin_validation(loaders)

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Record the layer from here."""
        if self._due:
            self._tap.arm()

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep a sample of what was recorded."""
        if not self._due:
            return
        with self._budget.spending(), self._findings.guarding("validation batch", strict=trainer.sanity_checking):
            precision = trainer.precision_plugin.forward_context
            self._called |= self._collector.add_validation(batch, dataloader_idx, pl_module, precision)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report; in the sanity check only see that everything fits."""
        with self._budget.spending():
            if self._due:
                with self._findings.guarding("validation", strict=trainer.sanity_checking):
                    self._require_called()
            if trainer.sanity_checking:
                self._collector.check_latents()
                self._checked = True
                return
            self._validations += 1
            if self._due or self.report is None:
                with averaged_weights(trainer, pl_module, self):
                    self.report = self._reporter.report(trainer, pl_module, self.report, final=self._final)
                self._show(trainer, self.report)
            for name, value in (self._monitored(trainer) | dict(self.report.scalars)).items():
                pl_module.log(name, value, sync_dist=False, batch_size=1)

    # testing is a validation on other data
    on_test_start = on_validation_start
    on_test_batch_start = on_validation_batch_start
    on_test_batch_end = on_validation_batch_end
    on_test_epoch_end = on_validation_epoch_end

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show what was held back to save time."""
        self._show_unseen(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Export the encoder with the last report's numbers, and wait for uploads."""
        self._exporter.end(trainer, pl_module, self.report)
        self._end()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Show what was held back and detach; `teardown` is not called after an exception."""
        self._show_unseen(trainer)
        self._exporter.stop(trainer, pl_module, self.report)
        self._end()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Note that there will be something to publish; the file does not exist yet."""
        self._exporter.saved()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Detach."""
        self._end()

    def _end(self) -> None:
        self._tap.detach()
        self._budget.end()

    def _wants_report(self, trainer: Trainer) -> bool:
        if self.report is not None and self._validations % self.every_n_validations:
            return False
        if not self._budget.bounded:
            self._final = False
            return True
        self._final = is_last_validation(trainer)
        monitored, least = bool(self._monitored(trainer)), self._reporter.least()
        due = shared(self._budget.wants_report(final=self._final, monitored=monitored, least=least))
        if not due:
            self._reporter.thinned("the last values were logged again")
        return due

    def _monitored(self, trainer: Trainer) -> dict[str, float]:
        """Numbers of ours that somebody monitors, at their worst: a name that is not logged would end the training."""
        ours = {name for name in monitored_names(trainer) if name.startswith(self.prefix)}
        worst = {name: stand_in(name.removeprefix(self.prefix), self._reporter.probes) for name in ours}
        return {name: value for name, value in worst.items() if value is not None}

    def _open_pages(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._folder = trainer.log_dir or trainer.default_root_dir  # a collective call: on every process
        if not trainer.is_global_zero:
            return
        with self._findings.guarding("settings", strict=False):
            for failure in open_pages(
                trainer,
                pl_module,
                self._folder,
                self.projection,
                layer=self.layer,
                probes=self._reporter.probes,
                prefix=self.prefix,
            ):
                self._findings.add(failure, failure)

    def _show(self, trainer: Trainer, report: Report) -> None:
        """Publish, without points and pictures where those are not paid for."""
        self._folder = trainer.log_dir or trainer.default_root_dir  # a collective call: on every process
        if not trainer.is_global_zero:
            return
        if not self._budget.wants_pictures():
            self._unseen = replace(report, messages=())
            report = replace(report, embeddings={}, figures={})
        else:
            self._unseen = None
        self._publish(trainer, report)

    def _show_unseen(self, trainer: Trainer) -> None:
        if self._unseen is not None:
            report, self._unseen = self._unseen, None
            self._publish(trainer, report)

    def _publish(self, trainer: Trainer, report: Report) -> None:
        started = self._budget.clock()
        for failure in publish(report, trainer.loggers, self._folder):
            # The same failure at every step is one finding.
            self._findings.add(failure.replace(f" of step {report.step}", ""), failure)
        if report.embeddings:
            self._budget.paid_pictures(self._budget.clock() - started)

    def _check_before_training(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._checked = True
        bank = self._collector.bank
        if not len(bank):
            return
        columns = bank.few(TRIED)
        with undisturbed(pl_module, self._collector.seed):
            self._reporter.survey.reach(
                forwarding(trainer, pl_module), columns, trainer.precision_plugin.forward_context
            )

    def _require_called(self) -> None:
        if not self._called:
            raise LayerError(
                f"Expected layer {self.layer!r} to be called in the validation step but it never was; name a layer "
                "that the step uses, and compile the network only after the callback is attached."
            )


def _default(representation: Representation, features: int | None, mask: Any) -> Projection:
    return choose(representation, features) if mask is None else default_masked(representation, features)
