"""Trainings with the loggers of other services, into local files: what is there afterwards."""

import importlib
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from pathlib import Path
from threading import Thread
from zipfile import ZipFile

import pytest
import pytorch_lightning as pl
from pytorch_lightning.loggers import CometLogger, MLFlowLogger, TensorBoardLogger, WandbLogger
from pytorch_lightning.loggers.logger import Logger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader

from lightning_invariant import InvariantCallback
from tests.callback.loops import REPRESENTATION, Classifier, data


def train(logger, folder, others=()):
    seen = InvariantCallback("encoder", REPRESENTATION, max_overhead=None)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    run = pl.Trainer(max_epochs=2, callbacks=[seen, *others], logger=logger, default_root_dir=folder, **quiet)
    run.fit(Classifier(), DataLoader(data(32, 0), 16), DataLoader(data(32, 1), 16))
    assert not [key for key in seen._findings._said if "logger" in key.lower()], seen._findings._said
    return {name: float(value) for name, value in run.callback_metrics.items()}


class Stops(pl.Callback):
    def on_validation_end(self, trainer, pl_module):
        if not trainer.sanity_checking and trainer.current_epoch == 1:
            raise RuntimeError("stopped")


@pytest.mark.parametrize("others", [[], [Stops()]], ids=["whole", "stopped"])
def test_tensorboard_has_the_last_numbers_beside_the_settings(tmp_path, others):
    logger = TensorBoardLogger(tmp_path)
    if others:
        with pytest.raises(RuntimeError, match="stopped"):
            train(logger, tmp_path, others)
    else:
        logged = train(logger, tmp_path)
    events = EventAccumulator(f"{logger.log_dir}/invariant").Reload()
    found = {name: [(event.step, event.value) for event in events.Scalars(name)] for name in events.Tags()["scalars"]}
    assert {"invariance/knn", "invariance/error_raw", "invariance/equivariance_error"} <= set(found)
    assert not [name for name in found if name.startswith("invariance_details")]
    assert all([step for step, _ in points] == [4] for points in found.values())
    if not others:
        assert {name: points[0][1] for name, points in found.items()} == pytest.approx(
            {name: logged[name] for name in found}
        )


