"""What a user of the callback sees: numbers, findings, errors."""

import math
import warnings

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader

from lightning_invariant import InvariantCallback, choose
from lightning_invariant.callback.names import COSTS, ERRORS, HEALTH, METRICS, SCORES
from lightning_invariant.errors import ArtifactError, LatentError, LayerError, ParseError
from tests.callback.loops import REPRESENTATION, Classifier, data, fit, loaders, trainer


def callback(**settings):
    settings = {"max_overhead": None} | settings
    return InvariantCallback("encoder", REPRESENTATION, **settings)


def test_every_documented_number_is_logged(tmp_path):
    _, run = fit([callback()], tmp_path, max_epochs=6)
    logged = {name: float(value) for name, value in run.callback_metrics.items()}
    assert set(METRICS) == set(SCORES) | set(ERRORS) | set(HEALTH) | set(COSTS)
    assert set(METRICS) <= set(logged)
    assert all(math.isfinite(value) for value in logged.values())
    assert logged["invariant/error"] < 1e-5 < 0.3 < logged["raw/error"]
    assert logged["equivariance/error"] < 1e-5
    assert logged["invariant/knn"] > logged["raw/knn"] + 0.1
    assert logged["gap/knn"] == pytest.approx(logged["invariant/knn"] - logged["raw/knn"])
    assert logged["invariant/problems"] == 0


def test_a_layer_that_is_not_equivariant_is_seen(tmp_path):
    plain = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    _, run = fit([callback()], tmp_path, Classifier(plain))
    assert run.callback_metrics["equivariance/error"] > 0.1
    assert run.callback_metrics["invariant/error"] > 0.1


def test_two_runs_with_one_seed_log_the_same(tmp_path):
    one, other = (dict(fit([callback()], tmp_path)[1].callback_metrics) for _ in range(2))
    assert {name: one[name] for name in one.keys() - COSTS} == {name: other[name] for name in other.keys() - COSTS}


def test_early_stopping_and_checkpoints_see_the_first_value(tmp_path):
    stopping = EarlyStopping("invariant/knn", mode="max", patience=3)
    checkpoint = ModelCheckpoint(tmp_path, monitor="gap/knn", mode="max")
    fit([stopping, checkpoint, callback()], tmp_path, enable_checkpointing=True)
    assert stopping.best_score > 0
    assert checkpoint.best_model_path
    assert torch.load(checkpoint.best_model_path, weights_only=True)["state_dict"]


def test_validate_alone_splits_the_validation_data(tmp_path):
    pl.seed_everything(0, verbose=False)
    found = trainer([callback()], tmp_path).validate(Classifier(), loaders()[1], verbose=False)
    assert set(METRICS) <= set(found[0])
    assert found[0]["invariant/error"] < 1e-5


def test_testing_is_monitored_too(tmp_path):
    found = trainer([callback()], tmp_path).test(Classifier(), loaders()[1], verbose=False)
    assert set(METRICS) <= set(found[0])


def test_several_validation_loaders_have_names_of_their_own(tmp_path):
    run = trainer([callback()], tmp_path)
    pl.seed_everything(0, verbose=False)
    run.fit(Classifier(), loaders()[0], [loaders()[1], DataLoader(data(40, seed=5), 16)])
    assert "invariant/knn" in run.callback_metrics
    assert "invariant/knn_dataloader_1" in run.callback_metrics


def test_two_callbacks_on_two_layers(tmp_path):
    inner = InvariantCallback("encoder.body", REPRESENTATION, pool="mean", prefix="body/")
    _, run = fit([callback(), inner], tmp_path)
    assert {"invariant/knn", "body/invariant/knn"} <= set(run.callback_metrics)
    assert run.callback_metrics["body/equivariance/error"] < 1e-5


def test_in_between_the_last_values_are_logged_again(tmp_path):
    seen = callback(every_n_validations=3)
    steps = []

    class Watches(pl.Callback):
        def on_validation_end(self, trainer, pl_module):
            if not trainer.sanity_checking:
                steps.append((seen.report.step, float(trainer.callback_metrics["invariant/knn"])))

    fit([Watches(), seen], tmp_path, max_epochs=5)
    assert [step for step, _ in steps] == [6, 6, 6, 24, 24]
    assert steps[1] == steps[0]


