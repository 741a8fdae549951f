"""What objects of other libraries say about their symmetry. None is imported unless its object is already there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from lightning_invariant.guests import e3nn, escnn

if TYPE_CHECKING:
    from collections.abc import Callable

    from lightning_invariant.groups import Representation

__all__ = ["read_representation", "register_reader"]

_READERS: list[Callable[[Any], Representation | None]] = [escnn.read, e3nn.read]


def register_reader(read: Callable[[Any], Representation | None]) -> None:
    """Let another library's layers say how their latents transform.

    Args:
        read: Function of a layer, or of what it returns, that gives its representation, or None where it is no object
            of that library.
    """
    if read not in _READERS:
        _READERS.append(read)


def read_representation(source: Any) -> Representation | None:
    """Return the representation that an object of a known library, or a layer built of such objects, states.

    Args:
        source: escnn's FieldType or GeometricTensor, e3nn's Irreps, a layer with `out_type` or `irreps_out`, or what a
            registered reader knows; of an `nn.Sequential` the last layer is asked.

    Returns:
        None where it says nothing.

    Raises:
        GroupError: It says something that the notation has no word for.
    """
    for read in _READERS:
        found = read(source)
        if found is not None:
            return found
    if isinstance(source, nn.Sequential) and len(source):
        return read_representation(source[-1])
    return None
