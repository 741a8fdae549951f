"""The answers in docs/questions.md run, and print what the page says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "questions.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=["escnn", "potentials"])
def test_the_answer_runs(block):
    if "escnn" in block:
        pytest.importorskip("escnn", reason="needs escnn (make test-guests)")
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", block], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [line[2:] for line in block.splitlines() if line.startswith("# ")]
