"""Data that does not fit: the training goes on, the first occurrence is said, what is logged is finite."""

import math

import pytest
import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.callbacks import EarlyStopping
from pytorch_lightning.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_invariant import KNN, BatchReader, InvariantCallback
from lightning_invariant.errors import LatentError
from tests.callback.loops import REPRESENTATION, Classifier, data, trainer

X, Y = data().tensors
LABELLED = BatchReader(labels=1)


class Quiet(Classifier):
    """Trains on inputs alone, so that strange labels are the callback's matter only."""

    def training_step(self, batch, batch_idx):
        self.steps += 1
        return self(batch[0]).square().mean()

    def validation_step(self, batch, batch_idx):
        self(batch[0])


def watch(folder, training, validation=None, module=None, *, logger=False, **settings):
    """Train for two epochs; returns what was logged by name, and the callback."""
    seen = InvariantCallback("encoder", REPRESENTATION, **({"max_overhead": None, "figures": None} | settings))
    run = trainer([seen], folder, num_sanity_val_steps=0, logger=logger)
    module = module or Quiet()
    run.fit(module, loader(training), loader(validation or training))
    assert module.steps == 2 * len(loader(training))
    logged = {name.split("/", 1)[1]: float(value) for name, value in run.callback_metrics.items()}
    assert all(math.isfinite(value) for value in logged.values())
    assert not {"error", "error_raw"} & logged.keys() or logged["error"] < 1e-5
    return logged, seen


def loader(rows):
    return DataLoader(rows, batch_size=None) if isinstance(rows, list) else DataLoader(rows, 16)


def batches(x=X, y=Y, rows=16):
    return [list(pair) for pair in zip(x.split(16), y.split(rows), strict=False)]


def test_labels_of_another_length_are_left_out_and_said(tmp_path):
    with pytest.warns(UserWarning, match="expected one for each of 16 latents of 'encoder' but got 15") as caught:
        logged, _ = watch(tmp_path, batches(rows=15), batch=LABELLED)
    assert sum("expected one for each" in str(warning.message) for warning in caught) == 1
    assert {"error", "error_raw", "rank"} <= logged.keys()
    assert not {"knn", "linear"} & logged.keys()


def test_some_batches_without_labels_are_said_and_cost_no_other_number(tmp_path):
    rows = [[x, y] if i else [x] for i, (x, y) in enumerate(batches())][::-1]
    with pytest.warns(UserWarning, match="lightning-invariant: .*[Ee]xpected"):
        logged, _ = watch(tmp_path, rows)
    assert {"error", "error_raw", "rank"} <= logged.keys()


def test_a_name_that_is_not_ours_is_left_to_lightning(tmp_path):
    seen = InvariantCallback("encoder", REPRESENTATION, max_overhead=None, figures=None)
    run = trainer([EarlyStopping("invariant/knm"), seen], tmp_path)
    with pytest.raises(RuntimeError, match="invariant/knm"):
        run.fit(Quiet(), loader(batches()), loader(batches()))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_one_class_only(tmp_path):
    logged, seen = watch(tmp_path, TensorDataset(X, torch.zeros(96, dtype=torch.int64)))
    assert {"error", "error_raw", "rank"} <= logged.keys()
    assert not {"knn", "knn_raw", "linear_raw"} & logged.keys()  # telling one class from itself says nothing
    assert "all 96 labels are equal" in seen.report.missing["knn"]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_bank_smaller_than_k(tmp_path):
    few = {"bank_size": 3, "sample_size": 3}
    logged, seen = watch(tmp_path, TensorDataset(X, Y), probes=[KNN(k=50)], **few)
    assert logged["bank"] == logged["queries"] == 3
    assert "few samples" in seen._findings._said
    logged, seen = watch(tmp_path, TensorDataset(X, Y), probes=[KNN(k=3)])
    assert logged["bank"] == 96


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_hardly_any_validation_data(tmp_path, rows):
    with pytest.warns(UserWarning, match="at least 2 samples" if rows == 1 else f"only {rows} samples were measured"):
        logged, _ = watch(tmp_path, TensorDataset(X, Y), TensorDataset(X[:rows], Y[:rows]))
    assert ("error" in logged) == (rows > 1)


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_inputs_that_are_not_finite_spoil_only_their_own_rows(tmp_path, bad):
    spoilt = X.clone()
    spoilt[::9] = bad
    with pytest.warns(UserWarning, match="NaN or infinity"):
        logged, _ = watch(tmp_path, TensorDataset(X, Y), TensorDataset(spoilt, Y))
    assert logged["error"] < 1e-5
    assert logged["bank"] == 96 - 11


