"""Every example runs as a user would run it, and shows what it is there to show."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).resolve().parent.parent / "examples").glob("*.py"))
GUESTS = ("egnn_pytorch", "escnn", "sevenn", "torch_geometric", "transformers")


def guests(example):
    """Libraries that an example takes and the environment of `make test` has not."""
    return [guest for guest in GUESTS if re.search(rf"^(from|import) {guest}\b", example.read_text(), re.MULTILINE)]


def printed(example, folder):
    """Numbers that an example prints, by name; of several runs in one example the last."""
    command = [sys.executable, str(example), str(folder / "out")]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "not shown" not in done.stderr
    return {
        name: float(value)
        for name, value in re.findall(r"^(\S+) +(\S+)$", done.stdout, re.MULTILINE)
        if _is_number(value)
    }


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


ALONE = [example for example in EXAMPLES if not guests(example) and example.name != "own_network.py"]


@pytest.mark.parametrize("example", ALONE, ids=lambda path: path.name)
def test_projected_latents_beat_raw_ones(example, tmp_path):
    projected_beat_raw(example, tmp_path)


def projected_beat_raw(example, folder):
    """Run an example; its projected latents are invariant, and better than raw ones."""
    numbers = {name.removeprefix("invariance/"): value for name, value in printed(example, folder).items()}
    raw = numbers.get("knn_raw", numbers.get("plain_invariance/knn"))
    assert numbers["knn"] > raw
    exact = numbers.get("equivariance_error", numbers.get("error"))
    assert exact < (0.2 if example.name == "images.py" else 1e-3)  # its O(2) network is equivariant by interpolation


def test_a_network_of_ones_own_is_loaded_without_its_class(tmp_path):
    example = next(e for e in EXAMPLES if e.name == "own_network.py")
    done = subprocess.run([sys.executable, str(example), str(tmp_path)], capture_output=True, text=True, check=True)
    assert float(done.stdout.split()[-1]) < 1e-5


def test_examples_are_short():
    lengths = {path.name: sum(map(bool, path.read_text().splitlines())) for path in EXAMPLES}
    assert all(length <= 60 for length in lengths.values()), lengths
