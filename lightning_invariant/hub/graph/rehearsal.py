"""Runs a checked graph on tensors without storage: what loads is consistent, and of sane size.

Every operator that the graph's operators consist of is seen with its real sizes before one byte is allocated, so that
neither a result nor what an einsum or a recurrent layer makes on the way can be huge.
"""

from __future__ import annotations

import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from lightning_invariant.errors import GraphError
from lightning_invariant.hub.graph.budget import Need, limit_of, workspace
from lightning_invariant.hub.graph.costs import nanoseconds
from lightning_invariant.hub.graph.guards import guarded
from lightning_invariant.hub.graph.operators import DTYPES
from lightning_invariant.hub.graph.shapes import result_of
from lightning_invariant.hub.graph.values import Ambient, CheckedGraph, Ref, TensorSpec, resolve

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_AXIS_OF_LIST = 2**16
MAX_SECONDS = 4.0
_UNCHECKED_AXES = frozenset({"aten._softmax.default", "aten._log_softmax.default", "aten.sort.default"})


def rehearse(
    checked: CheckedGraph,
    lengths: Mapping[str, int] | None = None,
    dtype: torch.dtype | None = None,
    limit: Need | None = None,
) -> Need:
    """Refuse a graph whose operations do not fit together or that would need much memory or time.

    Args:
        checked: The graph.
        lengths: Of its dynamic axes; those that it names if None.
        dtype: Floating type of the network; as exported if None.
        limit: What it may need; `limit_of` if None.

    Returns:
        What it needs.

    Raises:
        GraphError: An operation fails, is too large, or depends on values; the output is not what the graph says.
    """
    limit = limit_of(checked) if limit is None else limit
    sizes = checked.dims if lengths is None else {**checked.dims, **lengths}
    exported = None if checked.dtype is None else DTYPES[checked.dtype]
    made = _Specs(sizes, exported, dtype or exported)
    until = time.monotonic() + MAX_SECONDS
    with _disable_current_modes():
        try:
            return _run(checked, made, _Watch(limit, until, ruled=True))
        except _TooLongError:
            raise
        except GraphError:
            # Our rules know shapes but not every memory layout; PyTorch's own kernels have the last word.
            return _run(checked, made, _Watch(limit, until, ruled=False))


class _TooLongError(GraphError):
    """A graph that takes too long to check."""


class _Watch(TorchDispatchMode):
    """Gives operators their shapes by rule where there is one, and looks at the size of every result."""

    def __init__(self, limit: Need, until: float, *, ruled: bool) -> None:
        super().__init__()
        self.limit, self.until, self.ruled, self.where = limit, until, ruled, ""
        self.value, self.extra, self.time = 0, 0, 0.0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # to skip it, PyTorch would import it

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if _takes_device(func):
            kwargs["device"] = torch.device("meta")  # a factory that names no device would allocate
        self.require_few(func, args)
        self.require_axis(str(func), args)
        result = None
        if not func.is_view:
            result = result_of(str(func), args, kwargs) if self.ruled else None
        if result is None:
            result = func(*args, **kwargs)
        if not func.is_view:
            for tensor in _tensors(result):
                self.require_sane(tensor)
            self.charge(str(func), args, result)
        if time.monotonic() > self.until:
            raise _TooLongError(
                f"Expected a graph that is checked within {MAX_SECONDS:.0f} s but {self.where} is beyond; the graph "
                "is refused."
            )
        return result

    def require_few(self, func: Any, args: Any) -> None:
        """Refuse to take an axis of great length apart: even views of its entries fill the memory."""
        returns, first = func._schema.returns, args[0] if args else None
        pieces = len(returns) == 1 and str(returns[0].type) != "Tensor"
        if pieces and isinstance(first, Tensor) and max(first.shape, default=0) > MAX_AXIS_OF_LIST:
            raise GraphError(
                f"Expected at most {MAX_AXIS_OF_LIST} entries along an axis that {self.where} takes apart but got "
                f"{max(first.shape)}; the graph is refused."
            )

    def require_axis(self, op: str, args: Any) -> None:
        """Refuse an axis that the tensor has not: without storage, these kernels take any."""
        if op in _UNCHECKED_AXES and len(args) > 1 and not -max(args[0].dim(), 1) <= args[1] < max(args[0].dim(), 1):
            raise GraphError(
                f"Expected an axis of {args[0].dim()} but {self.where} goes along {args[1]}; the graph is refused."
            )

    def charge(self, op: str, args: Any, result: Any) -> None:
        """Add up what the operator takes beside its result, and its time."""
        self.extra = max(self.extra, workspace(op, args, result))
        self.time += nanoseconds(op, args, result)
        if self.time > self.limit.time:
            raise GraphError(
                f"Expected at most {self.limit.time / 1e9:.3g} s of one core but {self.where} goes beyond; the "
                "graph is refused."
            )

    def require_sane(self, tensor: Tensor) -> None:
        """Refuse a result that is too large."""
        size = tensor.numel() * tensor.element_size()
        self.value = max(self.value, size)
        if size > self.limit.value:
            raise GraphError(
                f"Expected values of at most {self.limit.value} bytes but {self.where} makes one of shape "
                f"{list(tensor.shape)}; the graph is refused."
            )


