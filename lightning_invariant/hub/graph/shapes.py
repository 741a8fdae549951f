"""Shapes of the results of common operators, for tensors without storage.

PyTorch's own meta kernels are Python: the first call of one imports torch._dynamo and sympy, more than a second. These
rules give the same shapes and types for what most networks consist of; `None` sends an operator to PyTorch's kernel.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_SAME = """
relu silu gelu elu celu selu leaky_relu hardtanh hardswish hardsigmoid mish softplus log_sigmoid sigmoid tanh exp expm1
log log1p log2 log10 sqrt rsqrt sin cos erf neg square reciprocal floor ceil round sign tril triu alias
pow.Tensor_Scalar clamp clamp_min clamp_max mul.Scalar add.Scalar sub.Scalar div.Scalar threshold fill.Scalar
"""
_ALONG = "_softmax _log_softmax _safe_softmax cumsum flip"
_BINARY = "add.Tensor sub.Tensor mul.Tensor div.Tensor maximum minimum pow.Tensor_Tensor atan2"
_COMPARISONS = "eq ne lt le gt ge"
_OVER_DIMS = "mean.dim sum.dim_IntList amax amin logsumexp linalg_vector_norm"
_FACTORIES = "zeros ones empty.memory_format"


def result_of(op: str, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """What an operator gives, without storage, or None where no rule is at hand or something is unusual.

    Args:
        op: Such as "aten.addmm.default".
        args: Positional arguments, tensors on the meta device.
        kwargs: The other arguments.
    """
    if op in _RULES:
        return _RULES[op](*args, **kwargs)
    if _is_in_place(op) and isinstance(args[0], Tensor):
        others = [arg.shape for arg in args[1:] if isinstance(arg, Tensor)]
        return args[0] if op in _IN_PLACE and _broadcast(args[0].shape, *others) == list(args[0].shape) else None
    return None


def _is_in_place(op: str) -> bool:
    return op.split(".")[1].endswith("_")


def _broadcast(*shapes: Sequence[int]) -> list[int] | None:
    rank = max(map(len, shapes))
    out = [1] * rank
    for shape in shapes:
        for i, size in enumerate(shape, rank - len(shape)):
            if size != 1 and out[i] not in (1, size):
                return None
            out[i] = size if out[i] == 1 else out[i]
    return out


def _new(like: Tensor, shape: Sequence[int] | None, dtype: torch.dtype | None = None) -> Tensor | None:
    if shape is None or min(shape, default=0) < 0:
        return None
    return torch.empty(shape, dtype=dtype or like.dtype, device="meta")


def _like(x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Strides as those of x, where it fills its memory, as pointwise operators keep them."""
    dense = sum((size - 1) * stride for size, stride in zip(x.shape, x.stride(), strict=True)) + 1 == x.numel()
    if x.is_contiguous() or not dense:
        return torch.empty(x.shape, dtype=dtype or x.dtype, device="meta")
    return torch.empty_strided(x.shape, x.stride(), dtype=dtype or x.dtype, device="meta")


def _same(x: Tensor, *args: Any, **kwargs: Any) -> Tensor | None:
    plain = not any(isinstance(arg, Tensor) for arg in args) and all(value is None for value in kwargs.values())
    return _like(x) if x.is_floating_point() and plain else None


def _same_along(x: Tensor, dims: Any, *args: Any, **kwargs: Any) -> Tensor | None:
    return _same(x, *args, **kwargs) if _are_axes(x, dims) else None


def _roll(x: Tensor, shifts: list[int], dims: Sequence[int] = ()) -> Tensor | None:
    return _same(x) if _are_axes(x, dims) and len(shifts) == (len(dims) or 1) else None


def _are_axes(x: Tensor, dims: Any) -> bool:
    return all(-x.dim() <= d < x.dim() for d in (dims if isinstance(dims, (list, tuple)) else [dims]))


