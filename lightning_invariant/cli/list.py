"""The command `list`: encoders that come with the package."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from lightning_invariant.cli.terminal import show_table

if TYPE_CHECKING:
    import argparse


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the `list` command."""
    parser = subparsers.add_parser("list", help="encoders that come with the package")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from lightning_invariant.artifact.folder import read_config
    from lightning_invariant.hub.download import bundled_folder, bundled_names

    configs = {name: read_config(bundled_folder(name)) for name in bundled_names()}
    if args.json:
        keys = ("inputs", "representation", "projection", "features", "guarantee")
        print(json.dumps([{"name": name, **{key: c[key] for key in keys}} for name, c in configs.items()], indent=2))
        return 0
    rows = [
        (name, " ".join(map(str, c["inputs"][0]["shape"])), c["representation"], c["projection"]["name"], c["features"])
        for name, c in configs.items()
    ]
    show_table(("name", "input", "latent", "projection", "features"), rows)
    return 0
