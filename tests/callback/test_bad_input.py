"""Data that does not fit: the training goes on, the first occurrence is said, monitored numbers stay finite."""

import math

import pytest
import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.callbacks import EarlyStopping
from pytorch_lightning.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_invariant import InvariantCallback
from lightning_invariant.callback.names import COSTS, ERRORS, SCORES
from tests.callback.loops import REPRESENTATION, Classifier, data, trainer

X, Y = data().tensors


class Quiet(Classifier):
    """Trains on inputs alone, so that strange labels are the callback's matter only."""

    def training_step(self, batch, batch_idx):
        self.steps += 1
        return self(batch[0]).square().mean()

    def validation_step(self, batch, batch_idx):
        self(batch[0])


def watch(folder, training, validation=None, module=None, *, sanity=0, logger=False, **settings):
    """Train for two epochs while EarlyStopping looks at a score; returns what was logged."""
    seen = InvariantCallback("encoder", REPRESENTATION, **({"max_overhead": None} | settings))
    stopping = EarlyStopping("invariant/knn", mode="max", patience=9)
    run = trainer([stopping, seen], folder, num_sanity_val_steps=sanity, logger=logger)
    module = module or Quiet()
    run.fit(module, loader(training), loader(validation or training))
    assert module.steps == 2 * len(loader(training))
    logged = {name: float(value) for name, value in run.callback_metrics.items()}
    assert set(SCORES) | set(ERRORS) | set(COSTS) <= logged.keys()
    assert all(math.isfinite(value) for value in logged.values())
    return logged


def loader(rows):
    return DataLoader(rows, batch_size=None) if isinstance(rows, list) else DataLoader(rows, 16)


def test_labels_of_another_length_are_left_out_and_said(tmp_path):
    batches = [[x, y] for x, y in zip(X.split(16), Y.split(15), strict=False)]
    seen, module = InvariantCallback("encoder", REPRESENTATION, max_overhead=None), Quiet()
    with pytest.warns(UserWarning, match="expected one for each of 16 inputs but got 15") as caught:
        trainer([seen], tmp_path).fit(module, loader(batches), loader(batches))
    assert module.steps == 12
    assert sum("expected one for each" in str(warning.message) for warning in caught) == 1
    assert set(ERRORS) <= seen.report.scalars.keys()


@pytest.mark.parametrize("monitor", ["invariant/knn", "gap/linear_lower", "raw/knn_mae", "invariant/distortion"])
def test_what_is_monitored_is_logged_without_labels_too(tmp_path, monitor):
    batches = [[x] for x in X.split(16)]
    seen, module = InvariantCallback("encoder", REPRESENTATION, max_overhead=None), Quiet()
    run = trainer([EarlyStopping(monitor, mode="max", patience=9), seen], tmp_path)
    with pytest.warns(UserWarning, match="no labels were found"):
        run.fit(module, loader(batches), loader(batches))
    assert module.steps == 12
    assert math.isfinite(run.callback_metrics[monitor])


def test_what_is_not_ours_is_not_logged_for_anybody(tmp_path):
    batches = [[x] for x in X.split(16)]
    seen = InvariantCallback("encoder", REPRESENTATION, max_overhead=None)
    run = trainer([EarlyStopping("invariant/knm"), seen], tmp_path)
    with pytest.raises(RuntimeError, match="invariant/knm"):
        run.fit(Quiet(), loader(batches), loader(batches))


def test_some_batches_without_labels_are_left_out_and_said(tmp_path):
    batches = [[x, y] if i else [x] for i, (x, y) in enumerate(zip(X.split(16), Y.split(16), strict=True))][::-1]
    with pytest.warns(UserWarning, match="Expected rows of x"):
        assert watch(tmp_path, batches)["invariant/knn"] > 0


def test_classes_that_the_training_never_saw_count_as_errors(tmp_path):
    assert watch(tmp_path, TensorDataset(X, Y), TensorDataset(X, Y + 100))["invariant/knn"] == 0


