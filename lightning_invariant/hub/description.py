"""What config.json says of an encoder, and whether that is true of the parts that came with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lightning_invariant.errors import ArtifactError
from lightning_invariant.groups import Representation
from lightning_invariant.guarantee import Guarantee
from lightning_invariant.hub.artifact import PROJECTION
from lightning_invariant.hub.limits import Limited
from lightning_invariant.hub.tables import load_tables
from lightning_invariant.projections import Projection
from lightning_invariant.projections.templates import stored_templates

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lightning_invariant.hub.artifact import Artifact

MAX_SIDE = 4096
"""Largest height or width that images are resized to, where the network takes any."""


def describe(inputs: Sequence[Mapping[str, Any]], dtype: str, projection: Projection) -> dict[str, Any]:
    """JSON-able description of inputs, latents and projection.

    Args:
        inputs: Shape and dtype of each input; names stand for axes of any length.
        dtype: Of the latents.
        projection: From latents to features.
    """
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


def rebuild_projection(artifact: Artifact) -> Projection:
    """The projection that an untrusted artefact describes, with its own tensors, fitted to its graph.

    Raises:
        ArtifactError: Graph, configuration and tensors do not fit together, more is claimed than holds, or the
            settings ask for more memory or time than a projection should need.
    """
    config, latent = artifact.config, artifact.config["latent"]
    try:
        if artifact.graph is not None:
            _require(artifact.graph["inputs"] == config["inputs"], f"inputs {config['inputs']}", "others in the graph")
            output = {key: artifact.graph["output"][key] for key in ("shape", "dtype")}
            _require(output == latent, f"an output {latent}", output)
        with Limited():
            size = Representation.parse(config["representation"]).size
            _require(size == config["latent_size"], f"a representation of size {config['latent_size']}", str(size))
            named = config["projection"].get("representation")
            _require(named == config["representation"], f"a projection of {config['representation']!r}", named)
            _require(size < 2**24, "a latent of a size that a network gives", size)
            with stored_templates():
                projection = Projection.from_config(config["projection"])
            load_tables(projection, artifact.below(PROJECTION))
        declared = Guarantee.from_dict(config["guarantee"])
    except ArtifactError:
        raise
    except Exception as error:  # an untrusted configuration can fail anywhere on its way
        reason = str(error)[:300]
        raise ArtifactError(
            f"Expected a projection that can be rebuilt but got {type(error).__name__}: {reason}; "
            "pull again, or install the version of lightning-invariant that exported it."
        ) from error
    stated = describe(config["inputs"], latent["dtype"], projection)
    for key in ("latent", "features", "representation"):
        _require(config[key] == stated[key], f"{key} {stated[key]}", config[key])
    _require(_claims_no_more(declared, projection.guarantee), f"no more than '{projection.guarantee}'", f"'{declared}'")
    return projection


def require_fitting_size(config: Mapping[str, Any]) -> None:
    """Refuse preprocessing to images of another size than the network takes, or of any size where it takes any.

    Raises:
        ArtifactError: They would not fit, or be larger than `MAX_SIDE`.
    """
    stored, shape = config["preprocessing"], config["inputs"][0]["shape"]
    if stored is None or stored["size"] is None:
        return
    axes = shape[2:] if len(shape) == 4 else [None, None]
    for side, axis in zip(stored["size"], axes, strict=True):
        fits = side == axis if isinstance(axis, int) else side <= MAX_SIDE
        _require(fits, f"preprocessing to images of {axes} and at most {MAX_SIDE}", stored["size"])


def _claims_no_more(declared: Guarantee, held: Guarantee) -> bool:
    return (
        declared.group == held.group
        and declared.separation <= held.separation
        and (declared.invariance == "sampled" or held.invariance == "exact")
    )


def _require(holds: bool, wanted: str, got: Any) -> None:
    if not holds:
        raise ArtifactError(f"Expected {wanted[:200]} in the artefact but got {str(got)[:200]}; export or pull again.")
