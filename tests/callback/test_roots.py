"""Both packages that Lightning comes in, each without the other, and both at once."""

import json
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
stopping = pl.callbacks.EarlyStopping("invariance/knn", mode="max")
kept = pl.callbacks.ModelCheckpoint(folder, monitor="invariance/knn", mode="max")
trainer = pl.Trainer(callbacks=[stopping, kept, callback], logger=pl.loggers.TensorBoardLogger(folder), **quiet)
trainer.fit(Network(), Data())
shown = [loaded for loaded in ("pytorch_lightning", "lightning.pytorch") if loaded in sys.modules]
bases = [importlib.import_module(loaded).Callback for loaded in shown]
assert all(isinstance(callback, base) for base in bases)
assert shown == [root]
assert kept.best_model_path and stopping.best_score >= 0
ours = {"class_path": "lightning_invariant.InvariantCallback",
        "init_args": {"layer": "encoder", "representation": "C4: 2 regular", "pool": "mean"}}
run = cli.LightningCLI(Network, Data, save_config_callback=None, run=False, args={
    "trainer": {**quiet, "logger": False, "callbacks": [ours]}})
assert isinstance(run.trainer.callbacks[0], InvariantCallback)
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


IMPORTED = """
import sys
{before}
from lightning_invariant import InvariantCallback
found = {{name for name in ("pytorch_lightning", "lightning", "lightning.pytorch") if name in sys.modules}}
assert found == {expected}, found
bases = [sys.modules[name].Callback for name in ("pytorch_lightning", "lightning.pytorch") if name in found]
assert all(issubclass(InvariantCallback, base) for base in bases) and bases
assert [base.__module__.split(".")[0] for base in InvariantCallback.__mro__].count("lightning") == {count}
"""


@pytest.mark.parametrize(
    ("before", "expected", "count"),
    [
        ("", {"pytorch_lightning"}, 0),
        ("import lightning.pytorch, pytorch_lightning", {"lightning", "lightning.pytorch", "pytorch_lightning"}, 1),
    ],
    ids=["none yet", "both"],
)
def test_importing_imports_no_second_lightning(before, expected, count):
    if any(find_spec(package) is None for package in PACKAGES.values()):
        pytest.skip("only one of the two packages is installed")
    script = IMPORTED.format(before=before, expected=expected, count=count)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_type_checkers_see_a_callback_of_lightning(tmp_path):
    pyright = Path(sys.executable).with_name("pyright")
    if not pyright.exists():
        pytest.skip("pyright is not installed")
    lines = [
        "from pytorch_lightning import Callback, Trainer",
        "from lightning_invariant import InvariantCallback",
        'seen = InvariantCallback("encoder", "C4: 4 regular", max_overhead=None)',
        "watching: Callback = seen",
        "Trainer(callbacks=[seen])",
        "key: str = seen.state_key",
        "seen.on_fit_starts",
        'InvariantCallback("encoder", 4)',
    ]
    (tmp_path / "typed.py").write_text("\n".join(lines))
    command = [pyright, "--pythonpath", sys.executable, "--outputjson", str(tmp_path / "typed.py")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)["generalDiagnostics"]
    assert {problem["range"]["start"]["line"] for problem in found} == {6, 7}, found


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
