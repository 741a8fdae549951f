"""Trainings with the loggers of other services, into local files: what is there afterwards."""

import pytest
import pytorch_lightning as pl
from pytorch_lightning.loggers import MLFlowLogger, WandbLogger
from torch.utils.data import DataLoader

from lightning_invariant import InvariantCallback
from tests.callback.loops import REPRESENTATION, Classifier, data


def train(logger, folder):
    seen = InvariantCallback("encoder", REPRESENTATION, max_overhead=None)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    run = pl.Trainer(max_epochs=2, callbacks=[seen], logger=logger, default_root_dir=folder, **quiet)
    run.fit(Classifier(), DataLoader(data(32, 0), 16), DataLoader(data(32, 1), 16))
    assert not [key for key in seen._findings._said if "logger" in key.lower()], seen._findings._said
    return {name: float(value) for name, value in run.callback_metrics.items()}


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


def test_mlflow_has_numbers_and_settings_and_the_rest_stands_in_files(tmp_path, monkeypatch):
    pytest.importorskip("mlflow", reason="mlflow is not installed")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    logger = MLFlowLogger(tracking_uri=(tmp_path / "runs").as_uri())
    logged = train(logger, tmp_path / "files")
    run = logger.experiment.get_run(logger.run_id)
    assert {name: run.data.metrics[name] for name in logged} == pytest.approx(logged)
    assert run.data.params["invariance/representation"] == REPRESENTATION
    assert len(list(tmp_path.rglob("figures/*latents/*.png"))) == 2
