"""Layers whose stride samples other pixels of a turned picture than of the picture."""

from __future__ import annotations

from typing import Any

from torch import nn


def uneven_strides(network: nn.Module, height: int) -> list[str]:
    """Names of layers that step over an input of this many pixels without ending at its border.

    A layer of kernel k, stride s and padding p samples the same pixels of a turned picture only where s divides
    height + 2 p - k. Sizes inside the network are not known here: each layer is tried with the input's height, whose
    halves are often as even as itself.

    Args:
        network: Whose modules have `stride`, `kernel_size` and `padding`, as those of torch and escnn do.
        height: Of the input, in pixels.

    Example:
        >>> uneven_strides(nn.Sequential(nn.Conv2d(1, 2, 3, stride=2, padding=1), nn.MaxPool2d(2)), height=8)
        ['0']
    """
    found = []
    for name, module in network.named_modules():
        kernel, stride, padding = (_last(getattr(module, key, None)) for key in ("kernel_size", "stride", "padding"))
        if stride and stride > 1 and kernel and (height + 2 * (padding or 0) - kernel) % stride:
            found.append(name)
    return found


def _last(value: Any) -> int | None:
    """The size along the last axis of a setting that may be a number or one a axis."""
    if isinstance(value, (tuple, list)) and value:
        value = value[-1]
    return value if isinstance(value, int) else None
