"""Every kind of loop: weights to the bit as without the callback, and numbers that can be trusted."""

import math
import sys

import pytest
import pytorch_lightning as pl
import torch

from lightning_invariant import InvariantCallback
from lightning_invariant.callback.names import COSTS, METRICS
from tests.callback.any_loop import LOOPS, REPRESENTATION
from tests.callback.loops import Classifier, data, loaders, trainer
from tests.callback.test_untouched import footprint, same_weights

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def run(loop, folder, *, watched, extra=()):
    pl.seed_everything(0, verbose=False)
    module = loop.module()
    before, behind = loop.others()
    seen = InvariantCallback(loop.layer, REPRESENTATION, **({"max_overhead": None} | loop.callback))
    ours = [seen] if watched else []
    fitting = trainer([*before, *ours, *extra, *behind], folder, **loop.settings)
    fitting.fit(module, *loop.data())
    return module, fitting, seen


@pytest.mark.parametrize("name", LOOPS)
def test_weights_are_bit_identical_and_the_numbers_are_there(tmp_path, name):
    loop = LOOPS[name]
    bare, without, _ = run(loop, tmp_path / "bare", watched=False)
    watched, fitting, seen = run(loop, tmp_path / "watched", watched=True)
    assert same_weights(bare, watched)
    assert footprint(watched) == footprint(bare)
    assert fitting.global_step == without.global_step > 0
    logged = {name: float(value) for name, value in fitting.callback_metrics.items()}
    assert set(METRICS) <= set(logged)
    assert all(math.isfinite(logged[name]) for name in METRICS)
    assert logged["invariant/problems"] == loop.problems, seen._findings._said
    assert logged["invariant/error"] < (2e-2 if "bf16" in name else 1e-5)


def test_a_disturbance_would_be_seen_in_every_kind_of_loop(tmp_path):
    class Draws(pl.Callback):
        def on_validation_epoch_end(self, trainer, pl_module):
            torch.rand(1)

    for name in ("manual optimisation", "gan", "autoencoder", "compiled in place"):
        bare, _, _ = run(LOOPS[name], tmp_path, watched=False)
        disturbed, _, _ = run(LOOPS[name], tmp_path, watched=False, extra=[Draws()])
        assert not same_weights(bare, disturbed), name


def test_half_precision_is_not_for_every_processor(tmp_path):
    try:
        fitting = trainer([], tmp_path, precision="16-mixed")
        fitting.fit(Classifier(), *loaders())
    except Exception as error:  # Lightning's own refusal, without our callback
        pytest.skip(f"16-mixed does not run here: {type(error).__name__}: {error}")
    seen = InvariantCallback("encoder", REPRESENTATION, max_overhead=None)
    trainer([seen], tmp_path, precision="16-mixed").fit(Classifier(), *loaders())
    assert seen.report.scalars["invariant/problems"] == 0


@pytest.mark.parametrize("order", ["before", "behind"])
def test_averaged_weights_are_what_is_measured(tmp_path, order):
    """The numbers are those of a validation of the averaged network, wherever the averaging stands."""
    loop = LOOPS[f"averaging {order} ours"]
    module, fitting, seen = run(loop, tmp_path, watched=True)
    # After the training the network holds the averaged weights of the last validation.
    after = InvariantCallback("encoder", REPRESENTATION, max_overhead=None)
    after._collector.bank, after._collector.route = seen._collector.bank, "network"
    found = trainer([after], tmp_path).validate(module, loop.data()[1], verbose=False)[0]
    for name in METRICS.keys() - COSTS:
        assert fitting.callback_metrics[name] == pytest.approx(found[name], abs=1e-6), name


def test_without_putting_averaged_weights_back_the_order_would_matter(tmp_path, monkeypatch):
    from contextlib import nullcontext

    from lightning_invariant.callback import callback as module

    loop = LOOPS["averaging before ours"]
    _, right, _ = run(loop, tmp_path, watched=True)
    monkeypatch.setattr(module, "averaged_weights", lambda *args: nullcontext())
    _, wrong, _ = run(loop, tmp_path, watched=True)
    assert right.callback_metrics["invariant/problems"] == 0
    assert dict(right.callback_metrics)["equivariance/error"] != dict(wrong.callback_metrics)["equivariance/error"]


@pytest.mark.parametrize("settings", [{"limit_val_batches": 0}, {"barebones": True}], ids=str)
def test_loops_without_validation_or_logging_train_as_ever(tmp_path, settings):
    def fit(callbacks):
        pl.seed_everything(0, verbose=False)
        quiet = {"logger": None, "enable_checkpointing": None, "enable_progress_bar": None}
        quiet |= {"enable_model_summary": None} if settings.get("barebones") else {}
        module = Classifier()
        trainer(callbacks, tmp_path, **(quiet if settings.get("barebones") else {}), **settings).fit(module, *loaders())
        return module

    assert same_weights(fit([]), fit([InvariantCallback("encoder", REPRESENTATION)]))


def test_a_training_without_a_validation_loader(tmp_path):
    pl.seed_everything(0, verbose=False)
    module = Classifier()
    trainer([InvariantCallback("encoder", REPRESENTATION)], tmp_path).fit(module, loaders()[0])
    assert module.steps == 12


def test_moved_inputs_of_a_compiled_network_do_not_compile_it_again(tmp_path):
    assert "torch._dynamo" in sys.modules
    compiled = []

    def backend(graph, inputs):
        compiled.append(len(inputs))
        return graph.forward

    class Counted(Classifier):
        def __init__(self):
            super().__init__()
            self.encoder.compile(backend=backend)

    def count(callbacks):
        compiled.clear()
        torch._dynamo.reset()
        pl.seed_everything(0, verbose=False)
        trainer(callbacks, tmp_path).fit(Counted(), *loaders())
        return len(compiled)

    assert count([InvariantCallback("encoder", REPRESENTATION, max_overhead=None)]) <= count([])


def test_the_bank_is_one_whole_pass_over_the_training_data(tmp_path):
    seen = InvariantCallback("encoder", REPRESENTATION, max_overhead=None)
    trainer([seen], tmp_path, max_epochs=3).fit(Classifier(), *loaders())
    kept = seen._collector.bank.columns["x"]
    assert sorted(kept.sum((1, 2, 3)).tolist()) == pytest.approx(sorted(data().tensors[0].sum((1, 2, 3)).tolist()))
    part = InvariantCallback("encoder", REPRESENTATION, max_overhead=None)
    trainer([part], tmp_path, max_epochs=3, limit_train_batches=2).fit(Classifier(), *loaders())
    assert len(part._collector.bank) == 3 * 2 * 16
