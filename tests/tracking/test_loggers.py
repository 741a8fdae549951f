import random
import sys
from functools import partial

import numpy as np
import pytest
import pytorch_lightning.loggers as pl_loggers
import torch
from PIL import Image
from pytorch_lightning.loggers.logger import DummyLogger, Logger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_invariant.tracking import Embedding, Report, announce, equivariance_bars, publish, write_projector
from lightning_invariant.tracking.figures import PALETTE
from lightning_invariant.tracking.services import MESSAGES, Sample, service_of


def report(step=7, **change):
    z = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    content = {
        "embeddings": {
            "raw": Embedding(z, list(range(20)), torch.zeros(20, 1, 4, 4)),
            "invariant": Embedding(z[:, :2]),
        },
        "figures": {"equivariance": partial(equivariance_bars, {"r0": 0.0, "r90": 0.5}, 0.05)},
        "messages": ("declared C8, holds for C4", "centre the latents"),
    }
    return Report(step, {"invariant/knn": 0.5}, **{**content, **change})


def shown_in_tensorboard(folder, serve):
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0, "images": 0}).Reload()
    text = events.Tensors(f"{MESSAGES}/text_summary")[0]
    image = events.Images("equivariance")[0]
    return events, text, image, serve(folder)


def test_tensorboard_shows_points_images_and_text(tmp_path, serve):
    logger = pl_loggers.TensorBoardLogger(tmp_path, name="run", version=0)
    assert publish(report(), [logger], tmp_path / "files") == ()
    logger.experiment.close()
    events, text, image, server = shown_in_tensorboard(logger.log_dir, serve)
    assert text.step == image.step == 7
    assert text.tensor_proto.string_val[0].decode() == "declared C8, holds for C4\n\ncentre the latents"
    assert (image.width, image.height) == (900, 360)
    assert events.Tags()["scalars"] == []  # scalars go through the LightningModule
    assert set(server.embeddings()) == {"raw, newest: step 7", "invariant, newest: step 7"}
    assert server.tensor("invariant, newest: step 7").shape == (20, 2)
    assert not (tmp_path / "files").exists()


def test_the_folder_of_the_points_is_the_one_of_the_events(tmp_path, serve):
    logger = pl_loggers.TensorBoardLogger(tmp_path, name="", version="v", sub_dir="sub")
    assert publish(report(), [logger], None) == ()
    logger.experiment.close()
    server = serve(tmp_path)
    assert server.runs() == ["v/sub"]
    assert set(server.embeddings("v/sub")) == {"raw, newest: step 7", "invariant, newest: step 7"}


def test_the_other_import_root_is_known(tmp_path, monkeypatch):
    """`lightning.pytorch.loggers` is a module of its own with classes of its own."""
    monkeypatch.setitem(sys.modules, "lightning.pytorch.loggers", pl_loggers)
    monkeypatch.delitem(sys.modules, "pytorch_lightning.loggers")
    logger = pl_loggers.TensorBoardLogger(tmp_path, name="run", version=0)
    assert publish(report(figures={}), [logger], tmp_path / "files") == ()
    assert not (tmp_path / "files").exists()
    monkeypatch.delitem(sys.modules, "lightning.pytorch.loggers")
    assert publish(report(figures={}), [logger], tmp_path / "files") == ()
    assert (tmp_path / "files").exists()  # neither root imported: the logger is a stranger


@pytest.mark.parametrize("kind", ["none", "csv", "stranger"])
def test_without_a_logger_that_can_everything_is_a_file(tmp_path, kind, serve):
    loggers = {"none": [], "csv": [pl_loggers.CSVLogger(tmp_path)], "stranger": [object()]}[kind]
    assert publish(report(), loggers, tmp_path) == ()
    assert publish(report(step=8), loggers, tmp_path) == ()
    folder = tmp_path / "invariant"
    assert serve(folder).tensor("raw, newest: step 8").shape == (20, 4)
    assert np.asarray(Image.open(folder / "figures" / "equivariance" / "00000007.png")).shape == (360, 900, 3)
    lines = (folder / "messages.txt").read_text().splitlines()
    assert lines[1:3] == ["step 7: centre the latents", "step 8: declared C8, holds for C4"]


