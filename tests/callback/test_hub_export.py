"""Publishing while training: one argument, the genuine client, a Hub on loopback, a training that does not notice."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EMAWeightAveraging, ModelCheckpoint, StochasticWeightAveraging

from lightning_invariant import Export, HubExport, InvariantCallback, InvariantEncoder
from lightning_invariant.encoder.parity_check import check_parity
from lightning_invariant.errors import GraphError, HubError
from lightning_invariant.hub.queue import Queue
from lightning_invariant.hub.worker import Worker, empty_queue
from tests.callback.loops import REPRESENTATION, Classifier, data, fit, loaders, trainer
from tests.hub.loopback import Fault, Hub

NAME = "tester/digits"


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A Hub, and uploads in a process of their own."""
    with Hub() as server:
        server.serve(monkeypatch, tmp_path / "home")
        monkeypatch.setenv("LIGHTNING_INVARIANT_QUEUE", str(tmp_path / "queue"))
        yield server


@pytest.fixture
def hub(beside: Hub, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """The same, with uploads in a thread of this process, which saves the seconds of a start."""

    def empty_here(self: Worker) -> None:
        self._outcomes += empty_queue(self.queue, check_parity, sleep=lambda seconds: None, only=self.repo_id)

    monkeypatch.setattr(Worker, "_run", empty_here)
    return beside


def publishing(when: Any = "best", *, at_most_every: float | None = None, **settings: Any) -> InvariantCallback:
    export = HubExport(NAME, when, **settings)
    export.at_most_every = export.at_most_every if at_most_every is None else at_most_every
    return InvariantCallback("encoder", REPRESENTATION, max_overhead=None, figures=None, export=export)


def checkpoints(folder: Path, **settings: Any) -> ModelCheckpoint:
    return ModelCheckpoint(folder / "checkpoints", **({"monitor": "val/loss", "save_top_k": 1} | settings))


def train(callbacks: list[Any], folder: Path, module: Any = Classifier, **settings: Any):
    """Seed, build, train."""
    saves = any(isinstance(callback, ModelCheckpoint) for callback in callbacks)
    pl.seed_everything(0, verbose=False)
    module = module() if isinstance(module, type) else module
    return fit(callbacks, folder, module, enable_checkpointing=saves, **settings)


def published(hub: Hub, folder: Path, branch: str = "main") -> InvariantEncoder:
    """What the Hub holds, loaded."""
    repository = hub.repositories[NAME]
    folder.mkdir()
    for name, content in repository.commits[(repository.branches | repository.pulls)[branch]].items():
        (folder / name).write_bytes(content)
    return InvariantEncoder.from_pretrained(folder)


def hub_card(hub: Hub) -> str:
    repository = hub.repositories[NAME]
    return repository.commits[repository.branches["main"]]["README.md"].decode()


def messages(hub: Hub) -> list[str]:
    return [message for _, message in hub.repositories[NAME].messages if message]


@torch.no_grad()
def latents(state: dict[str, torch.Tensor]) -> torch.Tensor:
    module = Classifier()
    module.load_state_dict(state)
    return module.eval().encoder(data(5, seed=3).tensors[0]).flatten(1)


def same_weights(one: pl.LightningModule, other: pl.LightningModule) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


class Worsens(Classifier):
    """The validation loss is best at a step that is not the last."""

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self(batch[0])
        self.log("val/loss", torch.tensor(abs(self.steps - 12.0)))


def test_the_best_checkpoint_is_published_and_the_training_does_not_notice(tmp_path: Path, beside: Hub) -> None:
    hub = beside
    bare, _ = train([checkpoints(tmp_path / "bare")], tmp_path, Worsens, max_epochs=4)
    kept = checkpoints(tmp_path)
    watched, _ = train([publishing(at_most_every=0), kept], tmp_path, Worsens, max_epochs=4)
    assert same_weights(bare, watched)
    encoder = published(hub, tmp_path / "pulled")
    best = torch.load(kept.best_model_path, weights_only=True)
    assert best["global_step"] == 12
    found = encoder.latent(data(5, seed=3).tensors[0]).detach()
    assert torch.equal(found, latents(best["state_dict"]))
    assert not torch.allclose(found, latents(watched.state_dict()), atol=1e-4)
    assert messages(hub)[-1] == "Export of step 12: best checkpoint by val/loss"
    card = (tmp_path / "pulled" / "README.md").read_text()
    assert f'from_pretrained("{NAME}")' in card
    assert "| measured | at step 12 |" in card
    assert encoder.certificate["measured"]["error"] < 1e-5
    assert Queue().entries() == []


def test_an_export_between_two_steps_sees_the_file_and_not_the_live_weights(tmp_path: Path, hub: Hub) -> None:
    class Spoils(Classifier):
        """Its weights are no longer those of the file when the export comes."""

        def on_train_epoch_start(self):
            with torch.no_grad():
                self.encoder.body[0].weight.add_(0.5)

    kept = checkpoints(tmp_path, monitor=None)
    callback = publishing("last", at_most_every=0)
    train([callback, kept], tmp_path, Spoils, max_epochs=2)
    assert torch.equal(
        published(hub, tmp_path / "pulled").latent(data(5, seed=3).tensors[0]).detach(),
        latents(torch.load(kept.best_model_path, weights_only=True)["state_dict"]),
    )


def test_averaged_weights_are_those_that_are_published(tmp_path: Path, hub: Hub) -> None:
    kept = checkpoints(tmp_path)
    train([publishing(), EMAWeightAveraging(decay=0.5), kept], tmp_path)
    saved = torch.load(kept.best_model_path, weights_only=True)
    assert "current_model_state" in saved
    found = published(hub, tmp_path / "pulled").latent(data(5, seed=3).tensors[0]).detach()
    assert torch.equal(found, latents(saved["state_dict"]))
    assert not torch.allclose(found, latents(saved["current_model_state"]), atol=1e-6)


class Swaps(pl.Callback):
    """An average of the weights that takes their place while a validation runs, and only then."""

    def on_fit_start(self, trainer, pl_module):
        self.average = {name: tensor.clone() for name, tensor in pl_module.state_dict().items()}

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        for name, tensor in pl_module.state_dict().items():
            self.average[name] = torch.lerp(self.average[name], tensor, 0.3) if tensor.is_floating_point() else tensor

    def on_validation_start(self, trainer, pl_module):
        self.own = {name: tensor.clone() for name, tensor in pl_module.state_dict().items()}
        pl_module.load_state_dict(self.average)

    def on_validation_end(self, trainer, pl_module):
        pl_module.load_state_dict(self.own)


class Live(pl.Callback):
    """The weights that the last training step left; stochastic weight averaging adds an epoch for batch statistics."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.current_epoch < 3:
            self.state = {name: tensor.clone() for name, tensor in pl_module.state_dict().items()}


def require_measured(encoder: InvariantEncoder, state: dict[str, torch.Tensor], folder: Path) -> None:
    """The encoder has these weights, and its certificate the numbers that a validation of these weights has."""
    found = encoder.latent(data(5, seed=3).tensors[0]).detach()
    assert torch.equal(found, latents(state))
    module = Classifier()
    module.load_state_dict(state)
    alone = InvariantCallback("encoder", REPRESENTATION, max_overhead=None, figures=None)
    trainer([alone], folder).validate(module, loaders()[1], verbose=False)
    measured = {name: value for name, value in encoder.certificate["measured"].items() if isinstance(value, float)}
    expected = {name.rpartition("/")[2]: value for name, value in alone.report.scalars.items()}
    compared = ("knn_raw", "linear_raw", "error_raw", "rank_raw", "equivariance_worst", "pose_raw")
    assert set(compared) <= measured.keys()
    assert {name: measured[name] for name in compared} == pytest.approx({n: expected[n] for n in compared}, abs=1e-5)


@pytest.mark.parametrize("average", ["none", "ema", "swa", "swaps"])
def test_the_numbers_and_the_weights_of_an_export_belong_together(tmp_path: Path, average: str) -> None:
    averages = {
        "none": [],
        "ema": [EMAWeightAveraging(decay=0.7)],
        "swa": [StochasticWeightAveraging(0.05, swa_epoch_start=1)],
        "swaps": [Swaps()],
    }[average]
    seen = InvariantCallback(
        "encoder", REPRESENTATION, max_overhead=None, figures=None, export=Export(tmp_path / "out")
    )
    live = Live()
    module, _ = train([seen, *averages, live], tmp_path, max_epochs=3)
    state = averages[0].average if average == "swaps" else module.state_dict()
    encoder = InvariantEncoder.from_pretrained(tmp_path / "out")
    require_measured(encoder, state, tmp_path)
    assert torch.equal(latents(state), latents(live.state)) == (average == "none")


def test_a_checkpoint_of_another_step_than_a_report_is_measured_anew(tmp_path: Path, hub: Hub) -> None:
    kept = checkpoints(tmp_path, monitor=None, every_n_train_steps=4)
    callback = publishing("last")
    train([callback, kept], tmp_path, max_epochs=1)
    saved = torch.load(kept.best_model_path, weights_only=True)
    assert saved["global_step"] == 4
    assert "measured again" in callback._findings._said
    assert "| measured | at step 4 |" in hub_card(hub)
    require_measured(published(hub, tmp_path / "pulled"), saved["state_dict"], tmp_path)


def test_a_compiled_encoder_is_published(tmp_path: Path, hub: Hub) -> None:
    class Compiled(Classifier):
        def __init__(self):
            super().__init__()
            self.encoder = torch.compile(self.encoder, backend="eager")

    kept = checkpoints(tmp_path)
    train([publishing(), kept], tmp_path, Compiled, max_epochs=1)
    saved = torch.load(kept.best_model_path, weights_only=True)["state_dict"]
    assert any("_orig_mod." in name for name in saved)
    plain = {name.replace("_orig_mod.", ""): tensor for name, tensor in saved.items()}
    found = published(hub, tmp_path / "pulled").latent(data(5, seed=3).tensors[0]).detach()
    assert torch.equal(found, latents(plain))


def test_where_parameters_are_shared_out_a_new_module_gets_the_files_weights(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lightning_invariant.callback import callback as module

    bare, _ = train([checkpoints(tmp_path / "bare")], tmp_path)
    monkeypatch.setattr(module, "is_sharded", lambda trainer, network: True)  # no such strategy runs on a plain CPU
    kept, callback = checkpoints(tmp_path), publishing(at_most_every=0)
    watched, _ = train([callback, kept], tmp_path)
    assert same_weights(bare, watched)
    found = published(hub, tmp_path / "pulled").latent(data(5, seed=3).tensors[0]).detach()
    assert torch.equal(found, latents(torch.load(kept.best_model_path, weights_only=True)["state_dict"]))


def test_the_numbers_are_those_of_the_moment_of_the_checkpoint(tmp_path: Path, hub: Hub) -> None:
    train([publishing(), checkpoints(tmp_path, save_last=True)], tmp_path, Worsens, max_epochs=5)
    assert messages(hub)[-1] == "Export of step 12: best checkpoint by val/loss"
    assert "| measured | at step 12 |" in hub_card(hub)


@pytest.mark.parametrize("when", ["best", "end"])
def test_without_a_checkpoint_the_last_weights_are_published_and_that_is_said(
    tmp_path: Path, hub: Hub, when: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Lightning's records reach the root logger only where that had a handler when Lightning was imported.
    monkeypatch.setattr(logging.getLogger("pytorch_lightning"), "propagate", True)
    with caplog.at_level("INFO"), caplog.at_level("INFO", logger="pytorch_lightning"):
        module, _ = train([publishing(when)], tmp_path, max_epochs=1)
    found = published(hub, tmp_path / "pulled").latent(data(5, seed=3).tensors[0]).detach()
    assert torch.equal(found, latents(module.state_dict()))
    assert ("no best checkpoint was saved" in caplog.text) == (when == "best")
    assert messages(hub) == ["Export of step 6: those the training ended with"]


def test_exports_are_not_more_frequent_than_allowed(tmp_path: Path, hub: Hub) -> None:
    callback = publishing("last")
    train([callback, checkpoints(tmp_path, monitor=None)], tmp_path, max_epochs=5)
    assert 1 <= len(messages(hub)) <= 2
    assert messages(hub)[-1].startswith("Export of step 30")


def test_a_folder_beside_the_hub_holds_the_same(tmp_path: Path, hub: Hub) -> None:
    export = HubExport(NAME, "end", license="mit", hyperparameters=True, folder=tmp_path / "out")
    callback = InvariantCallback("encoder", REPRESENTATION, max_overhead=None, figures=None, export=export)
    module = Classifier()
    module.save_hyperparameters({"width": 4, "data_dir": "/secret"})
    train([callback], tmp_path, module, max_epochs=1)
    repository = hub.repositories[NAME]
    there = repository.commits[repository.branches["main"]]
    here = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert {name: there[name] for name in here} == here
    card = here["README.md"].decode()
    assert "license: mit" in card
    assert "| hyperparameter width | 4 |" in card


def test_hyperparameters_and_paths_stay_at_home_unless_asked_for(tmp_path: Path, hub: Hub) -> None:
    module = Classifier()
    module.save_hyperparameters({"data_dir": "/secret"})
    train([publishing(), checkpoints(tmp_path)], tmp_path, module, max_epochs=1)
    repository = hub.repositories[NAME]
    everything = b"".join(repository.commits[repository.branches["main"]].values())
    assert b"secret" not in everything
    assert str(tmp_path).encode() not in everything


# -- before the first step --


@pytest.mark.parametrize(
    ("token", "settings", "words"),
    [
        ("", {}, "there is no token"),
        ("hf_unknown", {}, "does not know this token"),
        ("hf_reader", {}, "may only read"),
        ("hf_stranger", {}, "may not write there"),
        ("hf_loopback", {"monitor": "val/los"}, "monitors 'val/los'.*'val/loss'"),
    ],
)
def test_what_would_be_refused_is_said_before_the_first_step(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, token: str, settings: dict, words: str
) -> None:
    hub.serve(monkeypatch, tmp_path, token)
    module = Classifier()
    with pytest.raises(HubError, match=f"(?s){words}"):
        train([publishing(**settings), checkpoints(tmp_path)], tmp_path, module)
    assert module.steps == 0


def test_arguments_out_of_range() -> None:
    with pytest.raises(HubError, match="'user/name'"):
        HubExport("digits")
    for settings in ({"when": "always"}, {"at_most_every": 1.0}, {"timeout": -1.0}, {"license": "Apache 2"}):
        with pytest.raises(ValueError, match="Expected"):
            HubExport(NAME, **settings)  # type: ignore[arg-type]


# -- while it runs --


def test_a_hub_that_is_away_is_said_and_the_queue_is_emptied_later(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.warns(UserWarning, match="exports wait in") as caught:
        module, _ = train([publishing(), checkpoints(tmp_path)], tmp_path)
    assert module.steps == 12
    assert any("run `lightning-invariant push`" in str(warning.message) for warning in caught)
    (entry,) = Queue().entries()
    assert "HF_HUB_OFFLINE" in entry.trouble
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert [outcome.state for outcome in empty_queue(Queue(), check_parity)] == ["published"]
    assert Queue().entries() == []
    assert "best checkpoint" in messages(hub)[-1]


def test_a_refused_upload_does_not_end_the_training(tmp_path: Path, hub: Hub) -> None:
    hub.faults.plan(Fault("commit", "403", times=100))
    with pytest.warns(UserWarning, match="may not write there"):
        module, _ = train([publishing(), checkpoints(tmp_path)], tmp_path)
    assert module.steps == 12
    hub.faults.clear()
    assert [outcome.state for outcome in empty_queue(Queue(), check_parity)] == ["published"]


class Dependent(torch.nn.Module):
    """An encoder that cannot be traced."""

    def __init__(self, limit: float = -1e9) -> None:
        super().__init__()
        self.inner, self.limit = Classifier().encoder, limit

    def forward(self, x):
        return self.inner(x) if float(x.sum()) > self.limit else x


def test_class_path_and_arguments_are_published_where_nothing_else_can_be(tmp_path: Path, hub: Hub) -> None:
    callback, module = publishing("end", arguments={"limit": -1e8}), Classifier(Dependent(-1e8))
    train([callback], tmp_path, module, max_epochs=1)
    repository = hub.repositories[NAME]
    folder = tmp_path / "pulled"
    folder.mkdir()
    for name, content in repository.commits[repository.branches["main"]].items():
        (folder / name).write_bytes(content)
    assert not (folder / "graph.json").exists()
    encoder = InvariantEncoder.from_pretrained(folder, network=Dependent)
    x = torch.randn(5, 1, 8, 8)
    with torch.no_grad():
        assert torch.allclose(encoder(x), callback.projection(module.eval().encoder(x)), atol=1e-5)


@pytest.mark.parametrize("checked", [True, False])
def test_an_encoder_that_cannot_be_exported_is_an_error_at_the_sanity_check_and_a_finding_later(
    tmp_path: Path, hub: Hub, checked: bool
) -> None:
    callbacks, module = [publishing(), checkpoints(tmp_path)], Classifier(Dependent())
    if checked:
        with pytest.raises(GraphError, match=r"With HubExport\(..., arguments="):
            train(callbacks, tmp_path, module)
        assert module.steps == 0
    else:
        with pytest.warns(UserWarning, match="in export"):
            train(callbacks, tmp_path, module, num_sanity_val_steps=0)
        assert module.steps == 12
    assert Queue().entries() == []


def test_an_upload_that_takes_long_does_not_hold_up_a_step_and_is_waited_for_only_so_long(
    tmp_path: Path, beside: Hub
) -> None:
    hub = beside
    hub.slow = 20.0
    hub.faults.plan(Fault("preupload", "slow", times=10))
    callback = publishing("end", timeout=0.5)
    with pytest.warns(UserWarning, match="were not done after 0 s|were not done after 1 s"):
        module, _ = train([callback], tmp_path, max_epochs=1)
    assert module.steps == 6
    process = callback._exporter.news.publisher.process  # type: ignore[union-attr]
    assert process is None or process.poll() is None
    if process is not None:
        process.kill()
        process.wait()
    assert len(Queue().entries()) == 1


def test_an_interrupted_training_keeps_its_best(tmp_path: Path, beside: Hub) -> None:
    hub = beside

    class Stops(Classifier):
        def training_step(self, batch, batch_idx):
            if self.steps == 8:
                raise RuntimeError("user's own")
            return super().training_step(batch, batch_idx)

    callback, kept = publishing(), checkpoints(tmp_path)
    with pytest.raises(RuntimeError, match="user's own"):
        train([callback, kept], tmp_path, Stops)
    process = callback._exporter.news.publisher.process  # type: ignore[union-attr]
    if process is not None:
        process.wait()
    assert messages(hub) == ["Export of step 6: best checkpoint by val/loss"] or len(Queue().entries()) == 1


def test_a_training_without_validation_has_no_call_to_export_and_that_is_said(tmp_path: Path, hub: Hub) -> None:
    pl.seed_everything(0, verbose=False)
    run = trainer([publishing("end")], tmp_path, max_epochs=1, limit_val_batches=0)
    with pytest.warns(UserWarning, match="no validation batch was seen; nothing is exported"):
        run.fit(Classifier(), loaders()[0])
    assert messages(hub) == []
