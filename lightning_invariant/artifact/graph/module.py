"""A network rebuilt from an untrusted graph and its tensors."""

from __future__ import annotations

import itertools
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from lightning_invariant.artifact.graph.build import compile_graph, register_tensors
from lightning_invariant.artifact.graph.check import check_graph
from lightning_invariant.artifact.graph.meta_run import MAX_BYTES, allowed_count, meta_run
from lightning_invariant.artifact.graph.operators import DTYPE_NAMES, DTYPES
from lightning_invariant.artifact.graph.purity import written_roots
from lightning_invariant.errors import GraphError

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence

    from lightning_invariant.artifact.graph.values import CheckedGraph, TensorSpec

MAX_SHAPES = 2**16
"""Most shapes of inputs that are remembered to be harmless."""


class GraphModule(nn.Module):
    """A network rebuilt from an untrusted graph, of which nothing is imported, unpickled or evaluated.

    It is always in eval mode. Weights live under `network` with the names that they had, and require gradients where
    they did: PyTorch picks other kernels for frozen weights, so that `requires_grad_(False)` may change last bits; use
    `torch.no_grad()`. Tensors that the graph creates follow the device of the input. The network has one floating
    dtype: `.half()` or `.double()` moves the weights, the expected inputs and every baked cast to that dtype together;
    other dtypes stay.

    Args:
        graph: The parsed graph.
        tensors: Its weights, buffers and constants, which become those of the module.
        max_bytes: Most bytes of values that a call may need at one time, weights and inputs apart.

    Raises:
        GraphError: If graph or tensors are not what the format allows.
    """

    def __init__(self, graph: dict[str, Any], tensors: Mapping[str, Tensor], max_bytes: int = MAX_BYTES) -> None:
        super().__init__()
        checked = check_graph(graph)
        for root, node in written_roots(checked.nodes).items():
            raise GraphError(
                f"Expected a graph without memory but node {node} ({checked.nodes[node].op}) writes into "
                f"{root.source} {root.key!r}; use the out-of-place form of that operation in the network."
            )
        self.max_bytes = max_bytes
        self._count = meta_run(checked, max_bytes=max_bytes).computed
        self.network = register_tensors(checked.tensors, tensors, graph["aliases"])
        self._description = graph
        self._prepare(checked)
        lengths = checked.dims
        shapes = [torch.Size([lengths[s] if isinstance(s, str) else s for s in spec.shape]) for spec in checked.inputs]
        own = [(shape, DTYPES[spec.dtype]) for shape, spec in zip(shapes, checked.inputs, strict=True)]
        self._known[(self._exported_dtype, *own)] = self._output_shape(lengths)
        super().train(False)

    @property
    def dtype(self) -> torch.dtype | None:
        """The floating type of weights and inputs now; None if it has none."""
        return self._exported_dtype if self._lead is None else self._lead.tensor().dtype

    def describe(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return the graph and tensors that save this network as it is now, its present dtype included."""
        dtype, graph = self.dtype, self._description
        new = {"dtype": None if dtype is None else DTYPE_NAMES[dtype]}
        located = self._locate(graph["tensors"])
        tensors = {name: place.tensor().detach().cpu().contiguous() for name, place in located.items()}
        specs = {name: {**entry, "dtype": DTYPE_NAMES[tensors[name].dtype]} for name, entry in graph["tensors"].items()}
        *inputs, output = (
            entry | new if entry["dtype"] == graph["dtype"] else entry for entry in (*graph["inputs"], graph["output"])
        )
        return {**graph, **new, "tensors": specs, "inputs": inputs, "output": output}, tensors

    def train(self, mode: bool = True) -> GraphModule:
        """Do nothing: the graph was recorded in eval mode."""
        return self

    def forward(self, *inputs: Tensor) -> Tensor:
        """Compute the output.

        Args:
            *inputs: Tensors of the recorded dtype and shape; named axes have any length.

        Raises:
            GraphError: If an input has another dtype, rank or static size, or the call needs more memory than
                `max_bytes`.
        """
        dtype = self.dtype
        if torch.compiler.is_compiling():  # lengths are symbols then
            lengths = check_inputs(inputs, self._checked.inputs, self._exported_dtype, dtype)
            wanted = self._output_shape(lengths)
            if not torch.compiler.is_exporting():
                inputs = tuple(admit_compiled(list(inputs), self._key))
            output = self._run(inputs[0].device, dtype, *self._tensors(), *inputs)
        else:
            wanted = self._known.get(_looks(inputs, dtype)) or self.admit(inputs)
            output = self._computed(inputs, dtype)
        if output.shape != wanted:
            raise GraphError(
                f"Expected an output of shape {list(wanted)} from inputs of shapes "
                f"{[list(x.shape) for x in inputs]} but the graph makes {list(output.shape)}; it is damaged or crafted."
            )
        return output

    def admit(self, inputs: tuple[Tensor, ...]) -> torch.Size:
        """Refuse inputs that do not fit, or for which the graph needs too much; return the shape of its output.

        Every operation is looked at before one of them allocates, since sizes may depend on lengths in any way.
        """
        dtype = self.dtype
        if (known := self._known.get(_looks(inputs, dtype))) is not None:
            return known
        lengths = check_inputs(inputs, self._checked.inputs, self._exported_dtype, dtype)
        self.need(lengths)
        if len(self._known) >= MAX_SHAPES:
            self._known.clear()
        wanted = self._known[_looks(inputs, dtype)] = self._output_shape(lengths)
        return wanted

    def need(self, lengths: Mapping[str, int]) -> int:
        """Return the bytes that a call at these lengths of the named axes needs, or refuse it."""
        allowed = allowed_count(self._checked, self._count, lengths)
        run = meta_run(self._checked, lengths, self.dtype, max_bytes=self.max_bytes, max_count=allowed)
        return run.live

    def extra_repr(self) -> str:
        """Inputs, output and size."""
        takes = ", ".join(f"{spec.dtype}{list(spec.shape)}" for spec in self._checked.inputs)
        output = self._checked.output_spec
        return f"{takes} -> {output.dtype}{list(output.shape)}, {len(self._description['nodes'])} nodes"

    def __getstate__(self) -> dict[str, Any]:
        left_out = ("_run", "_slots", "_lead", "_compiled_call_impl", "_checked", "_known", "_key")
        return {key: value for key, value in self.__dict__.items() if key not in left_out}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._compiled_call_impl = None
        self._prepare(check_graph(self._description))

    def _prepare(self, checked: CheckedGraph) -> None:
        names, self._run = compile_graph(checked)
        self._checked = checked
        self._known: dict[Hashable, torch.Size] = {}
        located = self._locate(checked.tensors)
        self._slots = [located[name] for name in names]
        lead = [located[name] for name, spec in checked.tensors.items() if spec.dtype == checked.dtype]
        self._lead = lead[0] if lead else None
        self._exported_dtype = None if checked.dtype is None else DTYPES[checked.dtype]
        self._key = next(_KEYS)
        _LOADED[self._key] = self

    def _computed(self, inputs: tuple[Tensor, ...], dtype: torch.dtype | None) -> Tensor:
        try:
            return self._run(inputs[0].device, dtype, *self._tensors(), *inputs)
        except (torch.OutOfMemoryError, GraphError):
            raise
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            # Kernels refuse values and types that tensors without storage do not show.
            raise GraphError(
                f"Expected operations that can be done with these inputs but got {type(error).__name__}: "
                f"{str(error)[:300]}; give inputs like those of the export, or the graph is damaged or crafted."
            ) from error

    def _tensors(self) -> list[Tensor]:
        return [getattr(owner, kind)[key] for owner, kind, key in self._slots]

    def _output_shape(self, lengths: Mapping[str, int]) -> torch.Size:
        return torch.Size(
            [lengths[size] if isinstance(size, str) else size for size in self._checked.output_spec.shape]
        )

    def _locate(self, names: Iterable[str]) -> dict[str, _Place]:
        located = {}
        for name in names:
            path, _, key = name.rpartition(".")
            owner = self.network.get_submodule(path)
            located[name] = _Place(owner, "_parameters" if key in owner._parameters else "_buffers", key)
        return located


class _Place(NamedTuple):
    """Where a tensor is: PyTorch may put another dictionary in the place of `_parameters`, so that is looked up."""

    owner: nn.Module
    kind: str
    key: str

    def tensor(self) -> Tensor:
        return getattr(self.owner, self.kind)[self.key]


_KEYS = itertools.count()
_LOADED: weakref.WeakValueDictionary[int, GraphModule] = weakref.WeakValueDictionary()


@torch.library.custom_op("lightning_invariant::admit", mutates_args=())
def admit_compiled(inputs: list[Tensor], key: int) -> list[Tensor]:
    """Look at the sizes of a compiled call before it computes, as an operator that the compiler leaves alone.

    What is computed depends on its results, so that nothing is allocated before.
    """
    _LOADED[key].admit(tuple(inputs))
    return [x.clone() for x in inputs]


@admit_compiled.register_fake
def _(inputs: list[Tensor], key: int) -> list[Tensor]:
    return [torch.empty_like(x) for x in inputs]


admit_compiled.register_autograd(lambda context, gradients: (list(gradients), None))


def check_inputs(
    inputs: Sequence[Any], specs: Sequence[TensorSpec], exported: torch.dtype | None, dtype: torch.dtype | None
) -> dict[str, int]:
    """Refuse inputs of another number, type, rank or size; return the lengths of the named axes.

    Inputs of the floating type that the network was exported in follow the one that it has now.
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


def _looks(inputs: tuple[Any, ...], dtype: torch.dtype | None) -> Hashable:
    """All that decides whether inputs are taken; of what is no tensor, its type, which no shape equals."""
    return dtype, *[(x.shape, x.dtype) if isinstance(x, Tensor) else type(x) for x in inputs]
