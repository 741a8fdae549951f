"""The model card: what the encoder is, how to load it, what was measured."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lightning_invariant.artifact.config import CLASS_KIND, FIGURE, HEAD_SCORES, MASK, NO_KIND, input_names
from lightning_invariant.artifact.readme import BEGIN, END, MEASURED_ON, front_matter

if TYPE_CHECKING:
    from lightning_invariant.projections import Projection

SCORES = {"kNN": "knn", "linear probe": "linear"}
"""Probes of the card's table, in words and as they are logged."""
SCORE_NAMES = {"classes": "accuracy", "values": "R²", "labels": "mean average precision"}
"""What probes are scored by, for each kind of target."""
METRIC_TYPES = {"accuracy": "accuracy", "R²": "r_squared", "mean average precision": "mean_average_precision"}
"""How the Hub calls these."""
ERROR = "invariance error"
READING = """Probes know inputs as they come and are asked about validation inputs that random group elements
transformed. The invariance error is relative to the mean distance between different samples."""
PLACEHOLDER = "path/or/repository"
OF_GRAPHS, GRAPH_OF_NODE = "GraphReadout", "batch"
"""The projection whose network takes nodes, and what its last input is called: the graph of each node."""


@dataclass(frozen=True)
class Card:
    """What an author says of a model.

    Args:
        name: Title of the card; an export takes the folder's name if None.
        repository: "user/name" on the Hub for the loading snippet, where it is known.
        license: An identifier that the Hub knows, such as "apache-2.0"; None to choose none.
        datasets: Names of data sets on the Hub that the network was trained on.
        base_model: Name on the Hub of the network that this one was made from, or that a projection alone is for.
        training: Name and value of each setting of the training that is worth knowing.
        figure: PNG of raw beside projected latents.
    """

    name: str | None = None
    repository: str | None = None
    license: str | None = None
    datasets: Sequence[str] = ()
    base_model: str | None = None
    training: Mapping[str, Any] | None = None
    figure: bytes | None = None


def model_card(
    card: Card,
    description: Mapping[str, Any],
    projection: Projection,
    numbers: Mapping[str, float],
    versions: Mapping[str, str],
    *,
    onnx: bool = False,
    missing: Mapping[str, str] | None = None,
) -> str:
    """Return the text of a README.md that the Hub reads as a model card; `readme.merged` keeps what an author added.

    Args:
        card: What the author says.
        description: What config.json says of the encoder.
        projection: From latents to features.
        numbers: Logged names and values; values that are not finite are left out.
        versions: Package to version.
        onnx: Whether the encoder stands there as ONNX too.
        missing: Numbers that could not be measured, by name, with the reason.
    """
    guarantee, name = projection.guarantee, _line(card.name or "")
    inputs = description["inputs"]
    names = input_names(len(inputs), description.get(MASK))
    if description["projection"].get("name") == OF_GRAPHS:
        names[-1] = GRAPH_OF_NODE
    shown = [
        f"{spec['dtype']}, shape {_sizes(spec)}" + (", which points exist" if name == MASK else "")
        for name, spec in zip(names, inputs, strict=True)
    ]
    sentences = [f"{guarantee}.", projection.reason, guarantee.note]
    return f"""{front_matter(_metadata(card, name, description, numbers))}{BEGIN}
# {_plain(name)}

{_what(description, guarantee.group, card.base_model)}

```python
{_snippet(description, names, card.repository or PLACEHOLDER)}
```

{_how(description, numbers, onnx=onnx)}

## Symmetry and guarantee

- Input: {"; ".join(shown)}
- Latent: {_code(description["representation"])}
- Projection: {_code(description["projection"]["name"])}
- Features: {_plain(" ".join(filter(None, sentences)))}
- Differentiable: {_plain(guarantee.differentiable)}
- Source: {_plain(guarantee.source)}

## Measured
{f"{chr(10)}![Raw beside projected latents]({FIGURE}){chr(10)}" if card.figure else ""}
{_table(numbers, description.get("targets"), missing or {})}
{_training(card.training or {})}
Exported with {", ".join(f"{package} {version}" for package, version in versions.items())}.
{END}
"""


