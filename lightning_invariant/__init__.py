"""Invariant features from equivariant and augmented networks.

Names are imported when they are first used, so that importing the package loads neither Lightning nor the Hub's client.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_invariant.batch import BatchReader
    from lightning_invariant.callback import Export, HubExport, InvariantCallback
    from lightning_invariant.encoder import InvariantEncoder, export_encoder
    from lightning_invariant.evaluation import find_representation
    from lightning_invariant.groups import Representation
    from lightning_invariant.guarantee import Guarantee, Separation
    from lightning_invariant.orbit_layer import OrbitLayer
    from lightning_invariant.probes import KNN
    from lightning_invariant.projections import Projection, choose

__version__ = "0.2.0"

_HOMES = {
    "BatchReader": "batch",
    "Export": "callback",
    "Guarantee": "guarantee",
    "HubExport": "callback",
    "InvariantCallback": "callback",
    "InvariantEncoder": "encoder",
    "KNN": "probes",
    "OrbitLayer": "orbit_layer",
    "Projection": "projections",
    "Representation": "groups",
    "Separation": "guarantee",
    "choose": "projections",
    "export_encoder": "encoder",
    "find_representation": "evaluation",
}

__all__ = [
    "KNN",
    "BatchReader",
    "Export",
    "Guarantee",
    "HubExport",
    "InvariantCallback",
    "InvariantEncoder",
    "OrbitLayer",
    "Projection",
    "Representation",
    "Separation",
    "choose",
    "export_encoder",
    "find_representation",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
