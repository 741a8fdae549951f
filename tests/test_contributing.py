"""The worked examples of CONTRIBUTING.md run as they stand, outside of the package."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
LAST = """
import pytorch_lightning as pl

from lightning_invariant import InvariantCallback
from lightning_invariant.zoo.digits import Digits, DigitsClassifier

callback = InvariantCallback(
    "encoder", "C4: 16 regular", MeanAndMax("C4: 16 regular"), probes=["knn", "nearest_mean"], max_overhead=None,
    export="watched",
)
settings = dict(accelerator="cpu", enable_progress_bar=False, enable_checkpointing=False)
trainer = pl.Trainer(max_epochs=1, logger=NotebookLogger("logs"), callbacks=callback, **settings)
trainer.fit(DigitsClassifier(), Digits())
assert trainer.callback_metrics["invariance/nearest_mean"] > 0.3
assert any(tag == "invariant" for tag, *_ in Notebook.shown)
encoder = InvariantEncoder.from_pretrained("watched")
x = trainer.datamodule.validation.tensors[0][:5]
assert torch.allclose(encoder(x), encoder(x.rot90(1, (2, 3))), atol=1e-4)
print("done")
"""


def test_what_is_written_outside_registers_runs_and_exports(tmp_path):
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^## A new (\w+)$", PAGE, flags=re.MULTILINE)
    assert headings == ["projection", "group", "guest", "probe", "logger"]
    assert len(blocks) == len(headings)
    script = tmp_path / "mine.py"
    script.write_text("\n".join([*blocks, LAST]), encoding="utf-8")
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("done\n")
    load = "from lightning_invariant import InvariantEncoder; InvariantEncoder.from_pretrained('mean-and-max')"
    refused = subprocess.run([sys.executable, "-c", load], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "of another package first" in refused.stderr


def test_the_table_of_folders_is_that_of_the_architecture():
    from tests.test_architecture import ORDER

    listed = re.findall(r"`(\w+)/?`", "".join(re.findall(r"^\| (`.*?) \|", PAGE, flags=re.MULTILINE)))
    assert listed == ORDER
