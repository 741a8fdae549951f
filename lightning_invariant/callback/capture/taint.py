"""Tell hidden features from inputs: what was computed from the network's own weights."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Taint(TorchDispatchMode):
    """Follow weights through every operator while the mode is on.

    A tensor is tainted if an argument of the operator that made it, or wrote to it, was. A way through NumPy is not
    seen.

    Args:
        weights: Tainted from the start.
    """

    def __init__(self, weights: Iterable[Tensor]) -> None:
        super().__init__()
        self._marks: dict[int, StorageWeakRef] = {}
        for weight in weights:
            self._mark(weight)

    def holds(self, value: Any) -> bool:
        """Whether a tensor was computed from weights."""
        if not isinstance(value, Tensor) or (key := _key(value)) is None:
            return False
        found = self._marks.get(key)
        return found is not None and not found.expired()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        tainted = any(map(self.holds, given))
        output = func(*args, **kwargs)
        if tainted:
            for leaf in tree_leaves(output):
                self._mark(leaf)
            if func._schema.is_mutable:
                for argument, value in zip(func._schema.arguments, args, strict=False):
                    if argument.alias_info is not None and argument.alias_info.is_write:
                        for leaf in tree_leaves(value):
                            self._mark(leaf)
        return output

    def _mark(self, value: Any) -> None:
        if isinstance(value, Tensor) and (key := _key(value)) is not None:
            self._marks[key] = StorageWeakRef(value.untyped_storage())


def _key(value: Tensor) -> int | None:
    try:
        storage = value.untyped_storage()
    except (NotImplementedError, RuntimeError):  # sparse and other tensors without a storage
        return None
    return storage._cdata


def weights_of(network: torch.nn.Module) -> list[Tensor]:
    """Return what a hidden feature is computed from; buffers are not, since inputs are normalised by them."""
    return [parameter for parameter in network.parameters() if type(parameter) is torch.nn.Parameter]
