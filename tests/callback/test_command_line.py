"""Arguments that hold the notation of representations, as they come from a shell and from YAML files."""

import subprocess
import sys
import warnings

import pytest
from pytorch_lightning.demos.boring_classes import BoringDataModule, BoringModel

from lightning_invariant import InvariantCallback
from lightning_invariant.projections import SortedCoorbits

pytest.importorskip("jsonargparse")
from pytorch_lightning.cli import LightningCLI

OPTIONS = {"save_config_callback": None, "run": False}
SCRIPT = """
from pytorch_lightning.cli import LightningCLI
from pytorch_lightning.demos.boring_classes import BoringDataModule, BoringModel
built = LightningCLI(BoringModel, BoringDataModule, save_config_callback=None, run=False)
for callback in built.trainer.callbacks:
    if type(callback).__name__ == "InvariantCallback":
        print(callback.representation, "|", callback.projection)
"""
CALLBACK = ["--trainer.callbacks=lightning_invariant.InvariantCallback", "--trainer.callbacks.layer=layer"]
FILE = """
trainer:
  logger: false
  callbacks:
    class_path: lightning_invariant.InvariantCallback
    init_args:
      layer: layer
      representation: "C4: 2 trivial + 1 regular"
"""


def in_fresh_process(arguments):
    """Where nothing of this package is imported before the class path is."""
    command = [sys.executable, "-c", SCRIPT, "--trainer.logger=false", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def build(arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cli = LightningCLI(BoringModel, BoringDataModule, args=["--trainer.logger=false", *arguments], **OPTIONS)
    return next(callback for callback in cli.trainer.callbacks if isinstance(callback, InvariantCallback))


def test_a_shell_argument_is_a_representation():
    done = in_fresh_process([*CALLBACK, "--trainer.callbacks.representation=C4: 2 trivial + 1 regular"])
    assert "C4: 2 trivial + 1 regular" in done.stdout, done.stderr


@pytest.mark.parametrize("text", ["SO3: 2x0 + 1x1", "S9: 9 points x 16", "Z2^5: signs", "S9 x O3: 4 points*vectors"])
def test_every_kind_of_term(text):
    assert str(build([*CALLBACK, f"--trainer.callbacks.representation={text}"]).representation) == text


def test_the_argument_of_a_projection_too():
    text, projection = "C4: 2 regular", "--trainer.callbacks.projection"
    arguments = [f"{projection}=lightning_invariant.projections.SortedCoorbits", f"{projection}.representation={text}"]
    built = build([*CALLBACK, f"--trainer.callbacks.representation={text}", *arguments])
    assert isinstance(built.projection, SortedCoorbits)


def test_a_file_with_quotes_still_works(tmp_path):
    (tmp_path / "run.yaml").write_text(FILE)
    assert str(build([f"--config={tmp_path / 'run.yaml'}"]).representation) == "C4: 2 trivial + 1 regular"


def test_what_is_none_is_refused():
    done = in_fresh_process([*CALLBACK, "--trainer.callbacks.representation=C4: 2 irregular"])
    assert done.returncode != 0
    assert "irregular" in done.stderr
