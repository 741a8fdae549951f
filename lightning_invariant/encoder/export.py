"""Writes a network's encoder, its projection and what was measured as an artefact directory."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors
import torch
from torch import Tensor, nn

import lightning_invariant
from lightning_invariant.artifact.card import Card, model_card
from lightning_invariant.artifact.config import HEAD, NETWORK, NO_KIND, PROJECTION, Artifact
from lightning_invariant.artifact.folder import Beside, check_target, read_artifact, write_artifact
from lightning_invariant.artifact.graph import MAX_BYTES, export_graph
from lightning_invariant.artifact.graph.operators import DTYPE_NAMES
from lightning_invariant.artifact.graph.record import input_specs
from lightning_invariant.artifact.readme import merged, read_card
from lightning_invariant.artifact.schema import LONGEST_REASON
from lightning_invariant.encoder.class_network import class_description, class_state
from lightning_invariant.encoder.description import describe
from lightning_invariant.encoder.encoder import InvariantEncoder
from lightning_invariant.encoder.masks import require_masked
from lightning_invariant.encoder.onnx_model import onnx_model
from lightning_invariant.encoder.parity_check import live_features, require_close
from lightning_invariant.errors import ArtifactError, GraphError
from lightning_invariant.guests import escnn_modules
from lightning_invariant.metrics.certificate import Certificate, finite
from lightning_invariant.projections import Projection

if TYPE_CHECKING:
    import os

    from jaxtyping import Float

    from lightning_invariant.encoder.head import Head
    from lightning_invariant.encoder.preprocessing import Preprocessing
    from lightning_invariant.probes.probe import Kind


@dataclass(frozen=True)
class Measurements:
    """What was measured before the export; it stands in the certificate and on the card.

    Args:
        numbers: Values by logged name.
        targets: What the probes among the numbers were asked for: "classes", "values" or "labels" (several a sample);
            None for classes.
        samples: How many samples that was measured on, by name.
        seed: Seed of the measurement.
        missing: Numbers that could not be measured, by name, with the reason.
    """

    numbers: Mapping[str, float] = field(default_factory=dict)
    targets: Kind | None = None
    samples: Mapping[str, int] = field(default_factory=dict)
    seed: int = 0
    missing: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ExportOptions:
    """What the network takes, and what goes with it.

    Args:
        head: A probe fitted on the features (`Head.from_probe`), so that the encoder classifies or predicts.
        dynamic: For each input its axes of any length, with names; axis 0 as "batch" if None. Two axes of one name
            have the same length.
        mask: Which of several inputs says, of padded sets, which points exist: booleans (B, n), which the projection
            gets too. None if there is none.
        preprocessing: From raw pixels to what the network takes, for whoever pulls the encoder.
        arguments: JSON-able arguments that the network's class is built from. Where the network cannot be written
            without its class, class path and arguments are published instead; without them that is refused.
        onnx: Whether to write `model.onnx` too, for programs without Python; needs the extra `onnx`.
        max_bytes: Most bytes of values that the network may need at one time, for the batch of the example.
    """

    head: Head | None = None
    dynamic: Sequence[Mapping[int, str]] | None = None
    mask: int | None = None
    preprocessing: Preprocessing | None = None
    arguments: Mapping[str, Any] | None = None
    onnx: bool = False
    max_bytes: int = MAX_BYTES


def export_encoder(
    folder: str | os.PathLike[str],
    network: nn.Module,
    projection: Projection,
    example: Tensor | tuple[Tensor, ...],
    *,
    measured: Measurements | None = None,
    card: Card | None = None,
    options: ExportOptions | None = None,
) -> InvariantEncoder:
    """Export, load what was written again, and compare before the old export is replaced.

    Args:
        folder: Empty, new, or an earlier export; replaced as a whole, files that are not ours stay.
        network: From inputs to latents in a layout of the projection's representation, in eval mode; left as it is.
        projection: From latents to features.
        example: A batch of at least two inputs on the network's device; several tensors as a tuple.
        measured: What was measured.
        card: Name, licence and more for the model card.
        options: Head, mask, preprocessing, ONNX and more.

    Returns:
        The encoder as loaded from what was written, on the CPU.

    Raises:
        ArtifactError: The folder cannot be written, the projection is not one of this package, the loaded encoder gives
            other features, or ONNX was asked for and cannot be written.
        LatentError: The network's latents do not fit the representation.
        GraphError: The network cannot be written as a class-free graph, and no arguments for its class are given.
    """
    measured, card, options = measured or Measurements(), card or Card(), options or ExportOptions()
    check_target(folder)
    _require_known(projection)
    columns = example if isinstance(example, tuple) else (example,)
    specs = [{"shape": list(x.shape), "dtype": DTYPE_NAMES.get(x.dtype)} for x in columns]
    require_masked(specs, options.mask, projection)
    if any(part.training for part in network.modules()):
        raise ArtifactError("Expected a network in eval mode but a part of it is in training mode; call .eval() first.")
    features, kind = live_features(network, projection, columns, options.mask)
    description, inputs, graph, weights = _record(network, projection, columns, options)
    preprocessing = options.preprocessing
    config = {
        **describe(inputs, DTYPE_NAMES[kind], projection),
        "network": description,
        "preprocessing": None if preprocessing is None else preprocessing.to_dict(),
        "mask": options.mask,
    }
    beside = _artifact(config, projection, options.head, measured, card)
    tensors = {f"{NETWORK}{key}": tensor for key, tensor in weights.items()}
    artifact = Artifact(beside.config, graph, {**tensors, **beside.tensors}, beside.certificate)
    built = {"network": type(network) if graph is None else None, "max_bytes": options.max_bytes}
    model = onnx_model(InvariantEncoder.from_artifact(artifact, **built), columns) if options.onnx else None
    loaded = []

    def check(fresh: Path) -> None:
        # The folder is our own and new, so that its files can be mapped.
        loaded.append(InvariantEncoder.from_artifact(read_artifact(fresh, mapped=True), **built))
        with torch.no_grad():
            require_close("the example", loaded[0].to(columns[0].device)(*columns), features)

    write_artifact(folder, artifact, _beside(folder, artifact, projection, measured, card, model), check=check)
    loaded[0].folder = Path(folder)
    return loaded[0].cpu()


def export_projection(
    folder: str | os.PathLike[str],
    projection: Projection,
    *,
    head: Head | None = None,
    measured: Measurements | None = None,
    card: Card | None = None,
) -> InvariantEncoder:
    """Export a projection alone, for an encoder that lives elsewhere: `from_pretrained(name).projection`.

    Args:
        folder: Empty, new, or an earlier export.
        projection: From latents to features.
        head: A probe fitted on the features.
        measured: What was measured.
        card: `Card(base_model=...)` names the encoder that gives the latents.

    Returns:
        What was written, as loaded: it takes flat latents in the place of inputs.

    Raises:
        ArtifactError: The folder cannot be written, or the projection is not one of this package.
    """
    measured, card = measured or Measurements(), card or Card()
    _require_known(projection)
    spec = {"shape": ["batch", projection.representation.size], "dtype": "float32"}
    config = {**describe([spec], "float32", projection), "network": {"kind": NO_KIND}, "preprocessing": None}
    artifact = _artifact(config, projection, head, measured, card)
    beside = _beside(folder, artifact, projection, measured, card, None)
    write_artifact(folder, artifact, beside, check=lambda fresh: (InvariantEncoder.from_pretrained(fresh), None)[1])
    return InvariantEncoder.from_pretrained(folder)


def _artifact(
    config: Mapping[str, Any], projection: Projection, head: Head | None, measured: Measurements, card: Card
) -> Artifact:
    """What is written beside the network."""
    tensors = {f"{PROJECTION}{key}": tensor.detach().cpu() for key, tensor in projection.state_dict().items()}
    tensors |= {} if head is None else {f"{HEAD}{key}": tensor.detach() for key, tensor in head.state_dict().items()}
    certificate = Certificate(
        str(projection.representation),
        projection.config(),
        projection.guarantee,
        {key: finite(float(value)) for key, value in measured.numbers.items()},
        dict(measured.samples),
        measured.seed,
        _versions(),
        {key: reason[:LONGEST_REASON] for key, reason in measured.missing.items()},
    )
    described = {
        "library": lightning_invariant.__version__,
        **config,
        "head": None if head is None else head.config(),
        "targets": measured.targets,
        "base_model": card.base_model,
    }
    return Artifact(described, None, tensors, certificate.to_dict())


def _beside(
    folder: str | os.PathLike[str],
    artifact: Artifact,
    projection: Projection,
    measured: Measurements,
    card: Card,
    onnx: bytes | None,
) -> Beside:
    card = replace(card, name=card.name or Path(folder).absolute().name)
    numbers = {key: float(value) for key, value in measured.numbers.items()}
    said = {"onnx": onnx is not None, "missing": measured.missing}
    text = model_card(card, artifact.config, projection, numbers, _versions(), **said)
    return Beside(merged(text, read_card(folder)), card.figure, onnx)


def _record(
    network: nn.Module, projection: Projection, example: tuple[Tensor, ...], options: ExportOptions
) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any] | None, dict[str, Tensor]]:
    """What is written of a network: its description, inputs, graph, or None where its class is needed, and tensors."""
    dynamic = options.dynamic
    try:
        with torch.no_grad():
            traced = escnn_modules.plain(_Rows(network, projection))
        recorded = export_graph(traced, example, dynamic=dynamic, max_bytes=options.max_bytes)
    except GraphError as error:
        if options.arguments is None:
            raise GraphError(
                f"{error} With ExportOptions(arguments=...) for its class, its path and weights are published instead."
            ) from error
        axes = [{0: "batch"} for _ in example] if dynamic is None else dynamic
        described = class_description(network, options.arguments)
        return described, input_specs(example, axes), None, class_state(network)
    return {"kind": "graph"}, recorded.graph["inputs"], recorded.graph, recorded.tensors


class _Rows(nn.Module):
    """The network with flat latents."""

    def __init__(self, network: nn.Module, projection: Projection) -> None:
        super().__init__()
        self.encoder = network
        self.flatten = projection.representation.flatten
        self.training = False

    def forward(self, *x: Tensor) -> Float[Tensor, "B D"]:
        """Latents as rows."""
        return self.flatten(escnn_modules.plain_output(self.encoder(*x)))


def _require_known(projection: Projection) -> None:
    if Projection.registry.get(type(projection).__name__) is not type(projection):
        raise ArtifactError(
            f"Expected a registered projection but got {type(projection).__name__}, which nobody who pulls the encoder "
            "could rebuild; declare it as class Name(Projection, register=True)."
        )


def _versions() -> dict[str, str]:
    return {
        "lightning-invariant": lightning_invariant.__version__,
        "torch": str(torch.__version__),
        "safetensors": safetensors.__version__,
        "Python": platform.python_version(),
    }
