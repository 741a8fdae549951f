"""What config.json says of an encoder, and whether that is true of the parts that came with it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_invariant.artifact.config import NO_KIND
from lightning_invariant.artifact.graph.meta_run import MAX_COUNT, count, tensors_in
from lightning_invariant.artifact.schema import MAX_SIDE, MAX_SIZE
from lightning_invariant.encoder.tables import load_tables
from lightning_invariant.errors import ArtifactError
from lightning_invariant.groups import Representation
from lightning_invariant.guarantee import Guarantee
from lightning_invariant.projections import Projection
from lightning_invariant.projections.base.templates import stored_templates

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lightning_invariant.artifact import Artifact

MAX_BYTES = 2**28
"""Largest single tensor that a projection is built from."""
MAX_OPERATORS = 100_000
"""Most operations that a projection is built with."""
FEW = 2**12
"""Operations on so few numbers, sizes included, are not looked at before they are done."""
_META = torch.device("meta")


def describe(inputs: Sequence[Mapping[str, Any]], dtype: str, projection: Projection) -> dict[str, Any]:
    """Return a JSON-able description of inputs, latents and projection."""
    size = projection.representation.size
    return {
        "inputs": [dict(spec) for spec in inputs],
        "latent": {"shape": [inputs[0]["shape"][0], size], "dtype": dtype},
        "latent_size": size,
        "features": projection.out_features,
        "representation": str(projection.representation),
        "projection": projection.config(),
        "guarantee": projection.guarantee.to_dict(),
    }


def rebuild_projection(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor] | None, certificate: Mapping[str, Any] | None = None
) -> Projection:
    """Build the projection that an untrusted configuration, which passed the schema, describes.

    It gets the tensors of the file where they are given, and its guarantee must hold what configuration and certificate
    claim.

    Raises:
        ArtifactError: Configuration and tensors do not fit together, more is claimed than holds, or the settings ask
            for more memory or computation than a projection should need.
    """
    try:
        with Limited():
            size = Representation.parse(config["representation"]).size
            _require(size == config["latent_size"], f"a representation of size {config['latent_size']}", str(size))
            named = config["projection"].get("representation")
            _require(named == config["representation"], f"a projection of {config['representation']!r}", named)
            _require(size < MAX_SIZE, "a latent of a size that a network gives", size)
            with stored_templates():
                projection = Projection.from_config(config["projection"])
            if tensors is not None:
                load_tables(projection, tensors)
        declared = Guarantee.from_dict(config["guarantee"])
        certified = declared if certificate is None else Guarantee.from_dict(certificate["guarantee"])
    except ArtifactError:
        raise
    except Exception as error:  # an untrusted configuration can fail anywhere on its way
        raise ArtifactError(
            f"Expected a projection that can be rebuilt but got {type(error).__name__}: {str(error)[:300]}; "
            "pull again, or install the version of lightning-invariant that exported it."
        ) from error
    stated = describe(config["inputs"], config["latent"]["dtype"], projection)
    for key in ("latent", "features", "representation"):
        _require(config[key] == stated[key], f"{key} {stated[key]}", config[key])
    for said in (declared, certified):
        for entry in claims_more(said, projection.guarantee):
            held = getattr(projection.guarantee, entry)
            _require(False, f"no more than {entry} {held} as the projection's guarantee", getattr(said, entry))
    return projection


def require_whole(artifact: Artifact) -> None:
    """Refuse an artefact whose graph, certificate and configuration speak of different inputs or outputs."""
    config, shape = artifact.config, artifact.config["inputs"][0]["shape"]
    if artifact.graph is not None:
        graph = artifact.graph
        _require(graph.get("inputs") == config["inputs"], f"inputs {config['inputs']}", "others in the graph")
        said = graph.get("output")
        output = {key: said.get(key) for key in ("shape", "dtype")} if isinstance(said, dict) else said
        _require(output == config["latent"], f"an output {config['latent']}", output)
    if config["network"]["kind"] == NO_KIND:
        _require(config["inputs"][0] == config["latent"], f"inputs {config['latent']}", config["inputs"])
    stored = config["preprocessing"]
    if stored is None or stored["size"] is None:
        return
    axes = shape[2:] if len(shape) == 4 else [None, None]
    for side, axis in zip(stored["size"], axes, strict=True):
        fits = side == axis if isinstance(axis, int) else side <= MAX_SIDE
        _require(fits, f"preprocessing to images of {axes} and at most {MAX_SIDE}", stored["size"])


def claims_more(declared: Guarantee, held: Guarantee) -> list[str]:
    """Which entries of a guarantee promise more than holds, and texts that say something else."""

    def exceeds(name: str) -> bool:
        said, holds = getattr(declared, name), getattr(held, name)
        # A smaller bound is the stronger claim; none at all claims nothing.
        return said is not None and (holds is None or said < holds * (1 - 1e-6))

    wrong = {
        "group": declared.group != held.group,
        "separation": declared.separation > held.separation,
        "invariance": declared.invariance == "exact" and held.invariance != "exact",
        "lipschitz": exceeds("lipschitz"),
        "distortion": exceeds("distortion"),
        "continuous": declared.continuous is not False and not held.continuous,
    }
    return [name for name, is_wrong in wrong.items() if is_wrong]


class Limited(TorchDispatchMode):
    """A context in which untrusted settings cannot ask for more memory or computation than a projection needs."""

    def __init__(self) -> None:
        super().__init__()
        self.count, self.operators = 0, 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # to skip it, PyTorch would import it

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        self.operators += 1
        if self.operators > MAX_OPERATORS:
            raise ArtifactError(
                f"Expected a projection that is built with at most {MAX_OPERATORS} operations but this one takes more; "
                "the settings are refused."
            )
        if not func.is_view and math.prod(_sizes([*args, *kwargs.values()])) > FEW:
            self._charge(func, args, kwargs)
        return func(*args, **kwargs)

    def _charge(self, func: Any, args: Any, kwargs: dict[str, Any]) -> None:
        away = {"device": _META} if any(a.name == "device" for a in func._schema.arguments) else {}
        try:
            bare = _bare(args)
            result = func(*bare, **(_bare(kwargs) | away))
        except (RuntimeError, NotImplementedError):  # its size depends on values, or the operator says what is wrong
            return
        largest = max((t.nbytes for t in tensors_in(result)), default=0)
        self.count += count(func, bare, kwargs, result)
        if largest > MAX_BYTES or self.count > MAX_COUNT:
            raise ArtifactError(
                f"Expected a projection that is built from at most {MAX_BYTES} bytes a tensor and {MAX_COUNT:.2g} "
                f"numbers but {func} goes beyond; the settings are refused."
            )


def _sizes(value: Any) -> Iterator[int]:
    if isinstance(value, Tensor):
        yield max(1, value.numel())
    elif isinstance(value, (int, float)):
        yield max(1, int(abs(value))) if math.isfinite(value) else 1
    elif isinstance(value, (list, tuple)):
        for entry in value:
            yield from _sizes(entry)


def _bare(value: Any) -> Any:
    if isinstance(value, Tensor):
        return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=_META)
    if isinstance(value, dict):
        return {key: _bare(inner) for key, inner in value.items()}
    return type(value)(map(_bare, value)) if type(value) in (list, tuple) else value


def _require(holds: bool, wanted: str, got: Any) -> None:
    if not holds:
        raise ArtifactError(f"Expected {wanted[:200]} in the artefact but got {str(got)[:200]}; export or pull again.")
