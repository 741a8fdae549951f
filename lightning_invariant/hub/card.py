"""The model card: what the encoder is, how to load it, what was measured."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from lightning_invariant.hub.head import HEAD_SCORES
from lightning_invariant.hub.masks import MASK, input_names
from lightning_invariant.hub.readme import BEGIN, END, MEASURED_ON

if TYPE_CHECKING:
    from collections.abc import Mapping

    from huggingface_hub import ModelCardData

    from lightning_invariant.guarantee import Guarantee

SCORES = {"kNN": "knn", "linear probe": "linear"}
"""Probes of the card's table, in words and as they are logged."""
SCORE_NAMES = {"classes": "accuracy", "values": "R²", "labels": "mean average precision"}
"""What probes are scored by, for each kind of target."""
METRIC_TYPES = {"accuracy": "accuracy", "R²": "r_squared", "mean average precision": "mean_average_precision"}
"""How the Hub calls these."""
ERROR = "invariance error"
READING = """Probes were fitted on latents of training inputs as they come and asked about validation inputs that random
group elements moved. The invariance error is relative to the mean distance between different samples."""


def model_card(
    name: str,
    *,
    description: Mapping[str, Any],
    guarantee: Guarantee,
    reason: str,
    numbers: Mapping[str, float],
    versions: Mapping[str, str],
    picture: str | None,
    onnx: bool = False,
    repository: str = "path/or/repository",
    license: str | None = None,
    training: Mapping[str, str] | None = None,
) -> str:
    """Text of a README.md that the Hub reads as a model card; `readme.merged` keeps what an author added to an earlier.

    Args:
        name: Of the model.
        description: What config.json says of the encoder.
        guarantee: Of the projection.
        reason: Why this projection.
        numbers: Logged names and values; values that are not finite are left out.
        versions: Package to version.
        picture: File name of the picture, or None.
        onnx: Whether the encoder stands there as ONNX too.
        repository: What the loading snippet loads.
        license: An identifier that the Hub knows, such as "apache-2.0"; None to choose none.
        training: Name and value of each setting that is worth knowing.
    """
    inputs = description["inputs"]
    names = input_names(len(inputs), description.get("mask"))
    shown = [
        f"{spec['dtype']}, shape {_sizes(spec)}" + (", which points exist" if name == MASK else "")
        for name, spec in zip(names, inputs, strict=True)
    ]
    example = "\n".join(f"{name} = {_filled(name, spec)}" for name, spec in zip(names, inputs, strict=True))
    call = ", ".join("mask=mask" if name == MASK else name for name in sorted(names, key=MASK.__eq__))
    module, _, owner = description["network"].get("class", "").rpartition(".")
    imported, given = (f"from {module} import {owner}\n", f", network={owner}") if owner else ("", "")
    name = _line(name)
    sentences = [f"{guarantee}.", reason, guarantee.note]
    return f"""---
{_metadata(name, numbers, license, description.get("targets")).to_yaml()}
---

{BEGIN}
# {_plain(name)}

An encoder with an invariant projection, exported by lightning-invariant. Its features are the same for all latents that
the group {_plain(guarantee.group)} moves into each other; how far that holds for inputs is measured below.

```python
import torch
from lightning_invariant import InvariantEncoder
{imported}
encoder = InvariantEncoder.from_pretrained("{repository}"{given})
{example}
features = encoder({call})  # invariant, shape (B, {description["features"]})
latents = encoder.latent({call})  # raw, shape (B, {description["latent_size"]}): the group moves them
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
{_picture(picture)}
{_table(numbers, description.get("targets"))}
{_training(training or {})}
Exported with {", ".join(f"{package} {version}" for package, version in versions.items())}.
{END}
"""


def _how(description: Mapping[str, Any], numbers: Mapping[str, float], *, onnx: bool) -> str:
    """How loading goes, and what else comes with the encoder."""
    lines = [
        "Loading executes and unpickles nothing: the network is an allow-listed graph, the weights are safetensors."
    ]
    if "class" in description["network"]:
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
    return f"torch.{fill}({sizes}, dtype=torch.{spec['dtype']})  # {what}, shape {_sizes(spec)}"


def _table(numbers: Mapping[str, float], targets: str | None) -> str:
    rows = [
        f"| {row} | {numbers[raw]:.4g} | {numbers[projected]:.4g} |"
        for row, (raw, projected) in _shown(numbers, targets).items()
        if all(math.isfinite(numbers.get(key, math.nan)) for key in (raw, projected))
    ]
    if not rows:
        return "Nothing was measured before this export."
    head = ["| on inputs moved at random | raw | projected |", "|---|---|---|"]
    return "\n".join([*head, *rows, "", READING])


def _training(settings: Mapping[str, str]) -> str:
    if not settings:
        return ""
    rows = [f"| {_plain(name)} | {_plain(str(value))} |" for name, value in settings.items()]
    return "\n".join(["", "## Training", "", "| setting | value |", "|---|---|", *rows, ""])


def _picture(picture: str | None) -> str:
    return f"\n![Raw beside projected latents]({picture})\n" if picture else ""


def _shown(numbers: Mapping[str, float], targets: str | None) -> dict[str, tuple[str, str]]:
    """Rows of the card's table: the logged raw and projected name of each.

    Probes are scored by what suits the targets; of values a mean absolute error is logged too.
    """
    rows = {}
    for words, probe in SCORES.items():
        score = SCORE_NAMES["values" if f"invariant/{probe}_mae" in numbers else targets or "classes"]
        rows[f"{words} {score}"] = (f"raw/{probe}", f"invariant/{probe}")
    return rows | {ERROR: ("raw/error", "invariant/error")}


def _metadata(name: str, numbers: Mapping[str, float], license: str | None, targets: str | None) -> ModelCardData:
    from huggingface_hub import EvalResult, ModelCardData

    results = [
        EvalResult(
            task_type="feature-extraction",
            dataset_type="validation",
            dataset_name=MEASURED_ON,
            metric_type=next(kind for words, kind in METRIC_TYPES.items() if metric.endswith(words)),
            metric_name=metric,
            metric_value=round(float(numbers[key]), 6),
        )
        for metric, (_, key) in _shown(numbers, targets).items()
        if metric != ERROR and math.isfinite(numbers.get(key, math.nan))
    ]
    return ModelCardData(
        license=license,
        library_name="lightning-invariant",
        tags=["lightning-invariant", "invariant-features", "equivariance", "safetensors"],
        pipeline_tag="feature-extraction",
        model_name=name,
        eval_results=results or None,
    )


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
