"""Where recipes are, and running them through LightningCLI."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_invariant.errors import InvariantError

if TYPE_CHECKING:
    from pytorch_lightning.cli import LightningCLI

RECIPE = "recipe.yaml"


def recipe_path(name: str) -> Path:
    """Return the recipe file of a path, a folder, or the name of a folder in hub_configs.

    Raises:
        InvariantError: There is none; the message names those that there are.
    """
    from lightning_invariant.hub.download import recipes_folder

    path = Path(name)
    for candidate in (path, path / RECIPE, recipes_folder() / path.name / RECIPE):
        if candidate.is_file():
            return candidate
    known = sorted(folder.parent.name for folder in recipes_folder().glob(f"*/{RECIPE}"))
    raise InvariantError(
        f"Expected a recipe file, a folder that holds {RECIPE}, or one of {', '.join(known)} but got {name!r}."
    )


def lightning_cli(args: list[str] | dict[str, Any], *, run: bool) -> LightningCLI:
    """Build LightningCLI for any model and data, by class path.

    Args:
        args: Arguments as on the command line, or a configuration.
        run: Whether to run the subcommand that the arguments name.

    Raises:
        InvariantError: jsonargparse is not installed.
    """
    try:
        import docstring_parser  # noqa: F401  (the part of jsonargparse[signatures] that is easily missing)
        from pytorch_lightning.cli import LightningCLI
    except ImportError as error:
        raise InvariantError('Recipes need jsonargparse: pip install "lightning-invariant[cli]".') from error
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="LightningCLI's args parameter is intended to run from within Python")
        return LightningCLI(args=args, run=run, save_config_kwargs={"overwrite": True})


def run_recipe(command: str, args: list[str]) -> None:
    """Run `fit`, `validate` or `test`: the first argument may be a recipe, all others go to LightningCLI."""
    if args and not args[0].startswith("-"):
        args = ["--config", str(recipe_path(args[0])), *args[1:]]
    lightning_cli([command, *args], run=True)
