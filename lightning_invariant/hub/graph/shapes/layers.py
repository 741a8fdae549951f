"""Rules of the layers of networks: products, convolutions, norms, pools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lightning_invariant.hub.graph.shapes.results import broadcast, keyed, like, new

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def _mm(x: Tensor, y: Tensor) -> Tensor | None:
    fits = x.dim() == y.dim() and x.shape[-1] == y.shape[-2] and x.shape[:-2] == y.shape[:-2] and x.dtype == y.dtype
    return new(x, [*x.shape[:-1], y.shape[-1]]) if fits else None


def _addmm(bias: Tensor, x: Tensor, y: Tensor, **kwargs: Any) -> Tensor | None:
    out = None if kwargs or bias.dtype != x.dtype else _mm(x, y)
    return out if out is not None and broadcast(bias.shape, out.shape) == list(out.shape) else None


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
    return new(x, [x.shape[0], weight.shape[0], *sizes]) if min(sizes) > 0 else None


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
    return like(x), new(x, saved), new(x, saved)


def _layer_norm(x: Tensor, shape: list[int], weight: Tensor | None, bias: Tensor | None, eps: float) -> Any:
    given = [t for t in (weight, bias) if t is not None]
    if list(x.shape[x.dim() - len(shape) :]) != shape or any(list(t.shape) != shape for t in given):
        return None
    kept = [*x.shape[: x.dim() - len(shape)], *[1] * len(shape)]
    return new(x, x.shape), new(x, kept), new(x, kept)


def _group_norm(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, n: int, c: int, space: int, groups: int, eps: float
) -> Any:
    given = [t for t in (weight, bias) if t is not None]
    if x.numel() != n * c * space or groups < 1 or c % groups or any(tuple(t.shape) != (c,) for t in given):
        return None
    return like(x), new(x, [n, groups]), new(x, [n, groups])


def _pooled(x: Tensor, kernel: list[int], stride: list[int], padding: list[int], ceil_mode: bool) -> Tensor | None:
    if ceil_mode or x.dim() != 4 or min(kernel) < 1 or min(padding) < 0:
        return None
    kernel, padding = (kernel * 2)[:2], (padding * 2)[:2]
    stride = (stride * 2)[:2] if stride else kernel
    if min(stride) < 1 or any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
        return None
    sizes = [(s + 2 * p - k) // t + 1 for s, p, k, t in zip(x.shape[2:], padding, kernel, stride, strict=True)]
    return new(x, [*x.shape[:2], *sizes]) if min(sizes) > 0 else None


def _max_pool(
    x: Tensor,
    kernel: list[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0, 0),
    dilation: Sequence[int] = (1, 1),
    ceil_mode: bool = False,
) -> tuple[Tensor, Tensor] | None:
    out = _pooled(x, kernel, list(stride), list(padding), ceil_mode) if set(dilation) == {1} else None
    return None if out is None else (out, like(out, torch.int64))


def _avg_pool(
    x: Tensor,
    kernel: list[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0, 0),
    ceil_mode: bool = False,
    *rest: Any,
) -> Tensor | None:
    return _pooled(x, kernel, list(stride), list(padding), ceil_mode)


def _embedding(weight: Tensor, index: Tensor, *rest: Any) -> Tensor | None:
    return new(weight, [*index.shape, weight.shape[1]]) if weight.dim() == 2 else None


RULES: dict[str, Callable[..., Any]] = {
    **keyed("mm bmm", _mm),
    "aten.addmm.default": _addmm,
    "aten.convolution.default": _convolution,
    "aten.native_batch_norm.default": _batch_norm,
    "aten.native_layer_norm.default": _layer_norm,
    "aten.native_group_norm.default": _group_norm,
    "aten.max_pool2d_with_indices.default": _max_pool,
    "aten.avg_pool2d.default": _avg_pool,
    "aten.embedding.default": _embedding,
}