class Dicts(Classifier):
    """Batches as dicts, the layer's output as a tuple."""

    def __init__(self, keys=("image", "label")):
        super().__init__()
        inner = self.encoder

        class Pair(nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = inner

            def forward(self, x):
                z = self.inner(x)
                return {"latent": z, "norm": z.norm()}

        self.encoder, self.keys = Pair(), keys

    def forward(self, x):
        return self.head(self.encoder(x)["latent"])

    def training_step(self, batch, batch_idx):
        return super().training_step([batch[key] for key in self.keys], batch_idx)

    def validation_step(self, batch, batch_idx):
        super().validation_step([batch[key] for key in self.keys], batch_idx)


def dict_loader(keys):
    return DataLoader([dict(zip(keys, row, strict=True)) for row in data()], 16)


@pytest.mark.parametrize("key", ["y", "label", "labels", "target", "targets"])
def test_dict_batches_and_outputs(tmp_path, key):
    keys, run = ("image", key), trainer([callback(pick="latent")], tmp_path, max_epochs=1)
    run.fit(Dicts(keys), dict_loader(keys), dict_loader(keys))
    assert run.callback_metrics["invariant/problems"] == 0
    assert run.callback_metrics["invariant/knn"] > 0


def test_unusual_batches_are_read_by_functions(tmp_path):
    keys = ("a", "b")
    seen = callback(pick=lambda out: out["latent"], inputs=lambda batch: batch["a"], labels=lambda batch: batch["b"])
    run = trainer([seen], tmp_path, max_epochs=1)
    run.fit(Dicts(keys), dict_loader(keys), dict_loader(keys))
    assert run.callback_metrics["invariant/knn"] > 0


def test_without_labels_the_other_numbers_are_there(tmp_path):
    class Unlabelled(Classifier):
        def training_step(self, batch, batch_idx):
            return self(batch[0]).square().mean()

        def validation_step(self, batch, batch_idx):
            self(batch[0])

    def loader():
        return DataLoader([(x,) for x, _ in data()], 16)

    run = trainer([callback()], tmp_path, max_epochs=1)
    with pytest.warns(UserWarning, match="give labels="):
        run.fit(Unlabelled(), loader(), loader())
    assert set(ERRORS) <= set(run.callback_metrics)
    assert not set(SCORES) & set(run.callback_metrics)
    assert run.callback_metrics["invariant/problems"] == 1


def test_float_labels_are_scored_by_r2(tmp_path):
    class Regression(Classifier):
        def training_step(self, batch, batch_idx):
            return (self(batch[0])[:, 0] - batch[1]).square().mean()

        def validation_step(self, batch, batch_idx):
            self(batch[0])

    def loader():
        return DataLoader([(x, x.sum()) for x, _ in data()], 16)

    run = trainer([callback()], tmp_path, max_epochs=1)
    run.fit(Regression(), loader(), loader())
    assert run.callback_metrics["invariant/linear"] > 0.5


def test_inputs_that_no_action_fits_are_moved_as_declared(tmp_path):
    class Flat(Classifier):
        def __init__(self):
            super().__init__(nn.Linear(64, 16))

    run = trainer([callback()], tmp_path, max_epochs=1)
    flat = DataLoader([(x.flatten(), y) for x, y in data()], 16)
    with pytest.warns(UserWarning, match="give action="):
        run.fit(Flat(), flat, flat)
    assert run.callback_metrics["equivariance/error"] < 1e-6
    assert run.callback_metrics["raw/error"] > 0.1


@pytest.mark.parametrize("normalise", [False, True])
def test_a_network_without_a_forward_is_called_by_its_layer_if_that_gives_the_same_latents(tmp_path, normalise):
    class Steps(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.inner = Classifier()

        def training_step(self, batch, batch_idx):
            return nn.functional.cross_entropy(self.inner(self.prepared(batch[0])), batch[1])

        def validation_step(self, batch, batch_idx):
            self.inner(self.prepared(batch[0]))

        def prepared(self, x):
            return x * 3 - 1 if normalise else x.clone()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.05)

    run = trainer([InvariantCallback("inner.encoder", REPRESENTATION)], tmp_path)
    if normalise:
        with pytest.warns(UserWarning, match="other latents than in the validation step"):
            run.fit(Steps(), *loaders())
    else:
        run.fit(Steps(), *loaders())
    assert run.callback_metrics["invariant/problems"] == int(normalise)
    assert run.callback_metrics["invariant/error"] < 1e-5


def test_a_network_that_takes_no_single_tensor_is_still_monitored(tmp_path):
    class Wants(Classifier):
        def __init__(self):
            super().__init__()
            self.inner, self.encoder = self.encoder, nn.Sequential(nn.Flatten(), nn.Linear(16, 16))

        def forward(self, batch):
            return self.head(self.encoder(self.inner(batch["x"])))

        def training_step(self, batch, batch_idx):
            return nn.functional.cross_entropy(self(batch), batch["y"])

        def validation_step(self, batch, batch_idx):
            self(batch)

    run = trainer([callback()], tmp_path)
    with pytest.warns(UserWarning, match="does not give them"):
        run.fit(Wants(), dict_loader(("x", "y")), dict_loader(("x", "y")))
    assert run.callback_metrics["invariant/knn"] > 0
    assert run.callback_metrics["invariant/error"] < 1e-5


def test_fast_dev_run(tmp_path):
    fit([callback(export_dir=tmp_path / "hub")], tmp_path, fast_dev_run=True)
    assert not (tmp_path / "hub").exists()


# -- bad input: raised before the first training step where it can be known --


@pytest.mark.parametrize(
    ("layer", "near"),
    [("encodr", "'encoder'"), ("encoder.boddy", "'encoder.body'"), ("", "'encoder'"), ("zzz", "near are")],
)
def test_a_layer_that_does_not_exist(tmp_path, layer, near):
    module = Classifier()
    with pytest.raises(LayerError, match="name of a layer of Classifier") as caught:
        fit([InvariantCallback(layer, REPRESENTATION)], tmp_path, module)
    assert near in str(caught.value)
    assert module.steps == 0


@pytest.mark.parametrize("sanity", [0, 2])
def test_a_latent_that_does_not_fit(tmp_path, sanity):
    module = Classifier()
    with pytest.raises(LatentError, match=r"Expected latents of shape .* but got \(\d+, 4, 4\); 16 numbers would be"):
        fit([InvariantCallback("encoder", "C4: 5 regular")], tmp_path, module, num_sanity_val_steps=sanity)
    assert module.steps == 0
    assert not module.encoder._forward_hooks


def test_a_feature_map_asks_for_pooling(tmp_path):
    with pytest.raises(LatentError, match="pool='mean'"):
        fit([InvariantCallback("encoder.body", REPRESENTATION)], tmp_path)


def test_a_layer_that_is_never_called(tmp_path):
    module = Classifier()
    with pytest.raises(LayerError, match="'unused' to be called"):
        fit([InvariantCallback("unused", "Z2: 2 signs")], tmp_path, module)
    assert module.steps == 0


def test_a_layer_that_is_never_called_does_not_end_a_training_under_way(tmp_path):
    seen = InvariantCallback("unused", "Z2: 2 signs")
    stopping = EarlyStopping("invariant/knn", mode="max", patience=9)
    with pytest.warns(UserWarning, match="'unused' to be called"):
        module, run = fit([seen, stopping], tmp_path, num_sanity_val_steps=0)
    assert module.steps == 12
    assert run.callback_metrics["invariant/problems"] >= 1


class Broken(Classifier):
    """NaN latents for some rows, or all, from a step on."""

    def __init__(self, rows, start):
        super().__init__()
        self.rows, self.start = rows, start
        self.encoder.register_forward_hook(self.spoil)

    def spoil(self, module, inputs, z):
        if self.steps >= self.start and not self.training:
            z = z.clone()
            z[self.rows] = math.nan
        return z


def test_nan_latents_from_the_start_are_an_error(tmp_path):
    module = Broken(slice(None), 0)
    with pytest.raises(LatentError, match="Expected finite latents from layer 'encoder'"):
        fit([callback()], tmp_path, module)
    assert module.steps == 0


def test_some_nan_rows_are_left_out_and_said(tmp_path):
    with pytest.warns(UserWarning, match="NaN or infinity were left out") as caught:
        _, run = fit([callback()], tmp_path, Broken(slice(0, 2), 0), max_epochs=3)
    assert sum("left out" in str(warning.message) for warning in caught) == 1
    assert run.callback_metrics["invariant/error"] < 1e-5


def test_nan_latents_later_do_not_end_the_training(tmp_path):
    stopping = EarlyStopping("invariant/knn", mode="max", patience=9)
    with pytest.warns(UserWarning, match="at least 2 queries"):
        module, run = fit([stopping, callback()], tmp_path, Broken(slice(None), 7))
    assert module.steps == 12
    assert all(math.isfinite(run.callback_metrics[name]) for name in METRICS)
    assert run.callback_metrics["invariant/problems"] >= 1


@pytest.mark.parametrize("text", ["K4: 4 regular", "C4: 4 regualr", "C4 4 regular"])
def test_an_unknown_symmetry(text):
    with pytest.raises(ParseError, match=r"\^"):
        InvariantCallback("encoder", text)


def test_a_folder_that_holds_something_else(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    module = Classifier()
    with pytest.raises(ArtifactError, match=r"thesis\.tex"):
        fit([callback(export_dir=tmp_path)], tmp_path, module)
    assert module.steps == 0
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    module = Classifier()
    with pytest.raises(ArtifactError, match="Expected a folder"):
        fit([callback(export_dir=tmp_path / "file" / "hub")], tmp_path, module)
    assert module.steps == 0


def test_an_encoder_that_cannot_be_exported_does_not_lose_the_training(tmp_path):
    class Dependent(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Classifier().encoder

        def forward(self, x):
            return self.inner(x) if float(x.sum()) > -1e9 else x

    with pytest.warns(UserWarning, match="in export"):
        module, _ = fit([callback(export_dir=tmp_path / "hub")], tmp_path, Classifier(Dependent()))
    assert module.steps == 12
    assert not (tmp_path / "hub").exists()


def test_a_report_that_fails_keeps_the_last_values(tmp_path):
    seen = callback()
    project, calls = seen.projection.project, []

    def sometimes(z):
        calls.append(1)
        if len(calls) > 6:
            raise RuntimeError("out of memory")
        return project(z)

    seen.projection.project = sometimes
    stopping = EarlyStopping("invariant/knn", mode="max", patience=9)
    with pytest.warns(UserWarning, match="RuntimeError in report: out of memory"):
        module, run = fit([seen, stopping], tmp_path, max_epochs=4)
    assert module.steps == 24
    assert run.callback_metrics["invariant/knn"] > 0
    assert run.callback_metrics["invariant/problems"] >= 1


@pytest.mark.parametrize("name", ["every_n_validations", "sample_size", "bank_size", "neighbours", "max_bytes"])
def test_numbers_below_one_are_refused(name):
    with pytest.raises(ValueError, match="at least 1"):
        callback(**{name: 0})


def test_a_projection_of_another_representation_is_refused():
    with pytest.raises(ValueError, match="Expected a projection for 'C4: 4 regular'"):
        callback(projection=choose("C4: 5 regular"))


def test_transforms_known_by_samples_are_refused():
    with pytest.raises(ValueError, match="known by samples"):
        InvariantCallback("encoder", "Sampled: 16 trivial")


def test_a_quiet_run_warns_of_nothing_of_ours(tmp_path):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit([callback()], tmp_path)
    assert not [str(w.message) for w in caught if "lightning-invariant" in str(w.message)]
