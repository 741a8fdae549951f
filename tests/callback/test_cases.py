"""Trainings that once went wrong: weights, numbers and messages of each are right."""

import copy
import csv
import io
import os
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import torchmetrics
from pytorch_lightning.callbacks import EarlyStopping
from pytorch_lightning.utilities import CombinedLoader
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from lightning_invariant import KNN, BatchReader, InvariantCallback
from lightning_invariant.errors import ActionError, InvariantError, LatentError
from lightning_invariant.projections import ChannelMax, OrbitMean
from lightning_invariant.zoo.quarter_turns import QuarterTurnEncoder
from tests.callback.loops import REPRESENTATION, Classifier, data, fit, loaders, trainer
from tests.callback.test_any_loop import same_weights

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def callback(layer="encoder", representation=REPRESENTATION, **settings):
    return InvariantCallback(layer, representation, **({"max_overhead": None, "figures": None} | settings))


def numbers(run):
    return {name.split("/", 1)[1]: float(value) for name, value in run.callback_metrics.items() if "invariance" in name}


def said(seen):
    return seen._findings._said


def both(tmp_path, kind, **settings):
    """Trained without the callback and with it, from the same seeds."""
    found = []
    for seen in (None, callback()):
        np.random.seed(0)
        pl.seed_everything(0, verbose=False)
        module = kind()
        _, run = fit([] if seen is None else [seen], tmp_path, module, **settings)
        found.append((module, run, seen))
    return found


@pytest.mark.parametrize("projection", [ChannelMax, OrbitMean])
def test_a_projection_that_merges_orbits_draws_from_no_global_state(tmp_path, projection):
    bare, _ = fit([], tmp_path)
    seen = callback(projection=projection(REPRESENTATION))
    watched, _ = fit([seen], tmp_path)
    assert same_weights(bare, watched)
    assert "separation" in said(seen)


def test_latents_of_rank_one_draw_from_no_global_state(tmp_path):
    class Rank(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.w = nn.Linear(64, 1), nn.Parameter(torch.ones(16))

        def forward(self, x):
            return self.linear(x.flatten(1)) * self.w

    (bare, _, _), (watched, run, _) = both(tmp_path, lambda: Classifier(Rank()))
    assert same_weights(bare, watched)
    assert numbers(run)["rank_raw"] == pytest.approx(1, abs=1e-3)


def test_modules_are_saved_copied_and_scripted_in_the_middle_of_a_batch(tmp_path):
    class Net(Classifier):
        def __init__(self, net):
            super().__init__(net)
            self.save_hyperparameters()

        def validation_step(self, batch, batch_idx):
            torch.save(self.encoder, io.BytesIO())
            copied = copy.deepcopy(self.encoder)
            assert "_compiled_call_impl" not in copied.__dict__
            torch.jit.script(nn.Sequential(nn.Flatten(), nn.Linear(64, 4)))
            super().validation_step(batch, batch_idx)

    seen = callback()
    fit([seen], tmp_path, Net(QuarterTurnEncoder(1, 4)), enable_checkpointing=True)
    assert seen.report is not None
    assert "validation batch" not in said(seen)


class Dense(Classifier):
    def __init__(self):
        super().__init__(nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 16)))


def flat(rows, seed):
    x, y = data(rows, seed).tensors
    return DataLoader(TensorDataset(x.flatten(1), y), 16)


def test_what_cannot_be_measured_is_absent_and_said(tmp_path):
    seen = callback(export=tmp_path / "hub")
    run = trainer([seen], tmp_path)
    run.fit(Dense(), flat(96, 0), flat(64, 1))
    found = numbers(run)
    absent = {"knn", "knn_raw", "knn_gap", "linear", "error", "error_raw", "equivariance_error", "queries", "pose"}
    assert not absent & found.keys()
    assert {"knn_upright", "linear_upright_raw", "rank", "bank", "findings"} <= found.keys()
    assert "float32 (B, 64)" in said(seen)["not transformed"]
    assert "pass action=" in said(seen)["not transformed"]
    assert absent - {"pose"} - seen.report.missing.keys() <= {"linear", "queries"}
    card = (tmp_path / "hub" / "README.md").read_text()
    assert "| invariance error | not measured | not measured |" in card


