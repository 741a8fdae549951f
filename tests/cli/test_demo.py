"""The main job as a user runs it, read back with the readers that users have."""

import base64
import json
import os
import re
import signal
import subprocess
import sys
from contextlib import ExitStack
from functools import partial
from urllib.request import urlopen

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_invariant.cli import main
from lightning_invariant.cli.demo import OWNER, Demo
from lightning_invariant.cli.fresh import _Blocked
from lightning_invariant.evaluation import headlines

LOGGED = [f"invariance/{name}" for name in headlines()]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Run the demo as a user does, look at the page that `--open` starts, and interrupt it."""
    output = tmp_path_factory.mktemp("a folder") / "runs" / "demo"
    # A caller's number of threads, as that of a notebook, is the same afterwards.
    code = "import sys, torch; from lightning_invariant.cli import main; torch.set_num_threads(2); status = main(); "
    code += "sys.exit(status or torch.get_num_threads() != 2)"
    command = [sys.executable, "-c", code, "demo", "--output", str(output), "--open"]
    environment = os.environ | {"BROWSER": "true"}  # a browser that opens nothing
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    # Where the tests run in the background of a shell, interrupts are ignored unless that is undone.
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, env=environment, preexec_fn=heard, **pipes) as process, ExitStack() as ends:
        ends.callback(process.kill)
        printed, served = "", None
        for line in process.stdout:
            printed += line
            if served := re.search(r"TensorBoard serves .* at (http\S+)", line):
                break
        assert served, printed
        with urlopen(served[1] + "data/plugins_listing", timeout=60) as page:
            assert json.load(page)["projector"]
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    return output, printed


def test_it_prints_one_bar_and_no_chatter(demo):
    lines = [line for line in demo[1].splitlines() if line.strip()]
    assert lines[0].startswith("done ") or "starting" in lines[0]
    assert not re.search(r"GPU|TPU|Seed|Tip|`Trainer|Warning|NOTE", demo[1])
    assert len(lines) < 20, demo[1]


def test_a_notebook_shows_the_table_and_the_figure(demo):
    shown = Demo(json.loads((demo[0] / "results.json").read_text()), demo[0])._repr_html_()
    assert "<td>kNN accuracy</td>" in shown
    assert base64.b64encode((demo[0] / "hub" / "embeddings.png").read_bytes()).decode() in shown


def test_it_shows_what_the_projection_is_worth(demo):
    output, printed = demo
    results = json.loads((output / "results.json").read_text())
    assert results["knn_projected"] >= 0.90
    assert results["knn_projected"] >= results["knn_raw"] + 0.30
    assert results["linear_projected"] >= results["linear_raw"] + 0.30
    assert results["invariance_error"] <= 1e-5 < 0.3 < results["invariance_error_raw"]
    assert results["seconds"] > 0
    for figure in ("knn_raw", "knn_projected", "linear_raw", "linear_projected"):
        assert f"{results[figure]:.3f}" in printed
    assert f"tensorboard --logdir {output}" in printed


def test_the_event_files_read_back(demo):
    events = EventAccumulator(str(demo[0]), size_guidance={"scalars": 0, "images": 0})
    events.Reload()
    tags = events.Tags()
    assert set(LOGGED) <= set(tags["scalars"])
    scalars = {name: [event.value for event in events.Scalars(name)] for name in LOGGED}
    assert {len(values) for values in scalars.values()} == {12}
    assert scalars["invariance/knn"][-1] == pytest.approx(
        json.loads((demo[0] / "results.json").read_text())["knn_projected"]
    )
    assert len(events.Images(tags["images"][0])) == 12


def test_the_projector_has_raw_and_projected_points(demo):
    config = (demo[0] / "projector_config.pbtxt").read_text()
    for tag in ("raw", "invariant"):
        assert f"{tag}/" in config
    assert "sprite" in config
    assert "metadata_path" in config


def test_the_exported_folder_has_the_layout_of_a_hub_repository(demo):
    names = {path.name for path in (demo[0] / "hub").iterdir()}
    assert "\n# digits-c4\n" in (demo[0] / "hub" / "README.md").read_text()
    assert names == {
        "config.json",
        "graph.json",
        "model.safetensors",
        "certificate.json",
        "README.md",
        "embeddings.png",
    }


def test_a_second_run_takes_the_folder_again(demo):
    (demo[0] / "results.json").write_text(json.dumps({"command": OWNER, "state": "running"}))
    from lightning_invariant.cli.demo import _claim

    _claim(demo[0])
    assert not list(demo[0].glob("events*"))
    assert (demo[0] / "hub").is_dir()


def test_a_folder_that_holds_something_else_is_refused(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("precious")
    assert main(["demo", "--output", str(tmp_path)]) == 2
    assert "holds something else" in capsys.readouterr().err
    assert (tmp_path / "notes.txt").read_text() == "precious"


def test_a_folder_that_cannot_be_made_is_refused(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["demo", "--output", str(tmp_path / "file" / "demo")]) == 2
    assert "can be written" in capsys.readouterr().err


def test_the_fresh_process_cannot_import_what_it_must_not_need():
    finder = _Blocked()
    for name in ("lightning_invariant.zoo", "lightning_invariant.zoo.digits", "pytorch_lightning", "lightning.pytorch"):
        with pytest.raises(ImportError, match="blocked"):
            finder.find_spec(name)
    assert finder.find_spec("lightning_invariant.hub") is None
