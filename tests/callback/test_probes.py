"""Every probe is reachable from the callback and from YAML, for every kind of label."""

import math
import sys
import warnings

import pytest
import pytorch_lightning as pl
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from lightning_invariant import InvariantCallback
from lightning_invariant.callback.names import MAE, METRICS, score_names
from lightning_invariant.errors import InvariantError
from lightning_invariant.probes import PROBES
from tests.callback.loops import REPRESENTATION, Classifier, data, trainer


class Regressor(Classifier):
    """Any targets with one or four columns."""

    def training_step(self, batch, batch_idx):
        x, y = batch
        return F.mse_loss(self(x)[:, : y[0].numel()], y.float().reshape(len(y), -1))

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self(batch[0])


def labelled(change, rows, seed):
    x, y = data(rows, seed).tensors
    return DataLoader(TensorDataset(x, change(y)), 32)


def logged(folder, change, probes, rows=160):
    watched = InvariantCallback("encoder", REPRESENTATION, probes=probes, max_overhead=None, embeddings=False)
    pl.seed_everything(0, verbose=False)
    run = trainer([watched], folder, max_epochs=2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run.fit(Regressor(), labelled(change, rows, 0), labelled(change, rows, 1))
    said = [text for one in caught if "lightning-invariant" in (text := str(one.message))]
    return {name: float(value) for name, value in run.callback_metrics.items()}, said


def values(y):
    return y.float() + 0.1 * torch.sin(torch.arange(len(y)))


def several(y):
    return torch.stack([y == 0, y > 1, y % 2 == 1], dim=1).float()


@pytest.mark.parametrize("change", [lambda y: y, values, several], ids=["classes", "values", "several labels"])
def test_every_probe_scores_every_kind_of_label(tmp_path, change):
    found, _ = logged(tmp_path, change, PROBES)
    assert set(score_names(PROBES)) <= set(found)
    assert all(math.isfinite(value) for value in found.values())
    for probe in PROBES:
        if change is values and probe == "logistic":
            assert found["invariant/logistic"] == 0
            continue
        assert found[f"invariant/{probe}"] > 0.6
        assert found[f"gap/{probe}_lower"] < found[f"gap/{probe}"] < found[f"gap/{probe}_upper"]
        assert found[f"gap/{probe}_lower"] > 0
        assert found[f"upright/invariant/{probe}"] == pytest.approx(found[f"invariant/{probe}"], abs=0.05)
    assert ("invariant/knn_mae" in found) == (change is values)


def test_samples_without_a_label_take_no_part(tmp_path):
    def some(y):
        return torch.where(torch.arange(len(y)) % 3 == 0, -1, y)

    found, said = logged(tmp_path, some, ("knn",))
    assert found["upright/knn"] > 0.9
    assert said == []


def test_logistic_regression_of_values_is_explained(tmp_path):
    _, said = logged(tmp_path, values, ("logistic",))
    assert sum("use 'linear'" in text for text in said) == 1


def test_unknown_probes_are_refused():
    with pytest.raises(ValueError, match="Expected a list of probes among knn"):
        InvariantCallback("encoder", REPRESENTATION, probes=("svm",))
    with pytest.raises(ValueError, match="Expected a list of probes"):
        InvariantCallback("encoder", REPRESENTATION, probes="knn")


def test_pictures_that_cannot_be_drawn_are_refused_at_once(monkeypatch):
    with pytest.raises(ValueError, match="'pca' or 'umap'"):
        InvariantCallback("encoder", REPRESENTATION, scatter="tsne")
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(InvariantError, match="not installed"):
        InvariantCallback("encoder", REPRESENTATION, scatter="umap")


def test_probes_can_be_named_in_yaml():
    jsonargparse = pytest.importorskip("jsonargparse")
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(InvariantCallback, "callback")

    def given(probes):
        init = {"layer": "encoder", "representation": REPRESENTATION, "probes": probes}
        return {"callback": {"class_path": "lightning_invariant.InvariantCallback", "init_args": init}}

    chosen = parser.parse_object(given(["logistic", "cosine_knn"]))
    assert parser.instantiate_classes(chosen).callback._reporter.probes == ("logistic", "cosine_knn")
    with pytest.raises(jsonargparse.ArgumentError, match="svm"):
        parser.parse_object(given(["svm"]))


def test_no_name_is_the_folder_of_another():
    """MLflow keeps a metric in a file of its name: 'gap/knn' and 'gap/knn/lower' cannot both be."""
    names = {*score_names(PROBES), *METRICS} | {name + MAE for name in score_names(PROBES)}
    assert not [(name, other) for name in names for other in names if other.startswith(f"{name}/")]