def test_without_logger_and_folder_nothing_happens(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert publish(report(), [], None) == ()
    assert list(tmp_path.iterdir()) == []


def test_a_dummy_logger_is_not_asked(tmp_path):
    class Untouchable(DummyLogger):
        @property
        def experiment(self):
            raise AssertionError("asked")

    assert hasattr(DummyLogger().experiment, "add_embedding")  # why attributes tell nothing
    assert publish(report(), [DummyLogger(), Untouchable()], tmp_path / "files") == ()
    assert not (tmp_path / "files").exists()


class Broken(pl_loggers.TensorBoardLogger):
    """A logger whose disk is full for images."""

    @property
    def experiment(self):
        writer = super().experiment
        writer.add_image = self._full
        return writer

    @staticmethod
    def _full(*_, **__):
        raise OSError("disk full")


class Gone(pl_loggers.TensorBoardLogger):
    @property
    def experiment(self):
        raise RuntimeError("no connection")


def test_a_logger_that_raises_loses_nothing_and_stops_nobody(tmp_path):
    failures = publish(report(), [Broken(tmp_path, name="broken", version=0)], tmp_path)
    assert failures == ("TensorBoardLogger, figure 'equivariance' of step 7: not shown, OSError: disk full",)
    assert [path.name for path in (tmp_path / "invariant").iterdir()] == ["figures"]  # only what was refused
    assert (tmp_path / "broken" / "version_0" / "projector_config.pbtxt").exists()


def test_a_logger_without_connection_is_told_once(tmp_path, serve):
    good = pl_loggers.TensorBoardLogger(tmp_path, name="good", version=0)
    failures = publish(report(), [Gone(tmp_path, name="gone"), good], tmp_path / "files")
    assert failures == ("Gone: not shown, RuntimeError: no connection",)
    assert not (tmp_path / "files").exists()
    failures = publish(report(), [Gone(tmp_path, name="gone")], tmp_path / "files")
    assert len(failures) == 1
    assert serve(tmp_path / "files" / "invariant").tensor("raw, newest: step 7").shape == (20, 4)


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "invariant").write_text("in the way")
    failures = publish(report(), [], tmp_path)
    assert len(failures) == 4
    assert all(failure.startswith("files, ") for failure in failures)


def test_a_figure_that_cannot_be_drawn_leaves_the_rest(tmp_path):
    def draw():
        raise ValueError("no such element")

    failures = publish(report(figures={"bad": draw}), [], tmp_path)
    assert failures == ("figure 'bad' of step 7: not shown, ValueError: no such element",)
    assert (tmp_path / "invariant" / "messages.txt").exists()


def test_an_interrupt_passes(tmp_path):
    def draw():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish(report(figures={"bad": draw}), [], tmp_path)


def test_rows_left_out_are_told_once(tmp_path):
    z = torch.ones(4, 2)
    z[1] = float("nan")
    loggers = [pl_loggers.TensorBoardLogger(tmp_path, name=name, version=0) for name in "ab"]
    failures = publish(Report(3, embeddings={"raw": Embedding(z)}), loggers, None)
    assert failures == ("points 'raw' of step 3: 1 rows with NaN or infinite values were left out.",)


class RecordingWandb(pl_loggers.WandbLogger):
    """Stands for a W&B run where the package is not installed; that W&B takes the calls is shown by the test below."""

    def __init__(self):
        self.calls = []

    def log_table(self, key, columns=None, data=None, dataframe=None, step=None):
        self.calls.append((key, columns, len(data), step))

    def log_image(self, key, images, step=None, **kwargs):
        self.calls.append((key, [image.shape for image in images], step))


def test_weights_and_biases_gets_tables_and_images(tmp_path):
    logger = RecordingWandb()
    assert publish(report(), [logger], tmp_path / "files") == ()
    assert logger.calls == [
        ("raw", ["label", "x0", "x1", "x2", "x3"], 20, 7),
        ("invariant", ["x0", "x1"], 20, 7),
        ("equivariance", [(360, 900, 3)], 7),
        (MESSAGES, ["message"], 2, 7),
    ]
    assert not (tmp_path / "files").exists()


@pytest.mark.parametrize(("columns", "rows"), [(8, 2000), (128, 500), (4096, 100)])
def test_tables_of_weights_and_biases_are_bounded(columns, rows):
    logger = RecordingWandb()
    assert publish(Report(0, embeddings={"raw": Embedding(torch.zeros(3000, columns))}), [logger], None) == ()
    assert logger.calls[0][2] == rows


