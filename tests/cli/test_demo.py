"""The main job as a user runs it, read back with the readers that users have."""

import json
import subprocess
import sys

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_invariant.cli import main
from lightning_invariant.cli.demo import OWNER
from lightning_invariant.cli.fresh import _Blocked
from lightning_invariant.evaluation import headlines

LOGGED = [f"invariance/{name}" for name in headlines()]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    output = tmp_path_factory.mktemp("a folder") / "runs" / "demo"
    code = "import sys; from lightning_invariant.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, "demo", "--output", str(output)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return output, done.stdout


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