def test_the_remedy_for_unknown_inputs_works_to_the_letter(tmp_path):
    seen = callback(action={"x": "left alone"})
    run = trainer([seen], tmp_path)
    run.fit(Dense(), flat(96, 0), flat(64, 1))
    assert "transformed inputs would be the same" in said(seen)["not transformed"]
    seen = callback(action=lambda x, g: x)
    run = trainer([seen], tmp_path)
    run.fit(Dense(), flat(96, 0), flat(64, 1))
    assert numbers(run)["error_raw"] == 0


def test_a_second_run_knows_nothing_of_the_first(tmp_path):
    class Bad(Classifier):
        def __init__(self):
            super().__init__(nn.Sequential(nn.Flatten(), nn.Linear(64, 16)))

    seen = callback(every_n_validations=3)
    _, first = fit([seen], tmp_path, Bad(), max_epochs=1)
    assert numbers(first)["equivariance_error"] > 0.1
    assert "equivariance" in said(seen)
    _, second = fit([seen], tmp_path, max_epochs=1)
    assert numbers(second)["equivariance_error"] < 1e-5
    assert "equivariance" not in said(seen)
    fit([seen], tmp_path, Bad(), limit_val_batches=0)
    assert seen.report is None
    assert set(said(seen)) == {"no validation"}
    run = trainer([seen], tmp_path)
    run.validate(Bad(), loaders()[1], verbose=False)
    fit([seen], tmp_path, limit_val_batches=0)
    assert seen.report is None


def test_nothing_is_logged_between_reports(tmp_path):
    seen = callback(every_n_validations=2)

    logger = pl.loggers.CSVLogger(tmp_path)
    fit([seen], tmp_path, max_epochs=4, logger=logger)
    with open(Path(logger.log_dir) / "metrics.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["val/loss"]]
    assert [bool(row["invariance/knn"]) for row in rows] == [True, False, True, False]


class Stem(Classifier):
    def forward(self, x):
        return super().forward(x * 1.0)


class NumpyRandom(Stem):
    def forward(self, x):
        return super().forward(x * (1.0 if np.random.rand() > 0.3 else 0.5))


class Queue(Stem):
    def __init__(self):
        super().__init__()
        self.register_buffer("queue", torch.zeros(16))

    def forward(self, x):
        z = self.encoder(x * 1.0).flatten(1)
        with torch.no_grad():
            self.queue.mul_(0.9).add_(0.1 * z.mean(0))
        return self.head(z - self.queue)


class Lazy(Classifier):
    def __init__(self):
        super().__init__()
        self.head = nn.Sequential(nn.Flatten(), nn.LazyLinear(4))


class Recurrent(Stem):
    def __init__(self):
        super().__init__()
        self.cell, self.h = nn.GRUCell(16, 16), None

    def forward(self, x):
        z = self.encoder(x * 1.0).flatten(1)
        self.h = self.cell(z, None if self.h is None or len(self.h) != len(z) else self.h.detach())
        return self.head(self.h)


class Merging(nn.Linear):
    """As adapters of low rank do: they are added to the weights by `eval()`, and taken off by `train()`."""

    def __init__(self):
        super().__init__(16, 16)
        self.a, self.merged = nn.Parameter(torch.randn(16, 16) * 0.1), False

    def train(self, mode=True):
        if mode == self.merged:
            self.weight.data += self.a.data * (-1 if mode else 1)
            self.merged = not mode
        return super().train(mode)

    def forward(self, x):
        return super().forward(x) if self.merged else F.linear(x, self.weight + self.a, self.bias)


class Adapted(Classifier):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), Merging())


class Momentum(Classifier):
    """A key encoder that follows the encoder, a queue of its keys, and a shuffled batch, in validation too."""

    def __init__(self):
        super().__init__()
        self.key = copy.deepcopy(self.encoder).requires_grad_(False)
        self.register_buffer("queue", torch.randn(16, 32))
        self.register_buffer("place", torch.zeros(1, dtype=torch.long))

    def contrast(self, x):
        q = F.normalize(self.encoder(x).flatten(1), dim=1)
        with torch.no_grad():
            for own, key in zip(self.encoder.parameters(), self.key.parameters(), strict=True):
                key.data.mul_(0.9).add_(own.data * 0.1)
            k = F.normalize(self.key(x[torch.randperm(len(x))]).flatten(1), dim=1)
        scores = torch.cat([(q * k).sum(1, keepdim=True), q @ self.queue.clone()], 1) / 0.2
        self.queue[:, (torch.arange(len(k)) + int(self.place)) % 32] = k.T
        self.place += len(k)
        return F.cross_entropy(scores, torch.zeros(len(x), dtype=torch.long))

    def training_step(self, batch, batch_idx):
        self.steps += 1
        return self.contrast(batch[0]) + 0 * self(batch[0]).sum()

    def validation_step(self, batch, batch_idx):
        self.contrast(batch[0])


