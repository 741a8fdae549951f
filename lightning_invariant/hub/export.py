"""Writes a network's encoder, its projection and what was measured as an artefact directory."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import safetensors
import torch
from torch import Tensor, nn

import lightning_invariant
from lightning_invariant.errors import ArtifactError, GraphError
from lightning_invariant.hub.artifact import HEAD, NETWORK, PICTURE, PROJECTION, Artifact, check_target, write_artifact
from lightning_invariant.hub.card import model_card
from lightning_invariant.hub.class_network import class_description, class_state
from lightning_invariant.hub.description import describe
from lightning_invariant.hub.encoder import InvariantEncoder
from lightning_invariant.hub.graph import export_graph
from lightning_invariant.hub.graph.operators import DTYPE_NAMES
from lightning_invariant.hub.head import Head
from lightning_invariant.hub.masks import require_masked
from lightning_invariant.hub.onnx_model import onnx_model
from lightning_invariant.hub.readme import merged, read_card
from lightning_invariant.hub.weights import SHARD_BYTES
from lightning_invariant.metrics.certificate import Certificate, finite
from lightning_invariant.projections import Projection

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from jaxtyping import Float

    from lightning_invariant.hub.preprocessing import Preprocessing
    from lightning_invariant.probes import LinearModel
    from lightning_invariant.probes.probe import Kind


def export_encoder(
    folder: str | os.PathLike[str],
    network: nn.Module,
    projection: Projection,
    example: Tensor | tuple[Tensor, ...],
    *,
    dynamic: Sequence[Mapping[int, str]] | None = None,
    mask: int | None = None,
    arguments: Mapping[str, Any] | None = None,
    preprocessing: Preprocessing | None = None,
    head: LinearModel | None = None,
    labels: Sequence[str] | None = None,
    numbers: Mapping[str, float] | None = None,
    targets: Kind | None = None,
    samples: Mapping[str, int] | None = None,
    seed: int = 0,
    picture: bytes | None = None,
    onnx: bool = False,
    name: str | None = None,
    repository: str | None = None,
    license: str | None = None,
    training: Mapping[str, str] | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> InvariantEncoder:
    """Export, load what was written again, and compare before the old export is replaced.

    Args:
        folder: Empty, new, or an earlier export; replaced as a whole, files that are not ours stay.
        network: From inputs to latents in a layout of the projection's representation, in eval mode; left as it is.
        projection: From latents to features.
        example: A batch of at least two inputs on the network's device; several tensors as a tuple.
        dynamic: For each input its axes of any length, with names; axis 0 as "batch" if None. Two axes of one name
            have the same length.
        mask: Which of several inputs says, of padded sets, which points exist: booleans (B, n), which the projection
            gets too. None if there is none.
        arguments: JSON-able arguments that the network's class is built from. Where the network cannot be written
            without its class, class path and arguments are published instead; without them that is refused.
        preprocessing: From raw pixels to what the network takes, for whoever pulls the encoder.
        head: A probe fitted on the features, so that the encoder classifies or predicts.
        labels: Names for the head's classes or values; numbers if None.
        numbers: What was measured, by logged name; stands in the certificate and on the card.
        targets: What the probes among the numbers were asked for: "classes", "values" or "labels" (several a sample);
            None for classes.
        samples: How many samples that was measured on, by name.
        seed: Of the measurement.
        picture: PNG of raw beside projected latents.
        onnx: Whether `model.onnx` stands beside the other files, for programs without Python; needs the extra `onnx`.
        name: Of the model on its card; the folder's name if None.
        repository: "user/name" on the Hub for the card's loading snippet, where it is known.
        license: Identifier of a licence for the card, such as "apache-2.0"; None to choose none.
        training: Settings of the training for the card, by name.
        shard_bytes: Most bytes of tensors in one file.

    Returns:
        The encoder as loaded from what was written, on the CPU.

    Raises:
        ArtifactError: The folder cannot be written, the projection is not one of this package, the loaded encoder gives
            other features, or ONNX was asked for and cannot be written.
        LatentError: The network's latents do not fit the representation.
        GraphError: The network cannot be written as a class-free graph, and no arguments for its class are given.
    """
    check_target(folder)
    if Projection.registry.get(type(projection).__name__) is not type(projection):
        raise ArtifactError(
            f"Expected a projection of lightning_invariant but got {type(projection).__name__}; "
            "whoever pulls the encoder could not rebuild it."
        )
    inputs = example if isinstance(example, tuple) else (example,)
    require_masked([{"shape": list(x.shape), "dtype": DTYPE_NAMES.get(x.dtype)} for x in inputs], mask, projection)
    features, kind = _live_features(network, projection, inputs, mask)
    recorded = _record(network, projection, inputs, dynamic, arguments)
    probe = None if head is None else Head.from_probe(head, labels)
    tensors = {f"{NETWORK}{key}": tensor for key, tensor in recorded.tensors.items()}
    tensors |= {f"{PROJECTION}{key}": tensor.detach().cpu() for key, tensor in projection.state_dict().items()}
    tensors |= {} if probe is None else {f"{HEAD}{key}": tensor.detach() for key, tensor in probe.state_dict().items()}
    described = {
        **describe(recorded.inputs, DTYPE_NAMES[kind], projection),
        "network": recorded.description,
        "preprocessing": None if preprocessing is None else preprocessing.to_dict(),
        "head": None if probe is None else probe.config(),
        "mask": mask,
        "targets": targets,
    }
    measured = {key: float(value) for key, value in (numbers or {}).items()}
    certificate = Certificate(
        str(projection.representation),
        projection.config(),
        projection.guarantee,
        {key: finite(value) for key, value in measured.items()},
        dict(samples or {}),
        seed,
        _versions(),
    )
    artifact = Artifact(
        {"library": lightning_invariant.__version__} | described,
        recorded.graph,
        tensors,
        certificate.to_dict(),
    )
    made = type(network) if recorded.graph is None else None
    model = onnx_model(InvariantEncoder.from_artifact(artifact, network=made), inputs) if onnx else None
    loaded = []

    def check(fresh: Path) -> None:
        loaded.append(InvariantEncoder.from_pretrained(fresh, network=made))
        _require_equal(features, loaded[0].to(inputs[0].device), inputs)

    card = model_card(
        name or Path(folder).absolute().name or "encoder",
        description=described,
        guarantee=projection.guarantee,
        reason=projection.reason,
        numbers=measured,
        versions=_versions(),
        picture=PICTURE if picture else None,
        onnx=onnx,
        repository=repository or "path/or/repository",
        license=license,
        training=training,
    )
    text = merged(card, read_card(folder))
    write_artifact(folder, artifact, card=text, picture=picture, onnx=model, check=check, shard_bytes=shard_bytes)
    loaded[0].folder = Path(folder)
    return loaded[0].cpu()


class _Recorded(NamedTuple):
    """A network as it is written: its graph, or None and what its class needs."""

    description: dict[str, Any]
    inputs: list[dict[str, Any]]
    graph: dict[str, Any] | None
    tensors: dict[str, Tensor]


def _record(
    network: nn.Module,
    projection: Projection,
    example: tuple[Tensor, ...],
    dynamic: Sequence[Mapping[int, str]] | None,
    arguments: Mapping[str, Any] | None,
) -> _Recorded:
    try:
        recorded = export_graph(_Rows(network, projection), example, dynamic=dynamic)
    except GraphError as error:
        if arguments is None:
            raise GraphError(
                f"{error} With arguments= for its class, class path and weights are published instead."
            ) from error
        axes = [{0: "batch"} for _ in example] if dynamic is None else dynamic
        inputs = [
            {"shape": [named.get(axis, size) for axis, size in enumerate(x.shape)], "dtype": DTYPE_NAMES[x.dtype]}
            for x, named in zip(example, axes, strict=True)
        ]
        return _Recorded(class_description(network, arguments), inputs, None, class_state(network))
    return _Recorded({"kind": "graph"}, recorded.graph["inputs"], recorded.graph, recorded.tensors)


class _Rows(nn.Module):
    """The network with flat latents."""

    def __init__(self, network: nn.Module, projection: Projection) -> None:
        super().__init__()
        self.encoder = network
        self.flatten = projection.representation.flatten
        self.training = False

    def forward(self, *x: Tensor) -> Float[Tensor, "B D"]:
        """Latents as rows."""
        return self.flatten(self.encoder(*x))


def _live_features(
    network: nn.Module, projection: Projection, example: tuple[Tensor, ...], mask: int | None
) -> tuple[Float[Tensor, "B K"], torch.dtype]:
    if any(part.training for part in network.modules()):
        raise ArtifactError("Expected a network in eval mode but a part of it is in training mode; call .eval() first.")
    with torch.no_grad():
        latents = network(*(x.clone() for x in example))
        if not isinstance(latents, Tensor):
            raise ArtifactError(
                f"Expected a network that returns a tensor of latents but got {type(latents).__name__}; "
                "wrap it in a module that returns the latents alone."
            )
        place = next((tensor.device for tensor in projection.state_dict().values()), latents.device)
        beside = [] if mask is None else [example[mask].to(place)]
        return projection(latents.to(place), *beside), latents.dtype


def _require_equal(features: Tensor, loaded: InvariantEncoder, example: tuple[Tensor, ...]) -> None:
    with torch.no_grad():
        again = loaded(*example).to(features)
    if not torch.isfinite(features).all():
        raise ArtifactError("Expected finite features of the example but got NaN or infinity; nothing was written.")
    scale = features.abs().max().clamp_min(torch.finfo(features.dtype).tiny)
    difference = float((features - again).abs().max() / scale)
    if not difference <= (tolerance := torch.finfo(features.dtype).eps ** 0.5):
        raise ArtifactError(
            f"Expected the exported encoder to give the live features within {tolerance:.2g} but they differ by "
            f"{difference:.2g}, relative to the largest; nothing was written."
        )


def _versions() -> dict[str, str]:
    return {
        "lightning-invariant": lightning_invariant.__version__,
        "torch": str(torch.__version__),
        "safetensors": safetensors.__version__,
        "Python": platform.python_version(),
    }