def test_weights_and_biases_has_numbers_tables_and_pictures(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_SILENT", "true")
    logger = WandbLogger(save_dir=tmp_path, offline=True, project="test")
    logged = train(logger, tmp_path / "files")
    summary, settings = dict(logger.experiment.summary), dict(logger.experiment.config)
    tables = [path.name for path in tmp_path.rglob("media/table/*.json")]
    images = [path.name for path in tmp_path.rglob("media/images/**/*.png")]
    wandb.finish()
    assert {name: summary[name] for name in logged} == pytest.approx(logged)
    assert {"raw", "invariant", "invariance_figures/latents", "invariance_figures/equivariance"} <= set(summary)
    assert settings["invariance/representation"] == REPRESENTATION
    for names, kinds in ((tables, ("raw", "invariant")), (images, ("latents", "equivariance"))):
        assert {kind: sum(name.startswith(f"{kind}_") for name in names) for kind in kinds} == dict.fromkeys(kinds, 2)
    assert any(name.startswith("invariance_findings") for name in tables)
    assert not (tmp_path / "files" / "invariant").exists()


def test_mlflow_has_numbers_settings_pictures_tables_and_findings(tmp_path, monkeypatch):
    pytest.importorskip("mlflow", reason="mlflow is not installed")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    logger = MLFlowLogger(tracking_uri=(tmp_path / "runs").as_uri())
    logged = train(logger, tmp_path / "files")
    client, run = logger.experiment, logger.experiment.get_run(logger.run_id)
    assert {name: run.data.metrics[name] for name in logged} == pytest.approx(logged)
    assert run.data.params["invariance/representation"] == REPRESENTATION
    images = [Path(file.path).name for file in client.list_artifacts(logger.run_id, "images")]
    for kind in ("latents", "equivariance"):
        steps = {name.split("step")[1].strip("%+-_")[0] for name in images if kind in name and name.endswith(".png")}
        assert steps == {"2", "4"}, images
    table = client.load_table(logger.experiment_id, "invariance_points/raw.json", run_ids=[logger.run_id])
    assert list(table.columns[:3]) == ["step", "label", "x0"]
    assert set(table["step"]) == {4}  # the newest alone
    assert len(client.list_artifacts(logger.run_id, "invariance_findings")) >= 1
    assert not (tmp_path / "files" / "invariant").exists()


def test_comet_has_numbers_settings_pictures_tables_clouds_and_findings(tmp_path):
    comet_ml = pytest.importorskip("comet_ml", reason="comet_ml is not installed")
    logger = CometLogger(online=False, offline_directory=str(tmp_path))
    # Lightning switches an experiment off where it is asked for one without a connection.
    settings = {"display_summary_level": 0, "log_code": False, "log_env_details": False}
    logger._experiment = comet_ml.OfflineExperiment(offline_directory=str(tmp_path), **settings)
    logged = train(logger, tmp_path / "files")
    logger.experiment.end()
    (archive,) = tmp_path.glob("*.zip")
    with ZipFile(archive) as content:
        messages = [json.loads(line) for line in content.read("messages.json").splitlines()]
        metrics = {
            message["payload"]["metric"]["metricName"] for message in messages if message["type"] == "metric_msg"
        }
        settings = {
            message["payload"]["param"]["paramName"] for message in messages if message["type"] == "parameter_msg"
        }
        uploads = [message["payload"] for message in messages if message["type"] == "file_upload"]
        files = {
            one["additional_params"].get("fileName"): content.read(one["file_path"]).decode()
            for one in uploads
            if one["upload_type"] != "visualization"
        }
        clouds = [message["payload"] for message in messages if message["type"] == "3d-image"]
        points = [json.loads(line) for line in content.read(clouds[0]["items"][0]["file_path"]).splitlines()]
    assert set(logged) <= metrics
    assert "invariance/representation" in settings
    pictures = {
        (one["additional_params"]["figName"], one["additional_params"]["step"])
        for one in uploads
        if "figName" in one["additional_params"]
    }
    assert pictures == set(product(("invariance_figures/latents", "invariance_figures/equivariance"), (2, 4)))
    assert {(one["name"], one["step"]) for one in clouds} == set(product(("raw", "invariant"), (2, 4)))
    assert (len(points), max(max(point[3:]) for point in points)) == (32, 1.0)
    assert files["raw-00000004.csv"].splitlines()[0].startswith("label,x0,x1")
    assert "samples were measured" in files["auto-generated-in-the-backend"]
    assert not (tmp_path / "files" / "invariant").exists()


def test_a_comet_experiment_that_is_switched_off_leaves_files(tmp_path):
    pytest.importorskip("comet_ml", reason="comet_ml is not installed")
    train(CometLogger(online=False, offline_directory=str(tmp_path)), tmp_path)
    assert len(list(tmp_path.rglob("figures/*latents/*.png"))) == 2


class LightningService(BaseHTTPRequestHandler):
    """As much of Lightning's platform as its client asks for, on the loopback; the real one needs an account."""

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path, code, told = self.path.split("?")[0], 200, {}
        owner = {"ownerId": "me", "ownerType": "user", "name": "team"}
        if path.startswith("/stored/"):
            self.server.files[path.removeprefix("/stored/")] = body
        elif path.endswith("/memberships"):
            told = {"memberships": [{"projectId": "p", **owner}]}
        elif path.endswith("/search"):
            told = {"users": [{"id": "me", "username": "me"}]}
        elif path.endswith("/auth/user"):
            told = {"id": "me", "username": "me"}
        elif path == "/v1/projects/p":
            told = {"id": "p", **owner}
        elif path.endswith("/metrics-streams"):
            code = 404  # no experiment of this name yet
        elif path.endswith("/media"):
            media = json.loads(body)
            self.server.media.append((media["name"], media["mediaType"], media["step"]))
            told = {"media": {"id": "m", "storagePath": f"{media['name']}/{media['step']}", "clusterId": "c"}}
        elif path.endswith("/blobs"):
            name = json.loads(body)["blobs"][0]["path"]
            told = {"results": [{"urls": [{"url": f"{self.server.address}/stored/{name}"}]}]}
        elif "metrics-stream" in path:
            told = {"id": "s", "name": "test", "cloudspaceId": "", "clusterId": "c"}
            self.server.tags |= {tag["name"]: tag["value"] for tag in json.loads(body or b"{}").get("tags") or []}
        self.send_response(code)
        content = json.dumps(told).encode()
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = answer  # noqa: N815

    def log_message(self, *args): ...


@pytest.fixture
def service(tmp_path, monkeypatch):
    with ThreadingHTTPServer(("127.0.0.1", 0), LightningService) as server:
        server.address = f"http://127.0.0.1:{server.server_port}"
        server.files, server.media, server.tags = {}, [], {}
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("LIGHTNING_CLOUD_URL", server.address)  # read at import
        monkeypatch.setenv("LIGHTNING_CREDENTIAL_PATH", str(tmp_path / "none.json"))
        monkeypatch.setenv("LIGHTNING_USER_ID", "me")
        monkeypatch.setenv("LIGHTNING_API_KEY", "none")
        yield server
        server.shutdown()


def test_litlogger_has_settings_pictures_files_and_findings(tmp_path, service):
    pytest.importorskip("litlogger", reason="litlogger is not installed")
    logger = pl.loggers.LitLogger(tmp_path, name="test", save_logs=False)
    train(logger, tmp_path / "files")
    figures = product(("invariance_figures/latents", "invariance_figures/equivariance"), ("MEDIA_TYPE_IMAGE",), (2, 4))
    assert {*figures, ("invariance_findings", "MEDIA_TYPE_TEXT", 2)} <= set(service.media)
    assert service.tags["invariance/representation"] == REPRESENTATION
    files = {tuple(name.split("/")[-2:]): content for name, content in service.files.items()}
    assert {*product(("raw", "invariant"), "01"), *product(("latents", "equivariance"), "24")} <= set(files)
    assert files["latents", "4"].startswith(b"\x89PNG")
    lines = files["raw", "1"].decode().splitlines()
    assert (lines[0][:17], lines[1][:2], len(lines)) == ("step,label,x0,x1,", "4,", 33)
    assert not (tmp_path / "files" / "invariant").exists()


class TrackioLogger(Logger):
    """As others write it; trackio has none of its own."""

    name, version, run = "test", 0, None

    @property
    def experiment(self):
        import trackio

        self.run = self.run or trackio.init(project=self.name, auto_log_gpu=False, auto_log_cpu=False)
        return self.run

    def log_hyperparams(self, params, *args, **kwargs):
        """A run takes them when it starts, and Lightning has started it."""

    def log_metrics(self, metrics, step=None):
        self.experiment.log(dict(metrics), step=step)


def test_trackio_has_numbers_settings_pictures_tables_clouds_and_findings(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # read at import
    trackio = pytest.importorskip("trackio", reason="trackio is not installed")
    logger = TrackioLogger()
    logged = train(logger, tmp_path / "files")
    trackio.finish()
    run = trackio.Api().runs("test")[0]
    rows = importlib.import_module("trackio.sqlite_storage").SQLiteStorage.get_logs("test", run.name)
    scalars = {name: value for row in rows for name, value in row.items()}  # the last of each
    assert {name: scalars[name] for name in logged} == pytest.approx(logged)
    assert run.config["invariance/representation"] == REPRESENTATION
    kinds = {(n, v["_type"], row["step"]) for row in rows for n, v in row.items() if isinstance(v, dict)}
    figures = product(("invariance_figures/latents", "invariance_figures/equivariance"), ("trackio.image",), (2, 4))
    assert kinds >= {*figures, *product(("raw/cloud", "invariant/cloud"), ("trackio.object3d",), (2, 4))}
    assert kinds >= set(product(("raw/table", "invariant/table"), ("trackio.table",), (2, 4)))
    assert ("invariance_findings", "trackio.markdown", 2) in kinds
    assert list(scalars["raw/table"]["_value"][0]) == ["label", "x0", "x1", "x2"]
    assert not (tmp_path / "files" / "invariant").exists()
