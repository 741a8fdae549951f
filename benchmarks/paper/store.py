"""What each seed of each recipe gave, one file each, so that an interrupted run goes on where it stopped."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.paper.sections import Row
from lightning_invariant import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

ROWS = "rows.json"


class Store:
    """A folder with one folder a recipe and seed.

    Args:
        root: Made where it does not exist.
        quick: Quick and full runs are kept apart.
    """

    def __init__(self, root: Path, *, quick: bool) -> None:
        self.root = root / ("quick" if quick else "full")

    def folder(self, recipe: str, seed: int) -> Path:
        """Where one seed keeps its things; made here."""
        folder = self.root / recipe / f"seed-{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def load(self, recipe: str, seed: int) -> list[Row] | None:
        """Rows of a finished seed; None if there are none, or those of another version."""
        path = self.folder(recipe, seed) / ROWS
        kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return [Row(**row) for row in kept["rows"]] if kept.get("version") == __version__ else None

    def conditions(self, recipe: str, seeds: Iterable[int]) -> dict[str, str]:
        """Where and with what finished seeds were measured; what differs between them is listed."""
        paths = [self.folder(recipe, seed) / ROWS for seed in seeds]
        kept = [json.loads(path.read_text(encoding="utf-8")).get("conditions", {}) for path in paths if path.is_file()]
        names = dict.fromkeys(name for one in kept for name in one)
        return {name: "; ".join(dict.fromkeys(one[name] for one in kept if name in one)) for name in names}

    def save(self, recipe: str, seed: int, rows: Sequence[Row], conditions: Mapping[str, str]) -> None:
        """Keep the rows of a seed with the conditions under which they were measured, whole or not at all."""
        path = self.folder(recipe, seed) / ROWS
        part = path.with_suffix(".part")
        content = {"version": __version__, "conditions": dict(conditions), "rows": [asdict(row) for row in rows]}
        part.write_text(json.dumps(content, indent=1), encoding="utf-8")
        part.replace(path)

    def forget(self, recipe: str, seed: int) -> None:
        """Start a seed again from nothing."""
        shutil.rmtree(self.folder(recipe, seed))
