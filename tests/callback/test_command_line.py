"""The callback's arguments as they come from a shell and from YAML files."""

import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from pytorch_lightning.demos.boring_classes import BoringDataModule, BoringModel

from lightning_invariant import BatchReader, Export, HubExport, InvariantCallback
from lightning_invariant.groups.actions import ImageAction
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
LEAST = {"layer": "layer", "representation": '"C4: 2 trivial + 1 regular"'}
ALL = {
    "layer": "layer",
    "representation": '"C4: 2 regular"',
    "projection": "{class_path: lightning_invariant.projections.SortedCoorbits, "
    'init_args: {representation: "C4: 2 regular"}}',
    "action": "{image: image, z: left alone}",
    "pick": "0",
    "pool": "mean",
    "batch": "{class_path: lightning_invariant.BatchReader, "
    "init_args: {inputs: image, labels: \"batch['y']\", groups: 2}}",
    "probes": "[knn, {class_path: lightning_invariant.KNN, init_args: {k: 5, metric: cosine}}]",
    "sample_size": "10",
    "bank_size": "20",
    "every_n_validations": "3",
    "max_overhead": "null",
    "figures": "null",
    "export": "{class_path: lightning_invariant.Export, init_args: {folder: out, name: mine, arguments: {width: 4}}}",
    "prefix": "second_",
    "seed": "7",
}


def in_fresh_process(arguments):
    """Where nothing of this package is imported before the class path is."""
    command = [sys.executable, "-c", SCRIPT, "--trainer.logger=false", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def build(arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cli = LightningCLI(BoringModel, BoringDataModule, args=["--trainer.logger=false", *arguments], **OPTIONS)
    return next(callback for callback in cli.trainer.callbacks if isinstance(callback, InvariantCallback))


def from_file(folder, **arguments):
    """The callback that a YAML file describes."""
    lines = ["trainer:", "  callbacks:", "    - class_path: lightning_invariant.InvariantCallback", "      init_args:"]
    lines += [f"        {name}: {value}" for name, value in arguments.items()]
    (folder / "run.yaml").write_text("\n".join(lines))
    return build([f"--config={folder / 'run.yaml'}"])


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
    assert str(from_file(tmp_path, **LEAST).representation) == "C4: 2 trivial + 1 regular"


def test_every_argument_comes_from_a_file(tmp_path):
    built = from_file(tmp_path, **ALL)
    given, reporter = built._reporter.given, built._reporter
    assert (built.layer, str(built.representation)) == ("layer", "C4: 2 regular")
    assert isinstance(built.projection, SortedCoorbits)
    assert given.action == {"image": "image", "z": "left alone"}
    assert (given.reader.pick, given.reader.pool) == (0, "mean")
    assert given.batch == BatchReader(inputs="image", labels="batch['y']", groups=2)
    first, second = reporter.probes
    assert (first.key, second.k, second.metric) == ("knn", 5, "cosine")
    assert (reporter.capture.sizes.queries, reporter.capture.sizes.bank, reporter.capture.sizes.seed) == (10, 20, 7)
    assert (built.every_n_validations, reporter.budget.max_overhead, reporter.figures) == (3, None, None)
    export = built._exporter.export
    assert isinstance(export, Export)
    assert (export.folder, export.name, export.arguments) == (Path("out"), "mine", {"width": 4})
    assert (built.prefix, reporter.seed) == ("second_", 7)


def test_the_file_above_names_every_argument():
    import inspect

    assert set(ALL) == set(inspect.signature(InvariantCallback).parameters)
    assert len(ALL) <= 16


def test_what_is_left_out_has_its_default(tmp_path):
    reporter = from_file(tmp_path, **LEAST)._reporter
    assert (reporter.capture.sizes.queries, reporter.capture.sizes.bank) == (1000, 4000)
    assert (reporter.budget.max_overhead, reporter.figures, reporter.prefix) == (0.05, "pca", "")
    assert (reporter.given.action, reporter.given.batch) == (None, BatchReader())


def test_an_action_by_its_class(tmp_path):
    action = "{class_path: lightning_invariant.groups.actions.ImageAction, init_args: {group: {class_path: "
    action += "lightning_invariant.groups.Cyclic, init_args: {n: 4}}}}"
    built = from_file(tmp_path, **LEAST, action=action)
    assert isinstance(built._reporter.given.action, ImageAction)
    assert built._reporter.given.action.group == built.representation.group


def test_an_export_is_a_path_or_a_class(tmp_path):
    export = from_file(tmp_path, **LEAST, export="out/encoder")._exporter.export
    assert isinstance(export, Export)
    assert export.folder == Path("out/encoder")
    settings = "{repo_id: user/name, when: last, private: true, head: linear, labels: [one, two], license: mit}"
    hub = from_file(tmp_path, **LEAST, export=f"{{class_path: lightning_invariant.HubExport, init_args: {settings}}}")
    export = hub._exporter.hub
    assert isinstance(export, HubExport)
    assert (export.target.repo_id, export.when, export.target.private) == ("user/name", "last", True)
    assert (export.head, export.labels, export.license) == ("linear", ["one", "two"], "mit")


def test_a_mask_is_read_off_the_batch(tmp_path):
    points = {"layer": "layer", "representation": '"S9: 9 points x 16"'}
    built = from_file(tmp_path, **points, batch="{class_path: lightning_invariant.BatchReader, init_args: {mask: 1}}")
    assert built._reporter.given.batch.mask_at == 1


def test_what_is_none_is_refused():
    done = in_fresh_process([*CALLBACK, "--trainer.callbacks.representation=C4: 2 irregular"])
    assert done.returncode != 0
    assert "irregular" in done.stderr


@pytest.mark.parametrize(
    ("name", "value"), [("figures", "tsne"), ("batch", "y"), ("probes", "[knnn]"), ("pool", "sum"), ("action", "spin")]
)
def test_an_argument_of_a_wrong_kind_is_refused(tmp_path, name, value, capsys):
    with pytest.raises((SystemExit, ValueError)) as raised:  # of the parser, or of the callback itself
        from_file(tmp_path, **LEAST, **{name: value})
    assert value.strip("[]") in f"{raised.value}{capsys.readouterr().err}"
