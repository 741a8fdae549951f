"""The quickest way to call an operator: PyTorch's own Python functions take half the time of `torch.ops`.

On small networks calls are what takes the time. Only functions that are no more than a door to the operator of the same
name are listed: given its arguments in its order, they call it and no other.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch

from lightning_invariant.hub.graph.values import Ref

if TYPE_CHECKING:
    from collections.abc import Callable

    from lightning_invariant.hub.graph.values import Node

_FUNCTIONS = """
abs acos asin atan ceil cos cosh erf exp expm1 floor log log1p log2 neg reciprocal relu round rsqrt sigmoid sign sin
sinh sqrt square tan tanh isfinite isnan celu selu clamp clamp_min clamp_max nan_to_num logical_not bitwise_not clone
add.Tensor sub.Tensor mul.Tensor div.Tensor rsub.Scalar pow.Tensor_Scalar pow.Tensor_Tensor maximum minimum atan2 hypot
eq.Tensor eq.Scalar ne.Tensor ne.Scalar lt.Tensor lt.Scalar le.Tensor le.Scalar gt.Tensor gt.Scalar ge.Tensor ge.Scalar
logical_and logical_or bitwise_and.Tensor bitwise_or.Tensor bitwise_xor.Tensor where.self where.ScalarOther
matmul mm bmm mv dot addmm baddbmm outer cdist conv1d conv2d conv3d batch_norm layer_norm group_norm instance_norm
max_pool2d reshape flatten.using_ints unflatten.int transpose.int permute unsqueeze squeeze.dim select.int narrow
diagonal cat stack chunk unbind.int roll flip gather index_select tril triu softmax.int log_softmax.int cumsum
amax amin sum.default sum.dim_IntList mean.default mean.dim any.dim all.dim logsumexp argmax sort topk
"""
_LAYERS = "linear gelu silu leaky_relu elu hardtanh avg_pool2d adaptive_avg_pool2d log_sigmoid softplus"
_ALGEBRA = "linalg_vector_norm linalg_eigvalsh linalg_svdvals linalg_inv linalg_det"
_TRANSFORMS = "fft_fft fft_ifft fft_rfft fft_irfft fft_fft2 fft_rfft2"
_METHODS = """
view expand repeat contiguous masked_fill.Scalar to.dtype type_as unfold
add_.Tensor sub_.Tensor mul_.Tensor div_.Tensor relu_ sigmoid_ tanh_ copy_ masked_fill_.Scalar fill_.Scalar
"""


@lru_cache(maxsize=1)
def _doors() -> dict[str, Callable[..., Any]]:
    core: Any = torch._C
    places = (
        (_FUNCTIONS, torch),
        (_LAYERS, core._nn),
        (_ALGEBRA, core._linalg),
        (_TRANSFORMS, core._fft),
        (_METHODS, torch.Tensor),
    )
    named = {name: getattr(place, name.partition(".")[0], None) for names, place in places for name in names.split()}
    doors = {f"aten.{name}" if "." in name else f"aten.{name}.default": door for name, door in named.items()}
    doors["sym.size"] = torch.Tensor.size
    return {name: door for name, door in doors.items() if callable(door)}


def quickest(node: Node) -> Callable[..., Any]:
    """The function that calls the operator of a node."""
    door = _doors().get(node.op)
    # A number in the place of a tensor is for the operator alone to understand.
    return node.target if door is None or not (node.args and _are_tensors(node.args[0])) else door


def _are_tensors(value: Any) -> bool:
    return isinstance(value, Ref) or (isinstance(value, list) and all(isinstance(v, Ref) for v in value))