def _binary(x: Any, y: Any, **kwargs: Any) -> Tensor | None:
    if kwargs or not isinstance(x, Tensor):
        return None
    dtype = torch.result_type(x, y)
    if not dtype.is_floating_point:
        return None
    shape = _broadcast(x.shape, y.shape) if isinstance(y, Tensor) else list(x.shape)
    return _like(x, dtype) if shape == list(x.shape) else _new(x, shape, dtype)


def _compare(x: Tensor, y: Any) -> Tensor | None:
    return _new(x, _broadcast(x.shape, y.shape) if isinstance(y, Tensor) else x.shape, torch.bool)


def _clone(x: Tensor, *, memory_format: torch.memory_format | None = None) -> Tensor | None:
    if memory_format == torch.contiguous_format:
        return _new(x, x.shape)
    return _like(x) if memory_format in (None, torch.preserve_format) else None


def _to_copy(x: Tensor, *, dtype: torch.dtype | None = None, **kwargs: Any) -> Tensor | None:
    return _like(x, dtype) if kwargs.keys() <= {"device"} else None


def _masked_fill(x: Tensor, mask: Tensor, value: Any) -> Tensor | None:
    return _like(x) if _broadcast(x.shape, mask.shape) == list(x.shape) else None


def _scalar_tensor(value: Any, **kwargs: Any) -> Tensor | None:
    return _factory([], **kwargs)


def _arange(end: Any, **kwargs: Any) -> Tensor | None:
    return _factory([end], **({"dtype": torch.int64} | kwargs)) if type(end) is int else None


def _new_factory(x: Tensor, size: list[int], **kwargs: Any) -> Tensor | None:
    return _new(x, size) if kwargs.keys() <= {"device", "pin_memory"} else None


def _ordered(x: Tensor, dim: int = -1, descending: bool = False) -> tuple[Tensor, Tensor] | None:
    return (_like(x), _like(x, torch.int64)) if _are_axes(x, dim) else None


def _gather(x: Tensor, dim: int, index: Tensor) -> Tensor | None:
    if x.dim() != index.dim() or not _are_axes(x, dim) or index.dtype != torch.int64:
        return None
    inside = all(n <= size or i == dim % x.dim() for i, (n, size) in enumerate(zip(index.shape, x.shape, strict=True)))
    return _new(x, index.shape) if inside else None


def _index_select(x: Tensor, dim: int, index: Tensor) -> Tensor | None:
    if index.dim() != 1 or not -x.dim() <= dim < x.dim():
        return None
    return _new(x, [index.shape[0] if i == dim % x.dim() else size for i, size in enumerate(x.shape)])


def _embedding(weight: Tensor, index: Tensor, *rest: Any) -> Tensor | None:
    return _new(weight, [*index.shape, weight.shape[1]]) if weight.dim() == 2 else None


def _repeat(x: Tensor, repeats: list[int]) -> Tensor | None:
    sizes = [1] * (len(repeats) - x.dim()) + list(x.shape)
    return _new(x, [n * size for n, size in zip(repeats, sizes, strict=True)]) if len(repeats) >= x.dim() else None


