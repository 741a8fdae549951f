"""What a release holds: one version, lowest versions that were run, workflows, a wheel that type checkers read."""

import json
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
import yaml

import lightning_invariant

ROOT = Path(__file__).parents[1]
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.ipynb"))
USER = """
import torch
from lightning_invariant import InvariantCallback, InvariantEncoder, Representation, choose

encoder: InvariantEncoder = InvariantEncoder.from_pretrained("digits-c4")
features: torch.Tensor = encoder(torch.rand(2, 1, 8, 8))
representation: Representation = Representation.parse("C4: 16 regular")
size: int = choose(representation).out_features
callback = InvariantCallback("encoder", representation)
reveal_type(callback.projection)
"""


def test_the_version_stands_in_one_place():
    version = lightning_invariant.__version__
    assert 'dynamic = ["version"]' in PROJECT
    assert f"\n## [{version}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"] == version


def test_the_lowest_versions_are_those_of_the_project():
    pinned = dict(re.findall(r"^([\w-]+)==([\d.]+)$", (ROOT / "tests" / "lowest.txt").read_text(), re.MULTILINE))
    tools = {"hatchling", "ruff", "pyright", "jaxtyping", "pre-commit", "build", "umap-learn"}
    tools |= {"sphinx", "furo", "myst-nb", "sphinx-copybutton", "ipykernel"}
    asked = re.findall(r'"([\w-]+)(?:\[[\w,]+\])?>=([\d.]+)"', PROJECT)
    assert len(asked) > 25
    for name, version in asked:
        assert name in tools or f"{pinned[name]}.".startswith(f"{version}."), name


@pytest.mark.parametrize("path", sorted((ROOT / ".github").rglob("*.yml")), ids=lambda path: path.name)
def test_files_of_github_can_be_read(path):
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    if path.parent.name == "workflows":
        assert all("timeout-minutes" in job for job in content["jobs"].values())
        assert content["permissions"] == {"contents": "read"}
        targets = re.findall(r"make ([\w-]+)", path.read_text(encoding="utf-8"))
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.name)
def test_tutorials_are_kept_without_outputs(path):
    cells = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert cells
    assert not any(cell["outputs"] or cell["execution_count"] for cell in cells)


def test_a_users_project_is_checked_against_the_wheel(tmp_path):
    """The wheel alone is installed, into an environment that sees the other packages of this one."""
    pyright = shutil.which("pyright", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    for tool in ("build", "hatchling"):
        pytest.importorskip(tool, reason=f"{tool} is not installed (extra dev)")
    if pyright is None:
        pytest.skip("pyright is not installed (extra dev)")
    source = tmp_path / "source"
    kept = shutil.ignore_patterns(".*", "__pycache__", "runs", "_build")
    shutil.copytree(ROOT, source, ignore=kept)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path / "dist")]
    subprocess.run([*command, str(source)], check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    assert wheel.name.startswith(f"lightning_invariant-{lightning_invariant.__version__}-")
    venv.create(tmp_path / "env", symlinks=True)
    python = tmp_path / "env" / "bin" / "python"
    (site,) = (tmp_path / "env" / "lib").glob("python*/site-packages")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)], check=True
    )
    ours = [path for path in map(Path, sys.path) if path.name == "site-packages"]
    (site / "others.pth").write_text("\n".join(map(str, ours)))
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "mine.py").write_text(USER)

    def checked(folder):
        command = [pyright, "--pythonpath", str(python), "--outputjson", str(folder)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        return json.loads(done.stdout)["generalDiagnostics"]

    found = checked(tmp_path / "project")
    assert [one for one in found if one["severity"] == "error"] == []
    assert any('"Projection | None"' in one["message"] for one in found)
    (tmp_path / "project" / "mine.py").write_text(USER.replace("size: int", "size: str"))
    assert any(one["severity"] == "error" for one in checked(tmp_path / "project"))
