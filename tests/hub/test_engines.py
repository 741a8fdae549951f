"""Engines that share a data set out over processes and machines take an encoder as it is documented."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.hub.small_encoder import export, images

ROOT = Path(__file__).parents[2]
DDP = """
import re, sys, pathlib
import torch
from torch.utils.data import DataLoader, TensorDataset
from lightning_invariant import InvariantEncoder
text = pathlib.Path(sys.argv[1]).read_text()
code = next(part for part in re.findall(r"```python\\n(.*?)```", text, re.S) if "predict_step" in part)
code = code.replace('accelerator="gpu", devices=8, num_nodes=4, strategy="ddp"',
    'accelerator="cpu", devices=2, strategy="ddp_fork", logger=False, enable_progress_bar=False')
x = torch.load(sys.argv[3], weights_only=True)
encoder, loader = InvariantEncoder.from_pretrained(sys.argv[2]), DataLoader(TensorDataset(x), batch_size=3)
exec(code)
"""
DATASETS = """
import sys
import torch
from datasets import Dataset
from lightning_invariant import InvariantEncoder
x = torch.load(sys.argv[2], weights_only=True)
encoder = InvariantEncoder.from_pretrained(sys.argv[1])
data = Dataset.from_dict({"image": x.tolist(), "id": list(range(len(x)))})
found = data.map(encoder.as_batch_function("image", output="features"), batched=True, batch_size=4)
assert torch.allclose(torch.tensor(found["features"][:]), encoder(x), atol=1e-5)
assert found.column_names == ["image", "id", "features"]
"""
RAY = """
import sys
import numpy as np
import ray
import torch
from lightning_invariant import InvariantEncoder
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
x = torch.load(sys.argv[2], weights_only=True)
encoder = InvariantEncoder.from_pretrained(sys.argv[1])
data = ray.data.from_numpy(x.numpy())
found = data.map_batches(encoder.as_batch_function("data", output="features"), batch_size=4).take_all()
got = torch.from_numpy(np.stack([row["features"] for row in found]))
assert torch.allclose(got, encoder(x), atol=1e-5)
"""


def run(code: str, folder: Path, *arguments: object) -> None:
    """In a process of its own, in a folder of its own."""
    known = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": known, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture
def given(tmp_path: Path) -> tuple[Path, Path]:
    export(tmp_path / "folder")
    torch.save(images(14), tmp_path / "x.pt")
    return tmp_path / "folder", tmp_path / "x.pt"


def test_lightning_predicts_on_several_processes(tmp_path: Path, given: tuple[Path, Path]) -> None:
    run(DDP, tmp_path, ROOT / "docs" / "downstream.md", *given)
    parts = [torch.load(path, weights_only=True) for path in tmp_path.glob("features-*.pt")]
    found = {int(row): part["features"][i] for part in parts for i, row in enumerate(part["rows"])}
    from lightning_invariant import InvariantEncoder

    with torch.no_grad():
        wanted = InvariantEncoder.from_pretrained(given[0])(images(14))
    assert sorted(found) == list(range(14))
    assert all(torch.allclose(found[i], wanted[i], atol=1e-6) for i in range(14))


def test_hugging_face_datasets_map_it(tmp_path: Path, given: tuple[Path, Path]) -> None:
    pytest.importorskip("datasets")
    run(DATASETS, tmp_path, *given)


def test_ray_data_maps_it(tmp_path: Path, given: tuple[Path, Path]) -> None:
    pytest.importorskip("ray.data")
    run(RAY, tmp_path, *given)
