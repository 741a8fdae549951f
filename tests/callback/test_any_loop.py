"""Every kind of loop: weights to the bit as without the callback, and fresh numbers at every validation."""

import json
import math

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.demos.boring_classes import BoringDataModule, BoringModel

from lightning_invariant import InvariantCallback
from lightning_invariant.evaluation import headlines
from tests.callback.any_loop import LOOPS, REPRESENTATION
from tests.callback.loops import Classifier, fit, loaders, trainer

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
SMALL = {"few samples", "rare classes"}
"""Findings that are true of 64 samples."""


def same_weights(one, other) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def footprint(module):
    """What a callback could leave behind in a network."""
    return {
        name: (set(part.__dict__), len(part._forward_hooks), len(part._forward_pre_hooks))
        for name, part in module.named_modules()
    }


class Steps(pl.Callback):
    """Notes the step of each validation, and that of our report."""

    def __init__(self, seen):
        self.seen, self.steps = seen, []

    def on_validation_end(self, trainer, pl_module):
        if not trainer.sanity_checking:
            self.steps.append((trainer.global_step, None if self.seen.report is None else self.seen.report.step))


def run(loop, folder, *, watched, extra=()):
    pl.seed_everything(0, verbose=False)
    module = loop.module()
    before, behind = loop.others()
    settings = {"max_overhead": None, "figures": None} | loop.callback
    seen = InvariantCallback(loop.layer, REPRESENTATION, **settings)
    steps = Steps(seen)
    ours = [seen, steps] if watched else []
    fitting = trainer([*before, *ours, *extra, *behind], folder, **loop.settings)
    fitting.fit(module, *loop.data())
    return module, fitting, steps


@pytest.mark.parametrize("name", LOOPS)
def test_weights_are_bit_identical_and_every_validation_has_fresh_numbers(tmp_path, name):
    loop = LOOPS[name]
    bare, without, _ = run(loop, tmp_path / "bare", watched=False)
    watched, fitting, steps = run(loop, tmp_path / "watched", watched=True)
    assert same_weights(bare, watched)
    assert footprint(watched) == footprint(bare)
    assert fitting.global_step == without.global_step > 0
    assert steps.steps
    if "max_overhead" not in loop.callback:
        assert all(validation == report for validation, report in steps.steps)
    logged = {key: float(value) for key, value in fitting.callback_metrics.items() if key.startswith("invariance/")}
    assert all(math.isfinite(value) for value in logged.values())
    said = set(steps.seen._findings._said) - SMALL - {"action", "labels"}
    if loop.unmeasured:
        assert logged.keys() == {"invariance/findings", "invariance/overhead"}
        assert said == {"not transformed"}
        return
    assert logged.keys() == {f"invariance/{key}" for key in headlines()}
    assert not said
    assert logged["invariance/error"] < (2e-2 if "bf16" in name else 1e-5) < logged["invariance/error_raw"]
    assert logged["invariance/equivariance_error"] < (2e-2 if "bf16" in name else 1e-5)


def test_a_disturbance_would_be_seen_in_every_kind_of_loop(tmp_path):
    class Draws(pl.Callback):
        def on_validation_epoch_end(self, trainer, pl_module):
            torch.rand(1)

    for name in ("plain", "manual optimisation", "gan", "autoencoder", "compiled in place"):
        bare, _, _ = run(LOOPS[name], tmp_path, watched=False)
        disturbed, _, _ = run(LOOPS[name], tmp_path, watched=False, extra=[Draws()])
        assert not same_weights(bare, disturbed), name


def test_a_loop_of_lightning_itself_is_untouched(tmp_path):
    def boring(callbacks):
        pl.seed_everything(1, verbose=False)
        module = BoringModel()
        trainer(callbacks, tmp_path, limit_train_batches=4, limit_val_batches=4).fit(module, BoringDataModule())
        return module

    seen = InvariantCallback("layer", "C2: 2 trivial", max_overhead=None)
    assert same_weights(boring([]), boring([seen]))


def test_half_precision_is_not_for_every_processor(tmp_path):
    try:
        trainer([], tmp_path, precision="16-mixed").fit(Classifier(), *loaders())
    except Exception as error:  # Lightning's own refusal, without our callback
        pytest.skip(f"16-mixed does not run here: {type(error).__name__}: {error}")
    seen = InvariantCallback("encoder", REPRESENTATION, max_overhead=None)
    trainer([seen], tmp_path, precision="16-mixed").fit(Classifier(), *loaders())
    assert set(seen._findings._said) <= SMALL | {"action", "labels"}


def test_checkpoints_hold_no_module_and_no_sample(tmp_path):
    seen = InvariantCallback("encoder", REPRESENTATION, max_overhead=None, figures=None)
    module, _ = fit([seen], tmp_path, enable_checkpointing=True)
    (path,) = tmp_path.rglob("*.ckpt")
    saved = torch.load(path, weights_only=True)
    assert saved["state_dict"].keys() == module.state_dict().keys()
    notes = next(value for key, value in saved["callbacks"].items() if key.startswith("InvariantCallback"))
    assert notes["input"] == {"shape": [1, 8, 8], "dtype": "float32"}
    json.dumps({key: value for key, value in notes.items() if key != "tensors"})
