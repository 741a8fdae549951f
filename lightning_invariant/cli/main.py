"""The command `lightning-invariant`."""

from __future__ import annotations

import argparse
import os
import sys
import warnings

from lightning_invariant import __version__
from lightning_invariant.cli import compare, demo, embed, export, find, inspect, pull, push, verify
from lightning_invariant.cli import list as bundled
from lightning_invariant.cli.terminal import one_line
from lightning_invariant.errors import InvariantError

RECIPE_COMMANDS = ("fit", "validate", "test")
TRACEBACK = "LIGHTNING_INVARIANT_TRACEBACK"
"""Variable of the environment that lets errors through as they are."""


def main(args: list[str] | None = None) -> int:
    """Run one command; whatever goes wrong is one line on the standard error, not a traceback.

    Args:
        args: Arguments without the program's name; those of the process if None.

    Returns:
        The exit status: 0 if it was done, 1 if `verify` finds that a certificate does not hold, 2 for an error.
    """
    args = sys.argv[1:] if args is None else args
    try:
        if args and args[0] in RECIPE_COMMANDS:
            return _run_recipe(args)
        parsed = _parser().parse_args(args)
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *rest: _say(message)
            warnings.filterwarnings("ignore", category=FutureWarning)  # between libraries, not for who runs a command
            return int(parsed.run(parsed) or 0)
    except BrokenPipeError:  # whoever read our output has enough
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  (so that the exit flushes nowhere)
        return 2
    except Exception as error:
        of_ours = isinstance(error, ModuleNotFoundError) and (error.name or "").startswith("lightning_invariant")
        if of_ours or os.environ.get(TRACEBACK):
            raise
        _say(_in_words(error))
    return 2


def _run_recipe(args: list[str]) -> int:
    """Run a recipe; only our own errors are told in a line, since a traceback helps with the others."""
    from lightning_invariant.cli.recipes import run_recipe

    try:
        run_recipe(args[0], args[1:])
    except InvariantError as error:
        _say(error)
        return 2
    return 0


def _in_words(error: Exception) -> str:
    if isinstance(error, InvariantError):
        return str(error)
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"Expected {error.name} to be installed for this command."
    from lightning_invariant.hub.retries import in_words

    return f"Expected the command to be done but {in_words(error)} ({TRACEBACK}=1 shows where)."


def _say(text: object) -> None:
    print(f"lightning-invariant: {one_line(text)}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lightning-invariant",
        description="Invariant features from equivariant and augmented networks.",
        epilog="fit, validate and test take a recipe (a YAML file, a folder, or a name in hub_configs) followed by any "
        "arguments of LightningCLI, for example: lightning-invariant fit digits-c4 --trainer.max_epochs 3",
    )
    parser.add_argument("--version", action="version", version=__version__)
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    demo.add_parser(subparsers)
    for command in (compare, find, export, push, pull, bundled, inspect, verify, embed):
        command.add_parser(subparsers)
    for command in RECIPE_COMMANDS:
        subparsers.add_parser(command, help=f"{command} a recipe with LightningCLI", add_help=False)
    return parser
