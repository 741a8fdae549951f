"""Records a network as a class-free graph."""

from __future__ import annotations

import math
import operator
import reprlib
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram
from torch.export.graph_signature import InputKind

from lightning_invariant.artifact.graph.check import FORMAT_VERSION, check_graph
from lightning_invariant.artifact.graph.meta_run import MAX_BYTES
from lightning_invariant.artifact.graph.module import GraphModule
from lightning_invariant.artifact.graph.operators import (
    ALLOWED,
    DTYPE_NAMES,
    INTEGER_OPS,
    MEMORY_FORMAT_NAMES,
    OTHER_NAMES,
)
from lightning_invariant.artifact.graph.purity import written_roots
from lightning_invariant.errors import GraphError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_CUDNN_ROWS = 65_535
_SELF_CHECK_TOLERANCE = 1e-3
# Checks that the trace inserts; the loaded graph checks its inputs itself.
_TRACE_CHECKS = ("aten._assert_", "aten.sym_constrain_range")
# Identities in eval mode.
_DROPOUTS = frozenset(
    f"aten.{name}.default" for name in ("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout")
)
_END = 2**63 - 1
_INTEGER_NAMES = {function: name for name, (function, _) in INTEGER_OPS.items()}
_COMPARISONS = (operator.ge, operator.le, operator.gt, operator.lt, operator.eq, operator.ne, operator.and_)


class GraphArtifact(NamedTuple):
    """A network as JSON and contiguous CPU tensors, those of the network where they can be, tied ones once."""

    graph: dict[str, Any]
    tensors: dict[str, Tensor]


