"""What objects of other libraries say about their symmetry. None is imported unless its object is already there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from lightning_invariant.guests import e3nn, escnn

if TYPE_CHECKING:
    from lightning_invariant.groups import Representation

__all__ = ["read_representation"]


def read_representation(source: Any) -> Representation | None:
    """Return the representation that an object of escnn or e3nn, or a layer built of them, states.

    Args:
        source: escnn's FieldType or GeometricTensor, e3nn's Irreps, or a layer with `out_type` or `irreps_out`; of an
            `nn.Sequential` the last layer is asked.

    Returns:
        None where it says nothing.

    Raises:
        GroupError: It says something that the notation has no word for.
    """
    for library in (escnn, e3nn):
        found = library.read(source)
        if found is not None:
            return found
    if isinstance(source, nn.Sequential) and len(source):
        return read_representation(source[-1])
    return None