def _pad(x: Tensor, pad: list[int], value: Any = 0) -> Tensor | None:
    if len(pad) % 2 or len(pad) > 2 * x.dim() or min(pad, default=0) < 0:
        return None
    sizes = list(x.shape)
    for i in range(len(pad) // 2):
        sizes[-1 - i] += pad[2 * i] + pad[2 * i + 1]
    return _new(x, sizes)


def _where(condition: Tensor, x: Tensor, y: Tensor) -> Tensor | None:
    return _new(x, _broadcast(condition.shape, x.shape, y.shape)) if x.dtype == y.dtype else None


def _over_dims(first: int) -> Callable[..., Tensor | None]:
    """A reduction whose axes are the argument at that place."""

    def rule(x: Tensor, *args: Any, **kwargs: Any) -> Tensor | None:
        rest = args[first:]
        dims, keep = (rest[0] if rest else None), (rest[1] if len(rest) > 1 else False)
        if not x.is_floating_point() or kwargs or len(rest) > 2 or not dims:
            return None
        if any(not -x.dim() <= d < x.dim() for d in dims):
            return None
        gone = {d % x.dim() for d in dims}
        return _new(x, [1 if i in gone else s for i, s in enumerate(x.shape) if keep or i not in gone])

    return rule


def _mm(x: Tensor, y: Tensor) -> Tensor | None:
    fits = x.dim() == y.dim() and x.shape[-1] == y.shape[-2] and x.shape[:-2] == y.shape[:-2] and x.dtype == y.dtype
    return _new(x, [*x.shape[:-1], y.shape[-1]]) if fits else None


def _addmm(bias: Tensor, x: Tensor, y: Tensor, **kwargs: Any) -> Tensor | None:
    out = None if kwargs or bias.dtype != x.dtype else _mm(x, y)
    return out if out is not None and _broadcast(bias.shape, out.shape) == list(out.shape) else None


def _convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    transposed: bool,
    output_padding: list[int],
    groups: int,
) -> Tensor | None:
    spatial = x.dim() - 2
    usual = not transposed and weight.dim() == x.dim() and x.dtype == weight.dtype and groups > 0
    if not usual or min([*stride, *dilation]) < 1 or min(padding) < 0:
        return None
    if x.shape[1] != weight.shape[1] * groups or weight.shape[0] % groups or not weight.numel():
        return None
    if bias is not None and (tuple(bias.shape) != (weight.shape[0],) or bias.dtype != x.dtype):
        return None
    settings = zip(*((v * spatial)[:spatial] if len(v) == 1 else v for v in (stride, padding, dilation)), strict=True)
    sizes = [
        (size + 2 * p - d * (kernel - 1) - 1) // s + 1
        for size, kernel, (s, p, d) in zip(x.shape[2:], weight.shape[2:], settings, strict=True)
    ]
    return _new(x, [x.shape[0], weight.shape[0], *sizes]) if min(sizes) > 0 else None


def _batch_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor | None,
    var: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
) -> tuple[Any, ...] | None:
    given = [t for t in (weight, bias, mean, var) if t is not None]
    if (mean is None or var is None) is not training or any(tuple(t.shape) != (x.shape[1],) for t in given):
        return None
    saved = [x.shape[1] if training else 0]
    return _like(x), _new(x, saved), _new(x, saved)


def _layer_norm(x: Tensor, shape: list[int], weight: Tensor | None, bias: Tensor | None, eps: float) -> Any:
    given = [t for t in (weight, bias) if t is not None]
    if list(x.shape[x.dim() - len(shape) :]) != shape or any(list(t.shape) != shape for t in given):
        return None
    kept = [*x.shape[: x.dim() - len(shape)], *[1] * len(shape)]
    return _new(x, x.shape), _new(x, kept), _new(x, kept)


def _group_norm(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, n: int, c: int, space: int, groups: int, eps: float
) -> Any:
    given = [t for t in (weight, bias) if t is not None]
    if x.numel() != n * c * space or groups < 1 or c % groups or any(tuple(t.shape) != (c,) for t in given):
        return None
    return _like(x), _new(x, [n, groups]), _new(x, [n, groups])


