"""Whether inputs are those that a network was exported with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from lightning_invariant.errors import GraphError
from lightning_invariant.hub.graph.operators import DTYPES

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from lightning_invariant.hub.graph.values import TensorSpec


def check_inputs(
    inputs: Sequence[Any], specs: Sequence[TensorSpec], exported: torch.dtype | None, dtype: torch.dtype | None
) -> dict[str, int]:
    """Refuse inputs of another number, type, rank or size; named axes have any length, the same wherever they stand.

    Args:
        inputs: What the caller gave.
        specs: As exported.
        exported: The network's floating type at its export.
        dtype: Its floating type now, which inputs of that type follow.

    Returns:
        Lengths of the named axes.

    Raises:
        GraphError: The first input that does not fit, and what to do.
    """
    if len(inputs) != len(specs):
        raise GraphError(
            f"Expected {len(specs)} input tensors but got {len(inputs)}; pass what the network was exported with."
        )
    lengths: dict[str, int] = {}
    for i, (tensor, spec) in enumerate(zip(inputs, specs, strict=True)):
        if not isinstance(tensor, Tensor):
            raise GraphError(
                f"Expected a tensor as input {i} but got {type(tensor).__name__}; convert it with torch.as_tensor."
            )
        wanted = DTYPES[spec.dtype]
        wanted = dtype if wanted == exported else wanted
        if tensor.dtype != wanted:
            raise GraphError(
                f"Expected input {i} of dtype {wanted} but got {tensor.dtype}; convert it with .to({wanted})."
            )
        fits = tensor.dim() == len(spec.shape) and all(
            size == (lengths.setdefault(want, size) if isinstance(want, str) else want)
            for size, want in zip(tensor.shape, spec.shape, strict=True)
        )
        if not fits:
            raise GraphError(
                f"Expected input {i} of shape {list(spec.shape)} but got {list(tensor.shape)}; reshape it, "
                "names stand for any length."
            )
    return lengths
