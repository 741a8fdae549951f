"""Training is the same to the bit with and without the callback, and nothing of it stays behind."""

import json

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.demos.boring_classes import BoringDataModule, BoringModel

from lightning_invariant import InvariantCallback
from tests.callback.loops import REPRESENTATION, Classifier, fit, trainer


def callback(**settings):
    settings = {"max_overhead": None} | settings
    return InvariantCallback("encoder", REPRESENTATION, **settings)


def same_weights(one, other) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


SETTINGS = [
    {},
    {"val_check_interval": 0.5},
    {"num_sanity_val_steps": 0},
    {"accumulate_grad_batches": 2},
    {"precision": "bf16-mixed"},
    {"check_val_every_n_epoch": 2},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_weights_are_bit_identical(tmp_path, settings):
    bare, _ = fit([], tmp_path, **settings)
    seen = callback(export_dir=tmp_path / "hub")
    watched, _ = fit([seen], tmp_path, **settings)
    assert seen.report is not None
    assert seen.report.scalars["invariant/problems"] == 0
    assert same_weights(bare, watched)


def test_a_callback_that_draws_one_number_would_be_seen(tmp_path):
    class Draws(pl.Callback):
        def on_validation_epoch_end(self, trainer, pl_module):
            torch.rand(1)

    bare, _ = fit([], tmp_path)
    disturbed, _ = fit([Draws()], tmp_path)
    assert not same_weights(bare, disturbed)


def test_a_loop_of_lightning_itself_is_untouched(tmp_path):
    def run(callbacks):
        pl.seed_everything(1, verbose=False)
        module = BoringModel()
        trainer(callbacks, tmp_path, limit_train_batches=4, limit_val_batches=4).fit(module, BoringDataModule())
        return module

    with pytest.warns(UserWarning, match="no labels"):
        watched = run([InvariantCallback("layer", "Z2: 2 signs")])
    assert same_weights(run([]), watched)


def footprint(module) -> tuple:
    hooks = sum(len(getattr(part, name)) for part in module.modules() for name in vars(part) if name.endswith("_hooks"))
    return sorted(vars(module)), sorted(module.state_dict()), hooks


def test_nothing_is_left_behind(tmp_path):
    bare, _ = fit([], tmp_path)
    seen = callback()
    watched, run = fit([seen], tmp_path)
    assert footprint(watched) == footprint(bare)
    (state,) = run._checkpoint_connector.dump_checkpoint()["callbacks"].values()
    tensors = state.pop("tensors")
    assert tensors.keys() == seen.projection.state_dict().keys(), "data of the user stand in the checkpoint"
    assert json.loads(json.dumps(state)) == state
    assert len(json.dumps(state)) < 5000


@pytest.mark.parametrize("failure", [RuntimeError("user's own"), KeyboardInterrupt()], ids=["error", "ctrl-c"])
def test_nothing_is_left_behind_after_an_exception(tmp_path, failure):
    class Fails(Classifier):
        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            self(batch[0])
            if self.steps > 8:
                raise failure

    def run(callbacks):
        pl.seed_everything(0, verbose=False)
        module = Fails()
        with pytest.raises((RuntimeError, KeyboardInterrupt, SystemExit)):
            fit(callbacks, tmp_path, module)
        return module

    bare, watched = run([]), run([callback()])
    assert footprint(watched) == footprint(bare)
    assert same_weights(bare, watched)


def test_the_hook_is_there_while_it_runs(tmp_path):
    hooks = []

    class Looks(Classifier):
        def training_step(self, batch, batch_idx):
            hooks.append(len(self.encoder._forward_hooks))
            return super().training_step(batch, batch_idx)

    fit([callback()], tmp_path, Looks())
    assert set(hooks) == {1}


def test_modes_of_single_layers_come_back(tmp_path):
    class Frozen(Classifier):
        def on_validation_model_train(self):
            super().on_validation_model_train()
            self.encoder.eval()

        def training_step(self, batch, batch_idx):
            self.modes = {self.encoder.training, *getattr(self, "modes", set())}
            return super().training_step(batch, batch_idx)

    bare, _ = fit([], tmp_path, Frozen(), num_sanity_val_steps=0)
    watched, _ = fit([callback()], tmp_path, Frozen(), num_sanity_val_steps=0)
    assert watched.modes == bare.modes