def _pooled(x: Tensor, kernel: list[int], stride: list[int], padding: list[int], ceil_mode: bool) -> Tensor | None:
    if ceil_mode or x.dim() != 4 or min(kernel) < 1 or min(padding) < 0:
        return None
    kernel, padding = (kernel * 2)[:2], (padding * 2)[:2]
    stride = (stride * 2)[:2] if stride else kernel
    if min(stride) < 1 or any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
        return None
    sizes = [(s + 2 * p - k) // t + 1 for s, p, k, t in zip(x.shape[2:], padding, kernel, stride, strict=True)]
    return _new(x, [*x.shape[:2], *sizes]) if min(sizes) > 0 else None


def _max_pool(
    x: Tensor,
    kernel: list[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0, 0),
    dilation: Sequence[int] = (1, 1),
    ceil_mode: bool = False,
) -> tuple[Tensor, Tensor] | None:
    out = _pooled(x, kernel, list(stride), list(padding), ceil_mode) if set(dilation) == {1} else None
    return None if out is None else (out, _like(out, torch.int64))


def _avg_pool(
    x: Tensor,
    kernel: list[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0, 0),
    ceil_mode: bool = False,
    *rest: Any,
) -> Tensor | None:
    return _pooled(x, kernel, list(stride), list(padding), ceil_mode)


def _cat(tensors: list[Tensor], dim: int = 0) -> Tensor | None:
    first = tensors[0]
    if not first.dim() or not -first.dim() <= dim < first.dim():
        return None
    dim %= first.dim()
    for t in tensors:
        others = t.dim() == first.dim() and [*t.shape[:dim], *t.shape[dim + 1 :]]
        if t.dtype != first.dtype or others != [*first.shape[:dim], *first.shape[dim + 1 :]]:
            return None
    return _new(first, [*first.shape[:dim], sum(t.shape[dim] for t in tensors), *first.shape[dim + 1 :]])


def _stack(tensors: list[Tensor], dim: int = 0) -> Tensor | None:
    first = tensors[0]
    if any(t.shape != first.shape or t.dtype != first.dtype for t in tensors) or not 0 <= dim <= first.dim():
        return None
    return _new(first, [*first.shape[:dim], len(tensors), *first.shape[dim:]])


def _reshaped(x: Tensor, shape: list[int]) -> Tensor | None:
    if shape.count(-1) == 1:
        known = math.prod(s for s in shape if s != -1)
        shape = [s if s != -1 else x.numel() // max(known, 1) for s in shape]
    return _new(x, shape) if math.prod(shape) == x.numel() else None


def _factory(size: list[int], **kwargs: Any) -> Tensor | None:
    if set(kwargs) - {"dtype", "device", "pin_memory", "layout"} or kwargs.get("layout") not in (None, torch.strided):
        return None
    return torch.empty(size, dtype=kwargs.get("dtype"), device="meta") if min(size, default=0) >= 0 else None


def _keyed(names: str, rule: Callable[..., Any]) -> dict[str, Callable[..., Any]]:
    return {f"aten.{name}" if "." in name else f"aten.{name}.default": rule for name in names.split()}


_RULES: dict[str, Callable[..., Any]] = {
    **_keyed(_SAME, _same),
    **_keyed(_ALONG, _same_along),
    "aten.roll.default": _roll,
    **_keyed(_BINARY, _binary),
    **{f"aten.{name}.{kind}": _compare for name in _COMPARISONS.split() for kind in ("Tensor", "Scalar")},
    **_keyed(_OVER_DIMS, _over_dims(0)),
    "aten.linalg_vector_norm.default": _over_dims(1),
    **_keyed(_FACTORIES, _factory),
    **_keyed("mm bmm", _mm),
    "aten.addmm.default": _addmm,
    "aten.where.self": _where,
    "aten.clone.default": _clone,
    "aten._to_copy.default": _to_copy,
    "aten.masked_fill.Scalar": _masked_fill,
    "aten.scalar_tensor.default": _scalar_tensor,
    "aten.arange.default": _arange,
    **_keyed("new_empty new_zeros new_ones", _new_factory),
    "aten.sort.default": _ordered,
    "aten.gather.default": _gather,
    "aten.index_select.default": _index_select,
    "aten.embedding.default": _embedding,
    "aten.repeat.default": _repeat,
    "aten.constant_pad_nd.default": _pad,
    "aten.convolution.default": _convolution,
    "aten.native_batch_norm.default": _batch_norm,
    "aten.native_layer_norm.default": _layer_norm,
    "aten.native_group_norm.default": _group_norm,
    "aten.max_pool2d_with_indices.default": _max_pool,
    "aten.avg_pool2d.default": _avg_pool,
    "aten.cat.default": _cat,
    "aten.stack.default": _stack,
    "aten._unsafe_view.default": _reshaped,
}
_IN_PLACE = frozenset(
    _keyed(
        "relu_ sigmoid_ tanh_ silu_ add_.Tensor sub_.Tensor mul_.Tensor copy_ zero_ fill_.Tensor fill_.Scalar", _same
    )
)
