"""A network rebuilt from an untrusted graph and its tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from lightning_invariant.errors import GraphError
from lightning_invariant.hub.graph.budget import allowed, limit_of, relaxed
from lightning_invariant.hub.graph.build import compile_graph, register_tensors
from lightning_invariant.hub.graph.check import check_graph
from lightning_invariant.hub.graph.inputs import check_inputs
from lightning_invariant.hub.graph.operators import DTYPE_NAMES, DTYPES
from lightning_invariant.hub.graph.purity import written_roots
from lightning_invariant.hub.graph.rehearsal import rehearse

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from lightning_invariant.hub.graph.values import CheckedGraph, TensorSpec

MAX_SHAPES = 2**16
"""Most shapes of inputs that are remembered to be harmless."""


class GraphModule(nn.Module):
    """A network rebuilt from a graph; always in eval mode.

    Weights live under `network` with the names that they had, and require gradients where they did: PyTorch picks
    other kernels for frozen weights, so that `requires_grad_(False)` may change last bits; use `torch.no_grad()`.
    Tensors that the graph creates follow the device of the input. The network has one floating
    dtype: `.half()` or `.double()` moves the weights, the expected inputs and every baked cast to that dtype
    together; other dtypes stay.

    Args:
        graph: The parsed graph.
        tensors: Its weights, buffers and constants.

    Raises:
        GraphError: If graph or tensors are not what the format allows.
    """

    def __init__(self, graph: dict[str, Any], tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        checked = check_graph(graph)
        for root, node in written_roots(checked.nodes).items():
            raise GraphError(
                f"Expected a graph without memory but node {node} ({checked.nodes[node].op}) writes into "
                f"{root.source} {root.key!r}; "
                "use the out-of-place form of that operation in the network."
            )
        need = rehearse(checked)
        self.network = register_tensors(checked.tensors, tensors, graph["aliases"])
        self._description = graph
        self._prepare(checked)
        self._needs = {self._exported_dtype: need}
        super().train(False)

    @property
    def input_specs(self) -> tuple[TensorSpec, ...]:
        """Shape and dtype of each input as exported."""
        return self._inputs

    @property
    def output_spec(self) -> TensorSpec:
        """Shape and dtype of the output as exported."""
        return self._output

    @property
    def dtype(self) -> torch.dtype | None:
        """The floating type of weights and inputs now; None if it has none."""
        return self._dtype()

    def describe(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """The graph and tensors that save this network as it is now, its present dtype included."""
        dtype = self._dtype()
        old, new = self._description["dtype"], None if dtype is None else DTYPE_NAMES[dtype]
        tensors = {
            name: place.tensor().detach().cpu().contiguous()
            for name, place in self._locate(self._description["tensors"]).items()
        }

        def follow(entry: dict[str, Any]) -> dict[str, Any]:
            return {**entry, "dtype": new} if entry["dtype"] == old else entry

        specs = {
            name: {**entry, "dtype": DTYPE_NAMES[tensors[name].dtype]}
            for name, entry in self._description["tensors"].items()
        }
        inputs = [follow(entry) for entry in self._description["inputs"]]
        output = follow(self._description["output"])
        return {**self._description, "dtype": new, "tensors": specs, "inputs": inputs, "output": output}, tensors

    def train(self, mode: bool = True) -> GraphModule:
        """Has no effect: the graph was recorded in eval mode."""
        return self

    def forward(self, *inputs: Tensor) -> Tensor:
        """Compute the output.

        Args:
            *inputs: Tensors of the recorded dtype and shape; named axes have any length.

        Raises:
            GraphError: If an input has another dtype, rank or static size, or the graph needs far more memory for it
                than its size explains.
        """
        dtype = self._dtype()
        if torch.compiler.is_compiling():  # lengths are symbols then
            wanted = self._output_shape(check_inputs(inputs, self._inputs, self._exported_dtype, dtype))
            output = self._run(inputs[0].device, dtype, *self._tensors(), *inputs)
        else:
            wanted = self._known.get(_looks(inputs, dtype)) or self._admit(inputs, dtype)
            output = self._computed(inputs, dtype)
        if output.shape != wanted:
            raise GraphError(
                f"Expected an output of shape {list(wanted)} from inputs of shapes "
                f"{[list(x.shape) for x in inputs]} but the graph makes {list(output.shape)}; it is damaged or crafted."
            )
        return output

    def extra_repr(self) -> str:
        """Inputs, output and size."""
        takes = ", ".join(f"{spec.dtype}{list(spec.shape)}" for spec in self._inputs)
        return f"{takes} -> {self._output.dtype}{list(self._output.shape)}, {len(self._description['nodes'])} nodes"

    def __getstate__(self) -> dict[str, Any]:
        return {
            key: value
            for key, value in self.__dict__.items()
            if key not in ("_run", "_slots", "_lead", "_compiled_call_impl", "_checked", "_known")
        }

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
        self._inputs, self._output = checked.inputs, checked.output_spec

    def _admit(self, inputs: tuple[Tensor, ...], dtype: torch.dtype | None) -> torch.Size:
        """See that inputs which look like these fit, and how large their output is."""
        lengths = check_inputs(inputs, self._inputs, self._exported_dtype, dtype)
        self._rehearse(lengths, dtype)
        if len(self._known) >= MAX_SHAPES:
            self._known.clear()
        wanted = self._known[_looks(inputs, dtype)] = self._output_shape(lengths)
        return wanted

    def _rehearse(self, lengths: dict[str, int], dtype: torch.dtype | None) -> None:
        """Look at every operation at new lengths before one of them allocates: sizes may depend on them in any way."""
        if dtype not in self._needs:
            self._needs[dtype] = rehearse(self._checked, None, dtype, relaxed(limit_of(self._checked)))
        rehearse(self._checked, lengths, dtype, allowed(self._checked, self._needs[dtype], lengths))

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
        return torch.Size([lengths[size] if isinstance(size, str) else size for size in self._output.shape])

    def _locate(self, names: Mapping[str, Any]) -> dict[str, _Place]:
        located = {}
        for name in names:
            path, _, key = name.rpartition(".")
            owner = self.network.get_submodule(path)
            located[name] = _Place(owner, "_parameters" if key in owner._parameters else "_buffers", key)
        return located

    def _dtype(self) -> torch.dtype | None:
        return self._exported_dtype if self._lead is None else self._lead.tensor().dtype


class _Place(NamedTuple):
    """Where a tensor is: PyTorch may put another dictionary in the place of `_parameters`, so that is looked up."""

    owner: nn.Module
    kind: str
    key: str

    def tensor(self) -> Tensor:
        return getattr(self.owner, self.kind)[self.key]


def _looks(inputs: tuple[Any, ...], dtype: torch.dtype | None) -> Hashable:
    """All that decides whether inputs are taken; of what is no tensor, its type, which no shape equals."""
    return dtype, *[(x.shape, x.dtype) if isinstance(x, Tensor) else type(x) for x in inputs]


def load_graph(graph: dict[str, Any], tensors: Mapping[str, Tensor]) -> GraphModule:
    """Rebuild a network from an untrusted graph; nothing of it is imported, unpickled or evaluated.

    Args:
        graph: The parsed graph, as from `parse_graph`.
        tensors: Exactly the tensors that it names, as from `safetensors.torch.load_file`.

    Raises:
        GraphError: If graph or tensors are not what the format allows.
    """
    return GraphModule(graph, tensors)
