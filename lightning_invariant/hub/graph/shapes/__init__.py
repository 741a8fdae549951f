"""Shapes of the results of common operators, for tensors without storage.

PyTorch's own meta kernels are Python: the first call of one imports torch._dynamo and sympy, more than a second. These
rules give the same shapes and types for what most networks consist of; `None` sends an operator to PyTorch's kernel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from lightning_invariant.hub.graph.shapes import layers, layouts, pointwise, reductions
from lightning_invariant.hub.graph.shapes.results import broadcast

if TYPE_CHECKING:
    from collections.abc import Sequence

_RULES = {**pointwise.RULES, **reductions.RULES, **layers.RULES, **layouts.RULES}


def result_of(op: str, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """What an operator gives, without storage, or None where no rule is at hand or something is unusual.

    Args:
        op: Such as "aten.addmm.default".
        args: Positional arguments, tensors on the meta device.
        kwargs: The other arguments.
    """
    if op in _RULES:
        return _RULES[op](*args, **kwargs)
    if op in pointwise.IN_PLACE and isinstance(args[0], Tensor):
        others = [arg.shape for arg in args[1:] if isinstance(arg, Tensor)]
        return args[0] if broadcast(args[0].shape, *others) == list(args[0].shape) else None
    return None