def measured_value(numbers: Mapping[str, Any], name: str, *, raw: bool = False) -> float:
    """Return a number such as "knn" under any name that it was logged by; NaN if it is not there."""
    keys = (f"{name}_raw", f"raw/{name}") if raw else (name, f"invariant/{name}")
    found = next((numbers[key] for key in keys if numbers.get(key) is not None), math.nan)
    return float(found)


def _what(description: Mapping[str, Any], group: str, base_model: str | None) -> str:
    if description["network"]["kind"] == NO_KIND:
        base = f" of {_code(base_model)}" if base_model else ""
        return (
            f"An invariant projection for latents{base}, exported by lightning-invariant. Its features are the same\n"
            f"for all latents that the group {_plain(group)} transforms into each other. The network is not part of it."
        )
    return (
        "An encoder with an invariant projection, exported by lightning-invariant. Its features are the same for all\n"
        f"latents that the group {_plain(group)} transforms into each other; how far that holds for inputs is\n"
        "measured below."
    )


def _snippet(description: Mapping[str, Any], names: Sequence[str], repository: str) -> str:
    specs = zip(names, description["inputs"], strict=True)
    if description["network"]["kind"] == NO_KIND:
        return f"""import torch
from lightning_invariant import InvariantEncoder

projection = InvariantEncoder.from_pretrained("{repository}").projection
latents = torch.zeros(2, {description["latent_size"]})  # those of your network
features = projection(latents)  # invariant, shape (B, {description["features"]})"""
    example = "\n".join(f"{name} = {_filled(name, spec)}" for name, spec in specs)
    call = ", ".join("mask=mask" if name == MASK else name for name in sorted(names, key=MASK.__eq__))
    module, _, owner = description["network"].get("class", "").rpartition(".")
    imported, given = (f"from {module} import {owner}\n", f", network={owner}") if owner else ("", "")
    return f"""import torch
from lightning_invariant import InvariantEncoder
{imported}
encoder = InvariantEncoder.from_pretrained("{repository}"{given})
{example}
features = encoder({call})  # invariant, shape (B, {description["features"]})
latents = encoder.latent({call})  # raw, shape (B, {description["latent_size"]}): the group transforms them"""


def _how(description: Mapping[str, Any], numbers: Mapping[str, float], *, onnx: bool) -> str:
    """How loading goes, and what else comes with the encoder."""
    lines = [
        "Loading executes and unpickles nothing: the network is an allow-listed graph, the weights are safetensors."
    ]
    if description["network"]["kind"] == CLASS_KIND:
        lines = [
            f"**This network could not be written without its class.** It loads only with the author's class "
            f"{_code(description['network']['class'])} in your hands, or with `trust_remote_code=True`, which imports "
            "that name from what is installed. The weights are safetensors; nothing is unpickled."
        ]
    if description["preprocessing"] is not None:
        lines.append("`encoder.preprocess(raw)` turns raw images into inputs; `encoder.encode` does so for bytes.")
    if onnx:
        lines.append("`model.onnx` gives `features` and `latents` in ONNX Runtime; loading in Python does not read it.")
    if description["head"] is not None:
        labels = description["head"]["labels"]
        named = ", ".join(map(_code, labels[:20])) + (f" and {len(labels) - 20} more" if len(labels) > 20 else "")
        verb = "classify" if description["head"]["kind"] == "classes" else "predict"
        lines.append(f"`encoder.{verb}(x)` gives {named}.{_head_score(numbers)}")
    return "\n\n".join(lines)


def _head_score(numbers: Mapping[str, float]) -> str:
    """What the head is worth, as a sentence, where it was measured."""
    scores = [(SCORE_NAMES[kind], numbers.get(key, math.nan)) for kind, key in HEAD_SCORES.items()]
    known = [(what, score) for what, score in scores if math.isfinite(score)]
    return "".join(f" Its {what} on validation inputs as they come: {score:.4g}." for what, score in known)


def _sizes(spec: Mapping[str, Any]) -> str:
    first, *rest = spec["shape"]
    sizes = ["B" if first == "batch" else str(first), *map(str, rest)]
    return f"({', '.join(sizes)})" if rest else f"({sizes[0]},)"