def test_one_class_only(tmp_path):
    logged = watch(tmp_path, TensorDataset(X, torch.zeros(96, dtype=torch.int64)))
    assert logged["invariant/knn"] == logged["raw/linear"] == 1


def test_a_bank_smaller_than_k(tmp_path):
    assert watch(tmp_path, TensorDataset(X, Y), bank_size=3, neighbours=50)["invariant/knn"] >= 0


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_hardly_any_validation_data(tmp_path, rows):
    few = TensorDataset(X[:rows], Y[:rows])
    if rows == 1:
        with pytest.warns(UserWarning, match="at least 2 queries"):
            watch(tmp_path, TensorDataset(X, Y), few)
    else:
        watch(tmp_path, TensorDataset(X, Y), few)


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_inputs_that_are_not_finite_spoil_only_their_own_rows(tmp_path, bad):
    spoilt = X.clone()
    spoilt[::9] = bad
    with pytest.warns(UserWarning, match="NaN or infinity were left out"):
        logged = watch(tmp_path, TensorDataset(X, Y), TensorDataset(spoilt, Y))
    assert logged["invariant/error"] < 1e-5


class Sizes(Quiet):
    """Latents whose size depends on the picture's: no pooling."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Conv2d(1, 16, 1)
        self.head = nn.Identity()


def test_a_latent_that_changes_its_size(tmp_path):
    batches = [[x, y] for x, y in zip(X.split(16), Y.split(16), strict=True)]
    batches[2] = [torch.rand(16, 1, 6, 6), Y[:16]]
    with pytest.warns(UserWarning, match=r"Expected rows of .*x \(1, 8, 8\).* but got .*x \(1, 6, 6\)"):
        watch(tmp_path, batches, batches, Sizes(), pool="mean")


class Twice(Quiet):
    """Calls the encoder on noise, then on the batch, then on a part of it."""

    def forward(self, x):
        self.encoder(torch.zeros_like(x[:3]))
        scores = super().forward(x)
        self.encoder(x[:5])
        return scores


def test_a_layer_that_is_called_several_times_a_batch(tmp_path):
    logged = watch(tmp_path, TensorDataset(X, Y), module=Twice())
    assert logged["invariant/problems"] == 0
    assert logged["invariant/error"] < 1e-5


class Sometimes(Quiet):
    """Does not call the encoder in its second validation."""

    def validation_step(self, batch, batch_idx):
        if self.current_epoch != 1:
            self(batch[0])


def test_a_layer_that_is_not_called_any_more(tmp_path):
    with pytest.warns(UserWarning, match="'encoder' to be called in the validation step"):
        logged = watch(tmp_path, TensorDataset(X, Y), module=Sometimes())
    assert logged["invariant/knn"] > 0


class Raises(CSVLogger):
    """A user's logger whose pictures and texts fail."""

    @property
    def experiment(self):
        return super().experiment

    def log_image(self, *args, **kwargs):
        raise RuntimeError("quota")

    log_text = log_table = log_image


class Wandb(Raises):
    """As above, and taken for a logger that can show pictures."""


def test_a_logger_that_raises(tmp_path, monkeypatch):
    from lightning_invariant.tracking import loggers as module

    monkeypatch.setattr(module, "_sink", lambda logger: module._Wandb(logger) if isinstance(logger, Wandb) else None)
    with pytest.warns(UserWarning, match="not shown, RuntimeError: quota") as caught:
        logged = watch(tmp_path, TensorDataset(X, Y), logger=Wandb(tmp_path))
    assert logged["invariant/knn"] > 0
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


def test_a_training_that_validates_is_not_told_that_it_does_not(tmp_path, recwarn):
    trainer([InvariantCallback("encoder", REPRESENTATION)], tmp_path).fit(Quiet(), loader(data()), loader(data()))
    assert not [warning for warning in recwarn if "Expected a validation" in str(warning.message)]