def export_graph(
    module: nn.Module,
    example: tuple[Tensor, ...],
    *,
    dynamic: Sequence[Mapping[int, str]] | None = None,
    max_bytes: int = MAX_BYTES,
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
        max_bytes: Most bytes of values that the network may need at one time, for the batch of the example.

    Raises:
        GraphError: If the network is in training mode, cannot be traced, or does what the format does not allow.
    """
    axes = [{0: "batch"} for _ in example] if dynamic is None else [dict(d) for d in dynamic]
    _check_request(module, example, axes)
    program = _trace(module, example, axes)
    recorded = _Encoder(program, example, axes).encode()
    written = written_roots(check_graph(recorded.graph).nodes)
    inputs = frozenset(int(root.key) for root in written if root.source == "input")
    if inputs and len(inputs) == len(written):
        # The network works in place on what it is given; the loaded one shall not change its caller's batch.
        recorded = _Encoder(program, example, axes, inputs).encode()
    _compare(module, GraphModule(*recorded, max_bytes), example, axes)
    return recorded


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
    # On CUDA eval-mode batch norm takes cuDNN up to this length and PyTorch's own kernel beyond: the trace has to
    # choose one, the graph does not.
    longest = max((x.shape[axis] for x, named in zip(example, axes, strict=True) for axis in named), default=0)
    most = _CUDNN_ROWS if longest <= _CUDNN_ROWS and any(x.is_cuda for x in example) else None
    dims = {name: Dim(name, min=1, max=most) for named in axes for name in named.values()}
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


def input_specs(example: tuple[Tensor, ...], axes: Sequence[Mapping[int, str]]) -> list[dict[str, Any]]:
    """Shape and dtype of inputs, with the names of axes of any length."""
    return [
        {"shape": [named.get(axis, size) for axis, size in enumerate(x.shape)], "dtype": DTYPE_NAMES[x.dtype]}
        for x, named in zip(example, axes, strict=True)
    ]


@contextmanager
def plain_attention() -> Iterator[None]:
    """Attention as it is traced, without the fused path, which gives other numbers where sets are padded."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


class _Positional(nn.Module):
    """Gives every network the same signature."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Tensor) -> Any:
        return self.network(*inputs)


def _compare(module: nn.Module, loaded: nn.Module, example: tuple[Tensor, ...], axes: list[dict[int, str]]) -> None:
    """Run both on the example and on another size: tracing may bake in what depends on the batch size.

    That is the first row; where inputs have no common rows, as nodes and edges of graphs, the example twice.
    """
    loaded = loaded.to(example[0].device)
    if len({named.get(0) for named in axes}) == 1:
        other = tuple(x[:1] if 0 in named else x for x, named in zip(example, axes, strict=True))
    else:
        other = tuple(torch.cat([x, x], dim=next(iter(named), 0)) for x, named in zip(example, axes, strict=True))
    for inputs in (example, other):
        with torch.no_grad(), plain_attention():
            want, got = module(*(x.clone() for x in inputs)), loaded(*inputs)
        if want.shape != got.shape or not torch.allclose(
            want, got, rtol=_SELF_CHECK_TOLERANCE, atol=_SELF_CHECK_TOLERANCE, equal_nan=True
        ):
            raise GraphError(
                f"Expected the graph to compute what the network does but on shapes "
                f"{[list(x.shape) for x in inputs]} it does not; remove branches on the batch size and state that "
                "changes."
            )


class _Encoder:
    """Turns one exported program, undecomposed, into the format of `check`; the graph copies some inputs before use."""

    def __init__(
        self,
        program: ExportedProgram,
        example: tuple[Tensor, ...],
        axes: list[dict[int, str]],
        copied: frozenset[int] = frozenset(),
    ) -> None:
        self.program, self.example, self.axes, self.copied = program, example, axes, copied
        self.values: dict[fx.Node, dict[str, Any]] = {}
        self.nodes: list[dict[str, Any]] = []
        self.dtype: torch.dtype | None = None
        self.lengths: dict[str, str] = {}

    def encode(self) -> GraphArtifact:
        tensors, kinds, aliases = self._placeholders()
        output = None
        for node in self.program.graph.nodes:
            if node.op == "output":
                output = self._output(node)
            elif node.op != "placeholder":
                self._call(node)
        columns = list(zip(self.example, self.axes, strict=True))
        specs = {
            name: {"shape": list(t.shape), "dtype": DTYPE_NAMES[t.dtype], "kind": kinds[name]}
            for name, t in tensors.items()
        }
        graph = {
            "format": FORMAT_VERSION,
            "torch": torch.__version__.partition("+")[0],
            "dtype": None if self.dtype is None else DTYPE_NAMES[self.dtype],
            "dims": {name: x.shape[axis] for x, named in columns for axis, name in named.items()},
            "inputs": input_specs(self.example, self.axes),
            "tensors": specs,
            "aliases": aliases,
            "nodes": self.nodes,
            "output": output,
        }
        return GraphArtifact(graph, tensors)

    def _placeholders(self) -> tuple[dict[str, Tensor], dict[str, str], dict[str, str]]:
        tensors: dict[str, Tensor] = {}
        kinds: dict[str, str] = {}
        aliases: dict[str, str] = {}
        first: dict[tuple[Any, ...], str] = {}
        floats: list[torch.dtype] = []
        placeholders = [node for node in self.program.graph.nodes if node.op == "placeholder"]
        inputs = 0
        for node, spec in zip(placeholders, self.program.graph_signature.input_specs, strict=True):
            if spec.kind == InputKind.USER_INPUT:
                self.values[node] = {"input": inputs}
                fake = node.meta["val"]
                self.lengths |= {str(fake.shape[axis]): name for axis, name in self.axes[inputs].items()}
                if inputs in self.copied:
                    self.values[node] = self._append("aten.clone.default", [{"input": inputs}], {})
                inputs += 1
                continue
            tensor = self._find(spec.target)
            name = str(spec.target).removeprefix("network.")
            # Tied weights are one tensor: same storage, place, shape and strides.
            place = tensor.untyped_storage().data_ptr(), tensor.storage_offset()
            identity = (*place, tuple(tensor.shape), tensor.stride(), tensor.dtype)
            if tensor.numel() and identity in first:
                aliases[name] = first[identity]
            else:
                first[identity] = name
                tensors[name] = tensor.detach().cpu().contiguous()
                kinds[name] = "buffer"
                if spec.kind == InputKind.PARAMETER:
                    # PyTorch picks kernels by requires_grad even without gradients, so the numbers depend on it.
                    kinds[name] = "parameter" if tensor.requires_grad else "frozen"
                if tensor.is_floating_point() and spec.kind == InputKind.PARAMETER:
                    floats.append(tensor.dtype)
            self.values[node] = {"tensor": first[identity] if tensor.numel() else name}
        buffers = [t.dtype for t in tensors.values() if t.is_floating_point()]
        self.dtype = next(iter(floats + buffers), None)
        # The graph may use fewer, as where a decoder stands behind the layer.
        used = {self.values[node].get("tensor") for node in placeholders if node.users}
        tensors = {name: tensor for name, tensor in tensors.items() if name in used}
        return tensors, kinds, {name: first for name, first in aliases.items() if first in used}

    def _find(self, target: str | None) -> Tensor:
        value = self.program.state_dict.get(str(target), self.program.constants.get(str(target)))
        plain = isinstance(value, Tensor) and value.layout == torch.strided and not value.is_quantized
        if not plain or value.dtype not in DTYPE_NAMES:
            raise GraphError(
                f"Expected plain tensors as weights and constants but got {target!r} of type "
                f"{type(value).__name__}; keep it out of the forward pass."
            )
        return value

    def _call(self, node: fx.Node) -> None:
        op = self._name(node)
        if op.startswith(_TRACE_CHECKS):
            return
        # A slice from the first to the last entry is what `x[:, 0]` makes.
        whole = op == "aten.slice.Tensor" and node.args[2:] in ((0, _END), (None, None), (0, None), (None, _END))
        if op in _DROPOUTS or op == "aten.detach_.default" or whole:
            if op in _DROPOUTS and True in node.args:
                raise GraphError(f"Expected a network in eval mode but {op} is active; let it follow self.training.")
            self.values[node] = self._value(node.args[0], op)
            return
        args = [self._value(value, op) for value in node.args]
        kwargs = {key: self._value(value, op) for key, value in node.kwargs.items() if not self._is_default(key, value)}
        if op == "aten.lift_fresh_copy.default":
            op = "aten.clone.default"
        if op not in ALLOWED and op != "getitem" and not op.startswith("sym."):
            raise GraphError(
                f"Expected operators of the allow-list but the network uses {op}; random, value-dependent and "
                "custom operators cannot be shipped without "
                "their class: replace it, or publish class path and weights instead."
            )
        self.values[node] = self._append(op, args, kwargs)

    def _name(self, node: fx.Node) -> str:
        target: Any = node.target
        if isinstance(target, torch._ops.OpOverload):
            own = {"aten.sym_size.int": "sym.size", "aten.sym_numel.default": "sym.numel"}
            return own.get(str(target), OTHER_NAMES.get(str(target), str(target)))
        if target is operator.getitem:
            return "getitem"
        if node.op == "call_function" and target in _INTEGER_NAMES:
            return _INTEGER_NAMES[target]
        if target in _COMPARISONS:
            return "aten._assert_comparison"
        raise GraphError(
            f"Expected tensor operators but the network uses {getattr(target, '__name__', target)}; autocast, "
            "enable_grad, checkpointing and control-flow blocks "
            "inside forward cannot be shipped: remove them, or publish class path and weights instead."
        )

    def _append(self, op: str, args: list[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
        self.nodes.append({"op": op, "args": args, "kwargs": kwargs})
        return {"node": len(self.nodes) - 1}

    @staticmethod
    def _is_default(key: str, value: Any) -> bool:
        return (key == "pin_memory" and not value) or (key == "layout" and value in (None, torch.strided))

    def _value(self, value: Any, op: str) -> Any:
        if isinstance(value, fx.Node):
            if value in self.values:
                return self.values[value]
        elif value is None or isinstance(value, (bool, int, str)):
            return value
        elif isinstance(value, float):
            return value if math.isfinite(value) else {"float": str(value)}
        elif isinstance(value, complex):
            return {"complex": [value.real, value.imag]}
        elif isinstance(value, (list, tuple)):
            return [self._value(inner, op) for inner in value]
        elif isinstance(value, torch.dtype) and value in DTYPE_NAMES:
            return {"dtype": "network" if value == self.dtype else DTYPE_NAMES[value]}
        elif isinstance(value, torch.device):
            return {"device": "input"}
        elif isinstance(value, torch.memory_format):
            return {"memory_format": MEMORY_FORMAT_NAMES[value]}
        raise GraphError(
            f"Expected tensors, numbers and names as arguments of {op} but got {type(value).__name__}; that part of "
            "the network cannot be shipped without its class."
        )

    def _output(self, node: fx.Node) -> dict[str, Any]:
        results: Any = node.args[0]
        spec = self.program.call_spec.out_spec
        if spec is None or not spec.is_leaf() or len(results) != 1 or not isinstance(results[0], fx.Node):
            raise GraphError(
                f"Expected a network that returns one tensor but got {len(results)} results in a container; return "
                "a tensor."
            )
        fake = results[0].meta["val"]
        hints = [size if isinstance(size, int) else self.lengths.get(str(size)) for size in fake.shape]
        if None in hints:
            raise GraphError(
                f"Expected an output whose axes are fixed or those of an input but got "
                f"{list(map(str, fake.shape))}; reshape it to one row for each input."
            )
        return {"value": self.values[results[0]], "shape": hints, "dtype": DTYPE_NAMES[fake.dtype]}
