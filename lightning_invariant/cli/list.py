"""The command `list`: encoders that come with the package, what each is for, and its main figure."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from lightning_invariant.cli.terminal import show

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

RESULTS = "results.json"
"""What a recipe measured, beside its configuration."""
FIGURES = "headline"
"""Entry of it with the main figures: what was asked, and what raw and projected latents gave."""
PURPOSE = "# For: "
"""How the line of a recipe begins that says what its encoder is for."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the `list` command."""
    parser = subparsers.add_parser(
        "list",
        help="encoders that come with the package, and what each is for",
        description="Show what each encoder that comes with the package is for, what projecting its latents is worth, "
        "and its latents, projection and features.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from lightning_invariant.artifact.folder import read_config
    from lightning_invariant.hub.download import bundled_folder, bundled_names

    entries = []
    for name in bundled_names():
        config, recipe = read_config(bundled_folder(name)), bundled_folder(name).parent
        keys = ("inputs", "representation", "projection", "features", "guarantee")
        about = {"name": name, "purpose": purpose_of(recipe), FIGURES: figures_of(recipe)}
        entries.append({**about, **{key: config[key] for key in keys}})
    if args.json:
        print(json.dumps(entries, indent=2))
        return 0
    for entry in entries:
        shape = " ".join(map(str, entry["inputs"][0]["shape"]))
        show(f"{entry['name']}: {entry['purpose']}")
        for figure in entry[FIGURES][:1]:
            show(f"    {figure['asked']}: {figure['raw']} raw, {figure['projected']} projected")
        show(
            f"    input {shape}; {entry['representation']}; {entry['projection']['name']}, {entry['features']} features"
        )
    return 0


def purpose_of(recipe: Path) -> str:
    """What the encoder of a recipe is for: the line of its file that says so, or else the first sentence there."""
    from lightning_invariant.cli.recipes import RECIPE

    path = recipe / RECIPE
    comments = re.match(r"(?:#.*\n)*", path.read_text(encoding="utf-8")) if path.is_file() else None
    lines = comments.group().splitlines() if comments else []
    said = [line.removeprefix(PURPOSE) for line in lines if line.startswith(PURPOSE)]
    words = " ".join(line.lstrip("# ") for line in lines).partition(" Run it:")[0]
    return said[0] if said else re.split(r"(?<=\.) ", words)[0] or "no description"


def figures_of(recipe: Path) -> list[dict[str, Any]]:
    """Main figures that a recipe measured, as text; none where there are no results."""
    path = recipe / RESULTS
    return json.loads(path.read_text(encoding="utf-8")).get(FIGURES, []) if path.is_file() else []