class _Memory:
    """Bytes of the results that a later operation still needs."""

    def __init__(self, checked: CheckedGraph) -> None:
        self.last: dict[Ref, int] = {}
        for i, node in enumerate(checked.nodes):
            self.last |= dict.fromkeys(_references([*node.args, *node.kwargs.values()]), i)
        self.last[checked.output] = len(checked.nodes)
        self.ends: dict[int, list[Ref]] = {}
        for ref, i in self.last.items():
            self.ends.setdefault(i, []).append(ref)
        self.holders: dict[Any, int] = {}
        self.sizes: dict[Any, int] = {}
        self.total = 0

    def add(self, ref: Ref, value: Any) -> None:
        """A result exists, if somebody needs it."""
        for key, size in self._storages(value) if ref in self.last else ():
            if not self.holders.get(key):
                self.sizes[key] = size
                self.total += size
            self.holders[key] = self.holders.get(key, 0) + 1

    def free(self, i: int, values: dict[Ref, Any]) -> None:
        """What node i was the last to need goes."""
        for ref in self.ends.get(i, ()):
            if ref.source == "node":
                for key, _ in self._storages(values[ref]):
                    self.holders[key] -= 1
                    if not self.holders[key]:
                        self.total -= self.sizes.pop(key)
                values[ref] = None

    @staticmethod
    def _storages(value: Any) -> Iterator[tuple[Any, int]]:
        for tensor in _tensors(value):
            storage = tensor.untyped_storage()
            yield storage._cdata, storage.nbytes()


class _Specs(NamedTuple):
    """Makes tensors without storage: lengths of dynamic axes, and the floating type at the export and now."""

    lengths: Mapping[str, int]
    exported: torch.dtype | None
    dtype: torch.dtype | None

    def empty(self, spec: TensorSpec) -> Tensor:
        shape = [self.lengths[s] if isinstance(s, str) else s for s in spec.shape]
        dtype = DTYPES[spec.dtype]
        try:
            return torch.empty(shape, dtype=self.dtype if dtype == self.exported else dtype, device="meta")
        except RuntimeError:
            raise GraphError(f"Expected a size that fits into memory but got {shape}; the graph is refused.") from None


def _run(checked: CheckedGraph, made: _Specs, watch: _Watch) -> Need:
    ambient = {Ambient.DEVICE: torch.device("meta"), Ambient.DTYPE: made.dtype}
    values: dict[Ref, Any] = {Ref("tensor", name): made.empty(spec) for name, spec in checked.tensors.items()}
    values |= {Ref("input", i): made.empty(spec) for i, spec in enumerate(checked.inputs)}
    memory, live = _Memory(checked), 0
    for i, node in enumerate(checked.nodes):
        watch.where = where = f"node {i} ({node.op})"
        watch.extra = 0
        args, kwargs = resolve(node.args, values, ambient), resolve(node.kwargs, values, ambient)
        try:
            with torch.no_grad(), watch:
                result = guarded(node)(*args, **kwargs)
        except GraphError:
            raise
        except Exception as error:
            message = str(error).partition("\n")[0][:300]
            raise GraphError(
                f"Expected operations that fit together but {where} fails with {message!r}; the graph is damaged or "
                "the operation depends on values."
            ) from None
        if node.yields == "tensor" and not isinstance(result, Tensor):
            raise GraphError(
                f"Expected a tensor but {where} gives {type(result).__name__}, as it was given numbers; the graph is "
                "damaged."
            )
        for tensor in _tensors(result):
            watch.require_sane(tensor)
        values[Ref("node", i)] = result
        memory.add(Ref("node", i), result)
        live = max(live, memory.total + watch.extra)
        if live > watch.limit.live:
            raise GraphError(
                f"Expected at most {watch.limit.live} bytes of values at one time but {where} goes beyond; the graph "
                "is refused."
            )
        memory.free(i, values)
    got, want = values[checked.output], made.empty(checked.output_spec)
    if got.shape != want.shape or got.dtype != want.dtype:
        raise GraphError(
            f"Expected output {want.dtype}{list(want.shape)} but the graph makes {got.dtype}{list(got.shape)}; the "
            "graph is damaged."
        )
    return Need(watch.value, live, watch.time)


@lru_cache(maxsize=1024)
def _takes_device(func: Any) -> bool:
    return any(argument.name == "device" for argument in func._schema.arguments)


def _tensors(value: Any) -> Iterator[Tensor]:
    for entry in value if isinstance(value, (list, tuple)) else [value]:
        if isinstance(entry, Tensor):
            yield entry


def _references(value: Any) -> Iterator[Ref]:
    if isinstance(value, Ref):
        yield value
    elif isinstance(value, (list, tuple)):
        for element in value:
            yield from _references(element)
