"""A recipe's card: what was expected and found, and its pictures, on one page beside its configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.paper.sections import section
from benchmarks.tables import Section
from lightning_invariant.hub.download import EXPORT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from benchmarks.paper.averages import Table

CARD = "README.md"
PICTURED = {
    "latents_pca": "Latents beside their projection, by principal components",
    "latents_umap": "Latents beside their projection, by UMAP",
    "latents": "Latents and their projection, coloured by what is asked of them",
    "properties_pca": "Latents as they come, projected and on the quotient, with the variance that the axes explain",
    "accuracy": "Accuracy of neighbours by each map of the latents",
    "accuracy_against_labels": "Accuracy of neighbours against the number of labels",
    "accuracy_against_size": "Accuracy against the number of features",
    "equivariance_error": "Equivariance error of the elements",
    "residual": "Residual of sampled means and maxima against the number of transforms",
    "accuracy_against_samples": "Accuracy against the number of transforms",
    "errors": "Errors of the maps",
    "properties": "What probes read from the latents",
    "interpolation": "Molecules along paths between two, by raw latents and modulo the order of the nodes",
    "errors_layer0": "Errors of descriptors over those of l = 0 alone, layer 0",
    "errors_layer1": "Errors of descriptors over those of l = 0 alone, layer 1",
    "errors_layer2": "Errors of descriptors over those of l = 0 alone, layer 2",
}
"""Pictures by the names of their files, in the order of the page."""


def expectations(recipe: str, tables: Sequence[Table]) -> list[Section]:
    """What was expected beside what was found, as one table; none if nothing was expected."""
    expected = getattr(section(recipe), "expected", None)
    if expected is None:
        return []
    rows = [[claim.text, claim.found, "yes" if claim.holds else "NO"] for claim in expected(list(tables))]
    return [Section(f"{recipe}: expected and found", ["expected", "found", "holds"], rows)]


def write_card(folder: Path, recipe: str, tables: Sequence[Table], about: Mapping[str, str]) -> Path:
    """The page, from the tables and from the pictures and the encoder that lie in the folder.

    Args:
        folder: Of the recipe.
        recipe: Its name.
        tables: Means over seeds.
        about: Conditions, the command among them.
    """
    lines = [f"# {recipe}", "", f"{section(recipe).TITLE}.", "", *_links(folder, recipe), ""]
    for part in expectations(recipe, tables):
        lines += [f"| {' | '.join(map(str, row))} |" for row in (part.columns, ["---"] * len(part.columns), *part.rows)]
        lines.append("")
    for name in _pictures(folder):
        lines += [f"![{PICTURED.get(name, name)}]({name}.png)", ""]
    lines.append(f"Written by `{about['command']}`, seeds {about['seeds']}, a {about['run']} run.")
    path = folder / CARD
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _links(folder: Path, recipe: str) -> list[str]:
    lines = ["[recipe.yaml](recipe.yaml) is the configuration; [results.json](results.json) holds all numbers."]
    if (folder / EXPORT).is_dir():
        lines.append(
            f"What the first seed exported is in [{EXPORT}]({EXPORT}/README.md): "
            f'`InvariantEncoder.from_pretrained("{recipe}")`.'
        )
    return lines


def _pictures(folder: Path) -> list[str]:
    drawn = sorted(path.stem for path in folder.glob("*.png"))
    return [name for name in PICTURED if name in drawn] + [name for name in drawn if name not in PICTURED]