def test_a_sample_has_finite_rows_their_labels_and_the_colours_of_the_figures():
    z = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    z[2, 1] = float("nan")
    sample = Sample.of(Embedding(z, {"digit": torch.tensor([3, 1, 1, 3, 1, 1]), "name": list("abcdef")}))
    assert sample.dropped == 1
    names, rows = sample.table()
    assert names == ["digit", "name", "x0", "x1", "x2", "x3", "x4"]
    assert [row[:2] for row in rows] == [["3", "a"], ["1", "b"], ["3", "d"], ["1", "e"], ["1", "f"]]
    cloud = sample.cloud()
    assert cloud.shape == (5, 6)
    kept = z[z.isfinite().all(dim=1)]
    left, _, _ = torch.linalg.svd(kept - kept.mean(dim=0), full_matrices=False)
    assert np.allclose(np.abs(cloud[:, :3] / np.linalg.norm(cloud[:, :3], axis=0)), left[:, :3].abs(), atol=1e-5)
    first, second = ([int(name[i : i + 2], 16) for i in (1, 3, 5)] for name in PALETTE[:2])
    assert cloud[:, 3:].tolist() == [second, first, second, first, first]


@pytest.mark.parametrize("labels", [None, range(40), np.linspace(0, 1, 40)], ids=["none", "many", "numbers"])
def test_clouds_of_any_labels_and_few_columns(labels):
    cloud = Sample.of(Embedding(torch.arange(80.0).view(40, 2), labels)).cloud()
    assert cloud.shape == (40, 6)
    assert np.isfinite(cloud).all()
    assert (len(np.unique(cloud[:, 3:], axis=0)) > 10) == (labels is not None)
    assert cloud[:, 3:].min() >= 0
    assert cloud[:, 3:].max() > 128
    assert np.array_equal(cloud[:, 3:], cloud[:, 3:].round())


def test_an_embedding_without_finite_rows_is_an_empty_table():
    sample = Sample.of(Embedding(torch.full((3, 2), float("nan")), [1, 2, 3]))
    assert (sample.table(), sample.dropped) == ((["label", "x0", "x1"], []), 3)


def test_a_service_that_refuses_settings_is_said_and_a_file_has_them(tmp_path):
    class Refuses(RecordingWandb):
        def log_hyperparams(self, params):
            raise ConnectionError("no connection")

    (failure,) = announce({"invariance/features": 8}, {}, [Refuses()], tmp_path, hyperparameters=None)
    assert failure == "Refuses, settings: not shown, ConnectionError: no connection"
    assert (tmp_path / "invariant" / "settings.json").is_file()


def test_only_loggers_of_services_have_one():
    assert service_of(RecordingWandb()) is not None
    assert service_of(DummyLogger()) is None
    assert service_of(pl_loggers.CSVLogger("unused")) is None


def test_weights_and_biases_offline_takes_the_calls(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_SILENT", "true")
    logger = pl_loggers.WandbLogger(save_dir=tmp_path, offline=True, project="test")
    assert publish(report(), [logger], tmp_path / "files") == ()
    summary = dict(logger.experiment.summary)
    wandb.finish()
    assert {"raw", "invariant", "equivariance", MESSAGES} <= set(summary)
    assert not (tmp_path / "files").exists()


def test_global_random_states_are_untouched(tmp_path):
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    publish(report(), [pl_loggers.TensorBoardLogger(tmp_path), pl_loggers.CSVLogger(tmp_path)], tmp_path)
    publish(report(), [], tmp_path)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.random.get_state()[1].tolist() == states[1]
    assert random.getstate() == states[2]


def test_any_lightning_logger_of_the_user_is_a_stranger_not_an_error(tmp_path):
    class Mine(Logger):
        name, version = "mine", 0

        def log_metrics(self, metrics, step=None): ...

        def log_hyperparams(self, params, *args, **kwargs): ...

    assert publish(report(), [Mine()], tmp_path) == ()
    assert (tmp_path / "invariant" / "messages.txt").exists()


def test_points_of_publish_and_of_write_projector_are_the_same(tmp_path, serve):
    publish(report(), [], tmp_path)
    write_projector(tmp_path / "alone", "raw", 7, report().embeddings["raw"].points)
    ours, alone = (
        serve(tmp_path / "invariant").tensor("raw, newest: step 7"),
        serve(tmp_path / "alone").tensor("raw, newest: step 7"),
    )
    assert np.array_equal(ours, alone)