def test_latents_that_are_never_finite_are_an_error_before_the_first_step(tmp_path):
    module = Quiet()
    run = trainer([InvariantCallback("encoder", REPRESENTATION)], tmp_path)
    with pytest.raises(LatentError, match="finite latents from layer 'encoder'"):
        run.fit(module, loader(batches()), loader(batches(X * math.nan)))
    assert module.steps == 0


class Sizes(Quiet):
    """Latents whose size depends on the image's: no pooling."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Conv2d(1, 16, 1)
        self.head = nn.Identity()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_batch_of_another_shape_costs_no_other_batch(tmp_path):
    rows = batches()
    rows[2] = [torch.rand(16, 1, 6, 6), Y[:16]]
    logged, seen = watch(tmp_path, rows, [*rows[2:], *rows[:2]], Sizes(), pool="mean", figures="pca")
    assert not [text for text in seen._findings._said.values() if "Error" in text]
    assert logged["bank"] == logged["queries"] == 96
    assert seen._reporter.evaluation.latents.thumbnails is None  # one size for all is needed


class Twice(Quiet):
    """Calls the encoder on noise, then on the batch, then on a part of it."""

    def forward(self, x):
        self.encoder(torch.zeros_like(x[:3]))
        scores = super().forward(x)
        self.encoder(x[:5])
        return scores


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_layer_that_is_called_several_times_a_batch(tmp_path):
    logged, seen = watch(tmp_path, TensorDataset(X, Y), TensorDataset(*data(64, 1).tensors), Twice())
    assert set(seen._findings._said) <= {"action", "labels", "few samples", "rare classes"}
    assert logged["error"] < 1e-5
    assert logged["bank"] == 64
    z = seen._reporter.evaluation.latents.bank
    assert len(z.unique(dim=0)) == 64  # not those of the noise


class Sometimes(Quiet):
    """Does not call the encoder in its second validation."""

    def validation_step(self, batch, batch_idx):
        if self.current_epoch != 1:
            self(batch[0])


def test_a_layer_that_is_not_called_any_more(tmp_path):
    with pytest.warns(UserWarning, match="layer 'encoder' gave no latents in this validation"):
        _, seen = watch(tmp_path, TensorDataset(X, Y), module=Sometimes())
    assert seen.report.step == 6  # nothing is logged again under a later step


class Raises(CSVLogger):
    """A user's logger whose images and texts fail."""

    @property
    def experiment(self):
        return super().experiment

    def log_image(self, *args, **kwargs):
        raise RuntimeError("quota")

    log_text = log_table = log_image


class Wandb(Raises):
    """As above, and taken for a logger that can show images."""


def test_a_logger_that_raises(tmp_path, monkeypatch):
    from lightning_invariant.tracking import loggers as module
    from lightning_invariant.tracking import services

    monkeypatch.setattr(module, "_sink", lambda logger: services._Wandb(logger) if isinstance(logger, Wandb) else None)
    with pytest.warns(UserWarning, match="not shown, RuntimeError: quota") as caught:
        logged, _ = watch(tmp_path, TensorDataset(X, Y), logger=Wandb(tmp_path), figures="pca")
    assert logged["knn"] > 0
    first = [str(warning.message) for warning in caught if "step 6" in str(warning.message)]
    assert first
    texts = [str(warning.message).split(" of step ")[0] for warning in caught if "not shown" in str(warning.message)]
    assert len(texts) == len(set(texts))  # two epochs, but each failure once
    assert list((tmp_path).rglob("*.png"))  # what the logger did not take was written as files


class Unvalidated(Quiet):
    """Has no validation step, as many loops with several optimisers."""

    validation_step = LightningModule.validation_step


@pytest.mark.parametrize(("module", "options"), [(Unvalidated, {}), (Quiet, {"limit_val_batches": 0})])
def test_a_training_that_never_validates_is_said(tmp_path, module, options):
    seen, network = InvariantCallback("encoder", REPRESENTATION), module()
    with pytest.warns(UserWarning, match="Expected a validation .* nothing is measured"):
        trainer([seen], tmp_path, **options).fit(network, loader(data()), loader(data()))
    assert network.steps == 2 * len(loader(data()))
    assert seen.report is None


def test_a_training_that_validates_is_not_told_that_it_does_not(tmp_path, recwarn):
    trainer([InvariantCallback("encoder", REPRESENTATION)], tmp_path).fit(Quiet(), loader(data()), loader(data()))
    assert not [warning for warning in recwarn if "Expected a validation" in str(warning.message)]
