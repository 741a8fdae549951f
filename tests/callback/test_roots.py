"""Both packages that Lightning comes in, each without the other, and both at once."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {"pytorch_lightning": "pytorch_lightning", "lightning.pytorch": "lightning"}

SCRIPT = '''
import importlib, sys
root, blocked, folder = sys.argv[1:]

class Blocks:
    """Imports of one package fail as if it were not installed."""
    def find_spec(self, name, path=None, target=None):
        if blocked and name.split(".")[0] == blocked:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocks())
pl = importlib.import_module(root)
cli = importlib.import_module(root + ".cli")
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from lightning_invariant import InvariantCallback

rows = TensorDataset(torch.randn(32, 1, 6, 6), torch.arange(32) % 4)

class Network(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.encoder, self.head = torch.nn.Conv2d(1, 8, 3), torch.nn.Linear(8, 4)
    def forward(self, x):
        return self.head(self.encoder(x).mean((2, 3)))
    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch[0]), batch[1])
    def validation_step(self, batch, batch_idx):
        self(batch[0])
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)

class Data(pl.LightningDataModule):
    def train_dataloader(self):
        return DataLoader(rows, 16)
    def val_dataloader(self):
        return DataLoader(rows, 16)

quiet = {"max_epochs": 1, "accelerator": "cpu", "default_root_dir": folder, "enable_progress_bar": False,
         "enable_model_summary": False}
callback = InvariantCallback("encoder", "C4: 2 regular", pool="mean")
assert isinstance(callback, pl.Callback)
stopping = pl.callbacks.EarlyStopping("invariant/knn", mode="max")
kept = pl.callbacks.ModelCheckpoint(folder, monitor="invariant/knn", mode="max")
trainer = pl.Trainer(callbacks=[stopping, kept, callback], logger=pl.loggers.TensorBoardLogger(folder), **quiet)
trainer.fit(Network(), Data())
assert kept.best_model_path and stopping.best_score >= 0
ours = {"class_path": "lightning_invariant.InvariantCallback",
        "init_args": {"layer": "encoder", "representation": "C4: 2 regular", "pool": "mean"}}
run = cli.LightningCLI(Network, Data, save_config_callback=None, args={"subcommand": "fit", "fit": {
    "trainer": {**quiet, "callbacks": [ours]}}})
assert "invariant/knn" in run.trainer.callback_metrics
assert not blocked or blocked not in sys.modules
print("trained with", root)
'''


@pytest.mark.parametrize(
    ("root", "alone"),
    [("pytorch_lightning", True), ("lightning.pytorch", True), ("lightning.pytorch", False)],
    ids=["pytorch_lightning alone", "lightning alone", "lightning beside pytorch_lightning"],
)
def test_trainer_and_command_line(tmp_path, root, alone):
    if find_spec(PACKAGES[root]) is None:
        pytest.skip(f"{PACKAGES[root]} is not installed")
    if not alone and any(find_spec(package) is None for package in PACKAGES.values()):
        pytest.skip("only one of the two packages is installed")
    other = next(package for name, package in PACKAGES.items() if name != root)
    command = [sys.executable, "-c", SCRIPT, root, other if alone else "", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"trained with {root}" in done.stdout
    assert list(tmp_path.rglob("projector_config.pbtxt")) or list(tmp_path.rglob("tensors.*"))


def test_without_either_the_remedy_is_said(tmp_path):
    code = (
        "import sys\n"
        "sys.modules['pytorch_lightning'] = sys.modules['lightning'] = None\n"
        "from lightning_invariant.callback import InvariantCallback"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "Expected pytorch_lightning or lightning to be installed; run: pip install pytorch-lightning" in done.stderr
