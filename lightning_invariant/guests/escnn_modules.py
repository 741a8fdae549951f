"""Modules of escnn outside of training: filters that they keep in eval mode only, and plain layers in their place.

In eval mode a convolution keeps the filter that it made of its weights as a buffer, and deletes it in training mode. So
names in a state depend on the mode that it was taken in, a state may hold the filter of other weights, and setting
`training` by hand leaves a module without one.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lightning_invariant.guests.escnn import is_geometric

KEPT = ("filter", "expanded_bias", "matrix")
"""Buffers that are made of the weights, in eval mode only."""


def derived_names(network: nn.Module) -> set[str]:
    """Return the names in a network's state, in either mode, of what escnn makes of its weights."""
    return {f"{name}.{kept}".removeprefix(".") for name, _ in _keeping(network) for kept in KEPT}


def settle(network: nn.Module) -> None:
    """Make filters anew of the weights of this moment, or leave them out, as each module's mode wants it."""
    for _, module in _keeping(network):
        training = module.training
        module.train(True)
        module.train(training)


def plain_output(output: Any) -> Any:
    """Return the tensor of a GeometricTensor; anything else as it is."""
    return output.tensor if is_geometric(output) else output


def plain(network: nn.Module) -> nn.Module:
    """Return a copy whose layers of escnn are those that their own `export()` gives, as torch.export needs them.

    Layers that have no `export()` stay as they are.

    Args:
        network: In eval mode; returned itself where there is nothing of escnn's in it.
    """
    library = sys.modules.get("escnn.nn")
    if library is None or not any(isinstance(part, library.EquivariantModule) for part in network.modules()):
        return network
    # Filters that were made with gradients cannot be copied.
    copied = copy.deepcopy(network, {id(b): b.detach().clone() for b in network.buffers() if not b.is_leaf})
    settle(copied)
    _replace(copied, library)
    for module in copied.modules():
        if isinstance(module, library.EquivariantModule):
            _list_bounds(module)
    return _Initialised(copied).eval()


class _Plain(nn.Module):
    """A plain layer in the place of one of escnn's.

    Args:
        layer: The plain one.
        out_type: Of what it gives.
    """

    def __init__(self, layer: nn.Module, out_type: Any) -> None:
        super().__init__()
        self.layer, self.out_type = layer, out_type

    def forward(self, x: Any) -> Any:
        """Apply the layer to the tensor."""
        return type(x)(self.layer(x.tensor), self.out_type)


class _Initialised(nn.Module):
    """Runs a network with zeros where it would take memory as it is, to write all of it: no graph may do that.

    Args:
        network: The network.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Any) -> Any:
        """What the network gives."""
        with _Zeros():
            return self.network(*inputs)


class _Zeros(TorchFunctionMode):
    _INSTEAD: ClassVar[dict[Any, Any]] = {torch.empty: torch.zeros, torch.empty_like: torch.zeros_like}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self._INSTEAD.get(func, func)(*args, **(kwargs or {}))


def _list_bounds(module: nn.Module) -> None:
    """Keep first and last channel of fields as numbers, where escnn has tensors, of which a trace knows no value."""
    for name, buffer in list(module.named_buffers(recurse=False)):
        if "indices" in name and buffer.dtype == torch.int64 and buffer.shape == (2,):
            delattr(module, name)
            setattr(module, name, buffer.tolist())


def _replace(module: nn.Module, library: Any) -> None:
    for name, child in module.named_children():
        exported = _exported(child, library)
        if exported is None:
            _replace(child, library)
        else:
            module._modules[name] = _Plain(exported, getattr(child, "out_type"))  # noqa: B009


def _exported(module: Any, library: Any) -> nn.Module | None:
    base: Any = library.EquivariantModule
    if not isinstance(module, base) or type(module).export is base.export:
        return None
    if isinstance(module, library.SequentialModule):  # one layer without would spoil the others
        return None
    try:
        return module.export()
    except NotImplementedError:
        return None


def _keeping(network: nn.Module) -> Iterator[tuple[str, Any]]:
    """Modules that keep something in eval mode only, by name."""
    if "escnn.nn" not in sys.modules:
        return
    for name, module in network.named_modules():
        if hasattr(module, "expand_parameters") or hasattr(module, "expand_bias"):
            yield name, module


def without_derived(network: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a state without what escnn makes of the weights in it."""
    derived = derived_names(network)
    return {name: tensor for name, tensor in state.items() if name not in derived}