def _filled(name: str, spec: Mapping[str, Any]) -> str:
    sizes = ", ".join(str(size if isinstance(size, int) else 2) for size in spec["shape"])
    fill, what = ("ones", "which points exist") if name == MASK else ("zeros", "a batch of your inputs")
    what = "the graph of each node, ascending from 0" if name == GRAPH_OF_NODE else what
    return f"torch.{fill}({sizes}, dtype=torch.{spec['dtype']})  # {what}, shape {_sizes(spec)}"


def _table(numbers: Mapping[str, float], targets: str | None, missing: Mapping[str, str]) -> str:
    rows, reasons = [], []
    for row, (name, raw, projected) in _rows(numbers, targets).items():
        if math.isfinite(raw) and math.isfinite(projected):
            rows.append(f"| {row} | {raw:.4g} | {projected:.4g} |")
        elif name in missing:
            rows.append(f"| {row} | not measured | not measured |")
            reasons.append(" ".join(missing[name].split()))
    if not rows:
        return "Nothing was measured before this export."
    head = ["| on inputs transformed at random | raw | projected |", "|---|---|---|"]
    why = [f"Not measured: {_plain(reason)}.\n" for reason in dict.fromkeys(reasons)]
    return "\n".join([*head, *rows, "", *why, READING])


def _training(settings: Mapping[str, Any]) -> str:
    if not settings:
        return ""
    rows = [f"| {_plain(name)} | {_plain(str(value))} |" for name, value in settings.items()]
    return "\n".join(["", "## Training", "", "| setting | value |", "|---|---|", *rows, ""])


def _rows(numbers: Mapping[str, float], targets: str | None) -> dict[str, tuple[str, float, float]]:
    """Rows of the card's table, in words: the name of the value, raw and projected."""
    rows = {ERROR: "error"}
    for words, probe in reversed(SCORES.items()):
        values = math.isfinite(measured_value(numbers, f"{probe}_mae"))  # which is logged of values alone
        rows = {f"{words} {SCORE_NAMES['values' if values else targets or 'classes']}": probe, **rows}
    return {row: (n, measured_value(numbers, n, raw=True), measured_value(numbers, n)) for row, n in rows.items()}


def _metadata(card: Card, name: str, description: Mapping[str, Any], numbers: Mapping[str, float]) -> dict[str, Any]:
    scores = [
        (metric, next(kind for words, kind in METRIC_TYPES.items() if metric.endswith(words)), round(value, 6))
        for metric, (_, _, value) in _rows(numbers, description.get("targets")).items()
        if metric != ERROR and math.isfinite(value)
    ]
    shape = description["inputs"][0]["shape"]
    of_images = len(description["inputs"]) == 1 and len(shape) == 4 and shape[1] in (1, 3, 4)
    task = "image-feature-extraction" if of_images else "feature-extraction"
    metadata = {
        "license": card.license,
        "library_name": "lightning-invariant",
        "tags": ["lightning-invariant", "invariant-features", "equivariance", "safetensors"],
        "pipeline_tag": task,
        "base_model": card.base_model,
        "datasets": list(card.datasets),
        "metrics": list(dict.fromkeys(kind for _, kind, _ in scores)),
    }
    results = [
        {
            "task": {"type": task},
            "dataset": {"name": MEASURED_ON, "type": "validation"},
            "metrics": [{"type": kind, "value": value, "name": metric} for metric, kind, value in scores],
        }
    ]
    index = [{"name": name, "results": results}] if scores else []
    return {key: value for key, value in (metadata | {"model-index": index}).items() if value not in (None, [])}


def _line(text: str) -> str:
    """One line without control characters."""
    return "".join(c for c in " ".join(text.split()) if c.isprintable())[:200] or "encoder"


def _plain(text: str) -> str:
    """Text that markdown shows as it is."""
    return re.sub(r"([\\`*_{}\[\]<>#|~$&!])", r"\\\1", " ".join(text.split()))


def _code(text: str) -> str:
    """An inline code span that no backtick inside can end."""
    text = " ".join(text.split())
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence} {text} {fence}" if "`" in text else f"`{text}`"
