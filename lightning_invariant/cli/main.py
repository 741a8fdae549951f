"""The command `lightning-invariant`."""

from __future__ import annotations

import argparse
import sys

from lightning_invariant import __version__
from lightning_invariant.cli import compare, demo, embed, export, inspect, pull, push, verify
from lightning_invariant.cli import list as bundled
from lightning_invariant.errors import InvariantError

RECIPE_COMMANDS = ("fit", "validate", "test")


def main(args: list[str] | None = None) -> int:
    """Run one command; errors of the user's making are one message, not a traceback.

    Args:
        args: Without the program's name; those of the process if None.

    Returns:
        The exit status.
    """
    args = sys.argv[1:] if args is None else args
    try:
        if args and args[0] in RECIPE_COMMANDS:
            from lightning_invariant.cli.recipes import run_recipe

            run_recipe(args[0], args[1:])
            return 0
        parsed = _parser().parse_args(args)
        return int(parsed.run(parsed) or 0)
    except InvariantError as error:
        print(f"lightning-invariant: {error}", file=sys.stderr)
    except ModuleNotFoundError as error:
        if not error.name or error.name.split(".")[0] == "lightning_invariant":
            raise
        print(f"lightning-invariant: Expected {error.name} to be installed for this command.", file=sys.stderr)
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lightning-invariant",
        description="Invariant features from equivariant and augmented networks.",
        epilog="fit, validate and test take a recipe (a YAML file, a folder, or a name in hub_configs) and then any "
        "argument of LightningCLI, for example: lightning-invariant fit digits-c4 --trainer.max_epochs 3",
    )
    parser.add_argument("--version", action="version", version=__version__)
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    demo.add_parser(subparsers)
    for command in (compare, export, push, pull, bundled, inspect, verify, embed):
        command.add_parser(subparsers)
    for command in RECIPE_COMMANDS:
        subparsers.add_parser(command, help=f"{command} a recipe with LightningCLI", add_help=False)
    return parser
