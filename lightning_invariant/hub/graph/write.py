"""Records a network as a class-free graph."""

from __future__ import annotations

import reprlib
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from lightning_invariant.errors import GraphError
from lightning_invariant.hub.graph.check import check_graph
from lightning_invariant.hub.graph.encode import encode_program
from lightning_invariant.hub.graph.purity import written_roots
from lightning_invariant.hub.graph.read import load_graph

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_SELF_CHECK_TOLERANCE = 1e-3


@dataclass(frozen=True)
class GraphArtifact:
    """A network as data.

    Args:
        graph: JSON-able description.
        tensors: Contiguous CPU tensors for safetensors; tied ones once.
    """

    graph: dict[str, Any]
    tensors: dict[str, Tensor]


def export_graph(
    module: nn.Module, example: tuple[Tensor, ...], *, dynamic: Sequence[Mapping[int, str]] | None = None
) -> GraphArtifact:
    """Record a network in eval mode as a class-free graph.

    The record holds shapes, operators, literals, weights and their names; it holds no class, source line, path or
    value of the example. Numbers equal those of the network bit for bit on the same machine, except where PyTorch
    takes a fused path that cannot be traced (`nn.TransformerEncoder` and `nn.MultiheadAttention` without gradients;
    `torch.backends.mha.set_fastpath_enabled(False)` switches it off).

    Args:
        module: Any network that takes tensors and returns one tensor; it is left as it is.
        example: Its inputs, each dynamic axis of length 2 or more.
        dynamic: For each input, its axes of any length with their names; axis 0 as "batch" unless told.

    Raises:
        GraphError: If the network is in training mode, cannot be traced, or does what the format does not allow.
    """
    axes = [{0: "batch"} for _ in example] if dynamic is None else [dict(d) for d in dynamic]
    _check_request(module, example, axes)
    program = _trace(module, example, axes)
    graph, tensors = encode_program(program, example, axes)
    written = written_roots(check_graph(graph).nodes)
    inputs = frozenset(int(root.key) for root in written if root.source == "input")
    if inputs and len(inputs) == len(written):
        # The network works in place on what it is given; the loaded one shall not change its caller's batch.
        graph, tensors = encode_program(program, example, axes, inputs)
    loaded = load_graph(graph, tensors)
    _compare(module, loaded, example, axes)
    return GraphArtifact(graph, tensors)


def _check_request(module: nn.Module, example: tuple[Tensor, ...], axes: list[dict[int, str]]) -> None:
    training = [name or "the network" for name, part in module.named_modules() if part.training]
    if training:
        raise GraphError(
            f"Expected a network in eval mode but {training[0]!r} is in training mode; call .eval() first."
        )
    if not isinstance(example, tuple) or not example or not all(isinstance(x, Tensor) for x in example):
        raise GraphError(
            f"Expected a tuple of tensors as example but got {reprlib.repr(example)}; wrap other arguments into the "
            "module."
        )
    if len(axes) != len(example):
        raise GraphError(
            f"Expected dynamic axes for {len(example)} inputs but got {len(axes)}; give one mapping for each input."
        )
    for i, (x, named) in enumerate(zip(example, axes, strict=True)):
        if any(axis >= x.dim() or x.shape[axis] < 2 for axis in named):
            raise GraphError(
                f"Expected dynamic axes {named} of length 2 or more in example {i} but got shape {tuple(x.shape)}; "
                "lengths of 1 cannot be told from constants."
            )


def _trace(module: nn.Module, example: tuple[Tensor, ...], axes: list[dict[int, str]]) -> ExportedProgram:
    dims = {name: Dim(name, min=1) for named in axes for name in named.values()}
    shapes = tuple({axis: dims[name] for axis, name in named.items()} for named in axes)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.export(_Positional(module).eval(), example, dynamic_shapes=(shapes,), strict=False)
    except Exception as error:
        message = " ".join(str(error).split())[:400]
        raise GraphError(
            f"Expected a network that torch.export can trace but got {type(error).__name__}: {message}; remove "
            "control flow that depends on values or on the "
            "batch size, or publish class path and weights instead."
        ) from error


class _Positional(nn.Module):
    """Gives every network the same signature."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Tensor) -> Any:
        return self.network(*inputs)


def _compare(module: nn.Module, loaded: nn.Module, example: tuple[Tensor, ...], axes: list[dict[int, str]]) -> None:
    """Run both on the example and on its first row: tracing may bake in what depends on the batch size."""
    loaded = loaded.to(example[0].device)
    firsts = tuple(x[:1] if 0 in named else x for x, named in zip(example, axes, strict=True))
    for inputs in (example, firsts):
        with torch.no_grad():
            want, got = module(*(x.clone() for x in inputs)), loaded(*inputs)
        if want.shape != got.shape or not torch.allclose(
            want, got, rtol=_SELF_CHECK_TOLERANCE, atol=_SELF_CHECK_TOLERANCE, equal_nan=True
        ):
            raise GraphError(
                f"Expected the graph to compute what the network does but on shapes "
                f"{[list(x.shape) for x in inputs]} it does not; remove branches on the batch size and state that "
                "changes."
            )
