"""docs/troubleshooting.md knows every finding and error of the code, and nothing else."""

import ast
import re
from pathlib import Path

import pytest

from lightning_invariant import errors
from lightning_invariant.encoder.onnx_model import OnnxError  # noqa: F401  (an error beside those of errors.py)
from lightning_invariant.hub.commit import WorseError  # noqa: F401  (likewise)

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
SAYING = ("add", "note", "guarding", "say", "_guarding")


def keys_of(source: str) -> set[str]:
    """Literal keys of findings in a file; of an f-string the words before its first value."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        function = node.func
        name = function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")
        place = ast.unparse(function)
        says = name == "Finding" or (name in SAYING and re.search(r"find|self\._?(say|guarding)", place, re.IGNORECASE))
        key = node.args[-1] if name == "_guarding" else node.args[0]
        if isinstance(key, ast.JoinedStr):
            key = key.values[0]
        if says and isinstance(key, ast.Constant) and isinstance(key.value, str) and key.value.strip():
            found.add(key.value.strip())
    return found


def rows(heading: str) -> list[str]:
    part = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^\| `([^`]+)`", part, flags=re.MULTILINE)


def all_errors(kind: type) -> set[str]:
    return {kind.__name__}.union(*map(all_errors, kind.__subclasses__())) - {"InvariantError"}


def test_the_page_has_every_finding_of_the_code():
    files = [
        *(ROOT / "lightning_invariant").glob("callback/**/*.py"),
        ROOT / "lightning_invariant/evaluation/findings.py",
    ]
    known = set().union(*(keys_of(path.read_text(encoding="utf-8")) for path in files))
    assert len(known) > 30
    shown = [*rows("Findings"), *rows("Notes")]
    assert set(shown) == known


def test_a_new_finding_is_seen():
    source = 'self.findings.add("a", x)\nyield Finding("b", y)\nself.say(f"c {d}", e)\nothers.add("f")'
    assert keys_of(source) == {"a", "b", "c"}


def test_the_page_has_every_error():
    public = {name for name in all_errors(errors.InvariantError) if not name.startswith("_")}
    assert sorted(rows("Errors")) == sorted(public)


@pytest.mark.parametrize("heading", ["Findings", "Notes", "Errors"])
def test_every_row_has_a_remedy(heading):
    part = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in line.replace(r"\|", "/").strip("|").split("|")] for line in lines]
    assert all(len(row) == 3 and all(row) for row in cells)
