"""The order of the rooms, read off the imports."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "lightning_invariant"
ORDER = [
    "errors",
    "guarantee",
    "batch",
    "groups",
    "guests",
    "orbit_layer",
    "projections",
    "quotient",
    "metrics",
    "probes",
    "evaluation",
    "testing",
    "tracking",
    "artifact",
    "hub",
    "encoder",
    "callback",
    "zoo",
    "cli",
]
MAY_IMPORT = {
    "pytorch_lightning": {"callback", "tracking", "zoo", "cli"},
    "lightning": {"callback", "tracking"},
    "huggingface_hub": {"hub"},
}


def imported(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def misplaced(path: Path) -> list[str]:
    here, wrong = room(path), []
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == PACKAGE.name and len(parts) > 1:
            if ORDER.index(parts[1]) > ORDER.index(here):
                wrong.append(f"{path.name}: {here} imports {name}")
        elif parts[0] in MAY_IMPORT and here not in MAY_IMPORT[parts[0]]:
            wrong.append(f"{path.name}: {here} imports {name}")
    return wrong


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.name != "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_file_imports_only_from_rooms_above(path: Path):
    assert misplaced(path) == []


def test_a_wrong_import_is_seen(monkeypatch, tmp_path):
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path / "lightning_invariant")
    folder = tmp_path / "lightning_invariant" / "groups"
    folder.mkdir(parents=True)
    path = folder / "x.py"
    path.write_text("from lightning_invariant.hub import y\nimport pytorch_lightning\n")
    assert len(misplaced(path)) == 2


def test_importing_the_package_loads_neither_lightning_nor_the_hub():
    code = (
        "import sys, lightning_invariant, lightning_invariant.groups, lightning_invariant.projections\n"
        "heavy = {'pytorch_lightning', 'lightning', 'huggingface_hub', 'matplotlib', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_public_names_resolve():
    import lightning_invariant

    assert all(getattr(lightning_invariant, name) is not None for name in lightning_invariant.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        lightning_invariant.nothing  # noqa: B018
