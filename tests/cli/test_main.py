import subprocess
import sys

import pytest

from lightning_invariant.cli import main
from lightning_invariant.cli.recipes import recipe_path
from lightning_invariant.errors import InvariantError
from lightning_invariant.hub.download import recipes_folder


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    assert all(command in printed for command in ("demo", "compare", "fit", "validate", "test"))


def test_without_a_command_the_usage_is_shown(capsys):
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_an_unknown_recipe_names_those_there_are(capsys):
    assert main(["fit", "digits-c5"]) == 2
    assert "digits-c4" in capsys.readouterr().err


def test_recipes_are_found_by_name_folder_and_file():
    folder = recipes_folder() / "digits-c4"
    assert recipe_path("digits-c4") == recipe_path(str(folder)) == recipe_path(str(folder / "recipe.yaml"))
    assert recipe_path("hub_configs/digits-c4").is_file()
    with pytest.raises(InvariantError, match="or one of"):
        recipe_path("nothing")


def test_a_recipe_fits_by_name_with_arguments_of_its_own(tmp_path):
    code = "import sys; from lightning_invariant.cli import main; sys.exit(main())"
    arguments = ["fit", "digits-c4", "--trainer.max_epochs=1", "--trainer.enable_progress_bar=false"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "digits-c4" / "hub" / "config.json").is_file()


def test_a_recipe_is_tested_by_name(tmp_path):
    code = "import sys; from lightning_invariant.cli import main; sys.exit(main())"
    arguments = [
        "test",
        "volumes-cube",
        "--data.size=64",
        "--trainer.logger=false",
        "--trainer.enable_progress_bar=false",
    ]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "test/accuracy" in done.stdout
    assert "test_invariance/" in done.stdout


def test_a_package_that_is_missing_is_one_sentence(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "lightning_invariant.cli.latents", None)  # a fault of our own is not hidden
    with pytest.raises(ModuleNotFoundError):
        main(["compare", "x.npz", "--representation", "C4: 2 regular"])
    monkeypatch.delitem(sys.modules, "lightning_invariant.cli.latents")
    monkeypatch.setitem(sys.modules, "numpy", None)
    assert main(["compare", "x.npz", "--representation", "C4: 2 regular"]) == 2
    assert "Expected numpy to be installed" in capsys.readouterr().err


def test_help_loads_no_torch():
    code = """
import sys
from lightning_invariant.cli import main
try:
    main(["--help"])
except SystemExit:
    print(sorted({"torch", "numpy", "pytorch_lightning", "huggingface_hub", "rich"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
