"""Representations on the command line of Lightning: `--trainer.callbacks.representation="C4: 16 regular"`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

from lightning_invariant.groups import Representation


def accept_representations() -> None:
    """Have jsonargparse, where it is installed, read a representation wherever one is expected.

    It takes every argument for YAML, in which "C4: 16 regular" without quotes of its own is a mapping.
    """
    if find_spec("jsonargparse") is None:
        return
    from jsonargparse.typing import get_registered_type, register_type

    if get_registered_type(Representation) is None:
        register_type(Representation, str, read_representation)


def read_representation(value: str | Representation | Mapping[str, str]) -> Representation:
    """Return a representation, from what YAML made of its text.

    Raises:
        ParseError: It cannot be read.

    Example:
        >>> str(read_representation({"SO3": "8x0 + 4x1"}))
        'SO3: 8x0 + 4x1'
    """
    if isinstance(value, Mapping):
        value = " + ".join(f"{group}: {terms}" for group, terms in value.items())
    return Representation.parse(value)
