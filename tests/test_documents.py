"""The code of the README and of the pages runs, links lead somewhere, and figures are those that the demo wrote."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lightning_invariant import Representation
from lightning_invariant.cli import main
from lightning_invariant.evaluation import headlines, names

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = ROOT / "hub_configs" / "digits-c4" / "results.json"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def test_the_python_blocks_run_in_order(tmp_path):
    script = tmp_path / "readme.py"
    script.write_text("\n".join(blocks("python")), encoding="utf-8")
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    printed = [line.removeprefix("# ") for line in "\n".join(blocks("python")).splitlines() if line.startswith("# ")]
    assert printed
    assert all(line in done.stdout for line in printed)
    assert (tmp_path / "runs" / "digits" / "hub" / "config.json").is_file()


def test_the_yaml_block_attaches_the_callback(tmp_path):
    cli = pytest.importorskip("pytorch_lightning.cli")
    (config,) = blocks("yaml")
    (tmp_path / "config.yaml").write_text(config)
    built = cli.LightningCLI(
        args=[
            f"--config={tmp_path / 'config.yaml'}",
            "--model=lightning_invariant.zoo.digits.DigitsClassifier",
            "--data=lightning_invariant.zoo.digits.Digits",
            "--trainer.logger=false",
        ],
        run=False,
    )
    assert str(built.trainer.callbacks[0].representation) == "C4: 16 regular"


def test_the_commands_are_targets_of_the_makefile():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    commands = re.findall(r"^make (\S+)", "\n".join(blocks("bash")), flags=re.MULTILINE)
    assert commands == ["demo", "test"]
    assert all(re.search(rf"^{command}:", makefile, flags=re.MULTILINE) for command in commands)


def test_the_comparison_runs_on_latents_of_that_representation(tmp_path, monkeypatch, capsys):
    (line,) = re.findall(r"^lightning-invariant (.*)$", "\n".join(blocks("bash")), flags=re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    np.savez("latents.npz", latents=generator.normal(size=(60, 16, 8)).astype("float32"), labels=np.arange(60) % 3)
    assert main(shlex.split(line)) == 0
    assert "MaxFilter" in capsys.readouterr().out


def test_the_figures_are_those_of_the_demo():
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    rows = {
        "kNN accuracy": ("knn_raw", "knn_projected", ".3f"),
        "linear probe accuracy": ("linear_raw", "linear_projected", ".3f"),
        "invariance error": ("invariance_error_raw", "invariance_error", ".2g"),
    }
    for row, (raw, projected, form) in rows.items():
        assert f"| {row} | {results[raw]:{form}} | {results[projected]:{form}} |" in README


def test_every_metric_of_the_table_is_logged():
    told = re.findall(r"^\| (`invariance.*?) \|", README, flags=re.MULTILINE)
    shown = [name for row in told for name in re.findall(r"`(.+?)`", row)]
    assert len(shown) > 9
    first = headlines()
    logged = {f"{'invariance' if name in first else 'invariance_details'}/{name}" for name in names()}
    assert [name for name in shown if name not in logged] == []


PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "docs").glob("tutorials/*.ipynb")]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = re.findall(r"\]\((?!http|#)([^)#\s]+)(?:#[^)]*)?\)", text)
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_readme_is_short():
    assert len(README.split()) < 900


REPRESENTATIONS = (ROOT / "docs" / "representations.md").read_text(encoding="utf-8")
LINES = re.findall(r"`(InvariantCallback\(.*?\))`", README + REPRESENTATIONS)


@pytest.mark.parametrize("line", sorted(set(LINES)))
def test_every_line_for_a_layer_builds_a_callback(line):
    import lightning_invariant

    names = {name: getattr(lightning_invariant, name) for name in lightning_invariant.__all__} | {"augment": abs}
    callback = eval(line.replace("pick=...", "pick=0"), names)
    assert callback.layer


@pytest.mark.parametrize(
    ("text", "size"), re.findall(r"^\| `(.+?: .+?)` \|.*\| (\d+) \|$", REPRESENTATIONS, re.MULTILINE)
)
def test_the_notation_means_so_many_numbers(text, size):
    assert Representation.parse(text).size == int(size)


@pytest.mark.parametrize("name", ["representations", "dashboard", "geometry", "publish", "inputs"])
def test_the_python_of_a_page_runs_and_prints_what_it_says(name, tmp_path):
    page = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL))
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = [line.removeprefix("# ") for line in code.splitlines() if line.startswith("# ")]
    assert [line for line in said if line not in done.stdout] == []