@pytest.mark.parametrize("kind", [NumpyRandom, Queue, Lazy, Recurrent, Adapted, Momentum])
def test_what_a_forward_does_to_itself_stays_on_the_copy(tmp_path, kind):
    settings = {"num_sanity_val_steps": 0} if kind in (Lazy, Recurrent) else {}
    (bare, _, _), (watched, _, seen) = both(tmp_path, kind, **settings)
    assert same_weights(bare, watched)
    assert "live copy" not in said(seen)
    if kind is not Adapted:
        assert seen.report.scalars["invariance/equivariance_error"] < 1e-5


def test_a_teacher_that_was_copied_is_not_watched(tmp_path):
    class Teacher(Classifier):
        def on_train_start(self):
            self.teacher = [copy.deepcopy(self.encoder)]
            for parameter in self.teacher[0].parameters():
                parameter.data.mul_(-3)

        def validation_step(self, batch, batch_idx):
            if hasattr(self, "teacher"):
                self.teacher[0](batch[0] + 1)
                self.encoder(torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
            super().validation_step(batch, batch_idx)

    (_, plain, _), (module, taught, _) = (
        (None, fit([callback()], tmp_path)[1], None),
        (*fit([callback()], tmp_path, Teacher()), None),
    )
    assert numbers(taught)["knn_upright_raw"] == pytest.approx(numbers(plain)["knn_upright_raw"], abs=0.05)
    assert "_compiled_call_impl" not in module.teacher[0].__dict__


def test_latents_are_the_layers_own_output_whatever_is_done_to_them(tmp_path):
    class InPlace(Classifier):
        def __init__(self):
            super().__init__(nn.Sequential(nn.Flatten(), nn.Linear(64, 16)))
            self.act = nn.ReLU(inplace=True)

        def forward(self, x):
            return self.head(self.act(self.encoder(x * 1.0)))

    seen = callback(representation="C4: 16 trivial")
    fit([seen], tmp_path, InPlace())
    assert float((seen._reporter.evaluation.latents.bank < 0).float().mean()) > 0.2


def test_two_callbacks_need_prefixes_and_have_numbers_of_their_own(tmp_path):
    class Two(Classifier):
        def __init__(self):
            super().__init__()
            self.second = nn.Linear(16, 16)

        def forward(self, x):
            return self.head(self.second(self.encoder(x).flatten(1)))

    with pytest.raises(InvariantError, match="prefix='second_'"):
        fit([callback("encoder"), callback("second")], tmp_path, Two())

    def trained(*seen):
        pl.seed_everything(0, verbose=False)
        return fit(list(seen), tmp_path, Two())[1]

    together = trained(callback("encoder"), callback("second", prefix="second_"))
    first, second = trained(callback("encoder")), trained(callback("second"))
    pair = {name: float(value) for name, value in together.callback_metrics.items()}
    assert pair["invariance/equivariance_error"] == pytest.approx(numbers(first)["equivariance_error"], abs=1e-6)
    assert pair["second_invariance/equivariance_error"] == pytest.approx(numbers(second)["equivariance_error"])


def test_combined_loaders_and_lists_of_images(tmp_path):
    class Dictionary(Classifier):
        def training_step(self, batch, batch_idx):
            return super().training_step(batch["a"], batch_idx)

        def validation_step(self, batch, batch_idx):
            super().validation_step(batch["a"], batch_idx)

    training, validation = loaders()
    seen = callback(batch=BatchReader(labels="batch['a'][1]"))
    run = trainer([seen], tmp_path)
    both_loaders = CombinedLoader({"a": validation, "b": validation}, "max_size_cycle")
    run.fit(Dictionary(), CombinedLoader({"a": training, "b": training}), both_loaders)
    assert numbers(run)["error"] < 1e-5
    assert {"knn", "linear_gap"} <= numbers(run).keys()

    class Lists(Classifier):
        def __init__(self):
            super().__init__(nn.Sequential(nn.Flatten(), nn.Linear(192, 16)))

        def training_step(self, batch, batch_idx):
            return super().training_step((torch.stack(batch[0]), torch.stack(batch[1])), batch_idx)

        def validation_step(self, batch, batch_idx):
            super().validation_step((torch.stack(batch[0]), torch.stack(batch[1])), batch_idx)

    def collate(rows):
        return [x.expand(3, -1, -1) for x, _ in rows], [y for _, y in rows]

    for size in (16, 3):
        seen = callback(representation="C4: 16 trivial")
        run = trainer([seen], tmp_path)
        run.fit(Lists(), *(DataLoader(data(n, s), size, collate_fn=collate) for n, s in ((96, 0), (63, 1))))
        assert numbers(run)["bank"] == 63
        assert numbers(run)["queries"] == 63
        assert "knn" in numbers(run)


def test_labels_of_any_size_and_in_any_order(tmp_path):
    x, y = data(96).tensors
    v, w = data(64, 1).tensors

    class Shifted(Classifier):
        def training_step(self, batch, batch_idx):
            return super().training_step((batch[0], batch[1] - 2**40), batch_idx)

        def validation_step(self, batch, batch_idx):
            super().validation_step((batch[0], batch[1] - 2**40), batch_idx)

    pl.seed_everything(0, verbose=False)
    run = trainer([callback()], tmp_path)
    run.fit(Shifted(), *(DataLoader(TensorDataset(a, b + 2**40), 16) for a, b in ((x, y), (v, w))))
    assert numbers(run)["knn_upright_raw"] > 0.5
    order = torch.stack([(w % 2 == 0).nonzero()[:20, 0], (w % 2 == 1).nonzero()[:20, 0]], 1).flatten()
    module, _ = fit([], tmp_path)
    run = trainer([callback()], tmp_path)
    run.validate(module, DataLoader(TensorDataset(v[order], w[order]), 16), verbose=False)
    assert numbers(run)["knn_upright_raw"] > 0.5


def test_complex_latents_are_refused_before_the_first_step(tmp_path):
    class Complex(nn.Module):
        def forward(self, z):
            return torch.complex(torch.zeros_like(z), z)

    class Net(Classifier):
        def __init__(self):
            super().__init__()
            self.latent = Complex()

        def forward(self, x):
            return self.head(self.latent(self.encoder(x)).imag)

    module = Net()
    with pytest.raises(LatentError, match=r"view_as_real"):
        fit([callback("latent")], tmp_path, module)
    assert module.steps == 0


def test_a_common_offset_is_no_collapse(tmp_path):
    class Offset(nn.Module):
        def __init__(self, offset):
            super().__init__()
            self.inner, self.offset = nn.Sequential(nn.Flatten(), nn.Linear(64, 16)), offset

        def forward(self, x):
            return self.inner(x) + self.offset

    class Net(Classifier):
        def __init__(self, offset):
            super().__init__(Offset(offset))
            self.offset = offset

        def forward(self, x):
            return self.head(self.encoder(x) - self.offset)

    found = []
    for offset in (0.0, 100.0):
        pl.seed_everything(0, verbose=False)
        seen = callback()
        _, run = fit([seen], tmp_path, Net(offset))
        found.append(numbers(run))
        assert "collapse" not in said(seen)
        assert "equivariance" in said(seen)
    for name in ("rank_raw", "collapse_raw", "knn_upright_raw"):
        assert found[0][name] == pytest.approx(found[1][name], rel=0.02), name


def test_the_users_own_numbers_do_not_change(tmp_path):
    class Logs(Classifier):
        def forward(self, x):
            z = self.encoder(x * 1.0)
            self.log("own", z.norm(dim=1).mean())
            return self.head(z)

    class Metric(Classifier):
        def __init__(self):
            super().__init__()
            self.metric = torchmetrics.MeanMetric()

        def forward(self, x):
            z = self.encoder(x * 1.0)
            self.metric.update(z.mean())
            return self.head(z)

        def on_validation_epoch_end(self):
            self.log("own", self.metric.compute())
            self.metric.reset()

    for kind in (Logs, Metric):
        (_, without, _), (_, run, seen) = both(tmp_path, kind)
        assert torch.equal(without.callback_metrics["own"], run.callback_metrics["own"])
        assert seen.report.scalars["invariance/error"] < 1e-5


def test_no_file_is_written_where_the_trainer_writes_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = pl.Trainer(
        accelerator="cpu", max_epochs=1, barebones=True, callbacks=[InvariantCallback("encoder", "C4: 4 regular")]
    )
    run.fit(Classifier(), *loaders())
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("prefix", ["../../up/", "/abs/"])
def test_a_prefix_is_no_path(prefix):
    with pytest.raises(ValueError, match="prefix of names"):
        callback(prefix=prefix)


@pytest.mark.parametrize(
    ("monitor", "words"),
    [
        ("invariance/knn", "float32 .B, 64."),
        ("invariance/nope", "no such number"),
        ("invariance_details/retrieval", "float32 .B, 64."),
    ],
)
def test_monitoring_what_will_not_be_measured_is_an_error_before_the_first_step(tmp_path, monitor, words):
    module = Dense()
    run = trainer([callback(), EarlyStopping(monitor)], tmp_path)
    with pytest.raises(InvariantError, match=rf"(?s)'{monitor}'.*{words}"):
        run.fit(module, flat(96, 0), flat(64, 1))
    assert module.steps == 0


def test_monitoring_without_labels_is_an_error_before_the_first_step(tmp_path):
    class Images(Classifier):
        def training_step(self, batch, batch_idx):
            return self(batch).pow(2).mean()

        def validation_step(self, batch, batch_idx):
            self(batch)

    def images(rows):
        return DataLoader(data(rows).tensors[0], 16)

    run = trainer([callback(), EarlyStopping("invariance/knn")], tmp_path)
    with pytest.raises(InvariantError, match="no labels were found"):
        run.fit(Images(), images(96), images(64))
    run = trainer([callback(), EarlyStopping("invariance/error")], tmp_path)
    run.fit(Images(), images(96), images(64))


def test_an_action_that_fits_no_argument_is_an_error_before_the_first_step(tmp_path):
    module = Classifier()
    with pytest.raises(ActionError, match="nowhere"):
        fit([callback(action={"nowhere": "vectors"})], tmp_path, module)
    assert module.steps == 0
    with pytest.raises(ActionError, match="dict of member to rule"):
        callback(action="rotate")


def test_validation_that_repeats_training_inputs_is_said(tmp_path):
    rows = data(128)
    for training, validation, expected in (
        (rows, rows, "100%"),
        (torch.utils.data.Subset(rows, range(96)), torch.utils.data.Subset(rows, range(64, 128)), "50%"),
        (data(96), data(64, 1), None),
    ):
        seen = callback()
        trainer([seen], tmp_path).fit(Classifier(), DataLoader(training, 16), DataLoader(validation, 16))
        found = said(seen).get("repeats training")
        assert (found is None) == (expected is None)
        assert expected is None or expected in found


def test_groups_of_samples_are_left_out_together(tmp_path):
    x, _ = data(64, 1).tensors
    y = torch.randint(4, (64,), generator=torch.Generator().manual_seed(0))
    twins = TensorDataset(x.repeat_interleave(2, 0), y.repeat_interleave(2), torch.arange(64).repeat_interleave(2))

    class Grouped(Classifier):
        def validation_step(self, batch, batch_idx):
            super().validation_step(batch[:2], batch_idx)

    found = {}
    for name, reader in (("alone", BatchReader(labels=1)), ("grouped", BatchReader(labels=1, groups=2))):
        pl.seed_everything(0, verbose=False)
        seen = callback(batch=reader, probes=[KNN(k=1)])
        run = trainer([seen], tmp_path, limit_train_batches=1, max_epochs=1)
        run.fit(Grouped(), DataLoader(data(), 16), DataLoader(twins, 16))
        found[name] = numbers(run)
    assert found["alone"]["bank"] == found["grouped"]["bank"] == 128
    assert found["alone"]["knn_upright_raw"] == 1
    assert found["grouped"]["knn_upright_raw"] < 0.5


def test_loaders_and_tests_have_names_of_their_own(tmp_path):
    training, validation = loaders()
    seen = callback()
    run = trainer([seen], tmp_path)
    run.fit(module := Classifier(), training, [validation, validation])
    keys = [name for name in run.callback_metrics if name.startswith("invariance")]
    assert all(name.endswith(("/dataloader_idx_0", "/dataloader_idx_1")) for name in keys if "findings" not in name)
    folders = {name.rpartition("/")[0] for name in keys}
    assert not folders & set(keys)
    run.test(module, validation, verbose=False)
    tested = [name for name in run.callback_metrics if "invariance" in name]
    assert tested
    assert all(name.startswith("test_invariance") for name in tested)
