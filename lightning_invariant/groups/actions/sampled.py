"""Augmentations: transforms that are known only by drawing them."""

from __future__ import annotations

import copy
import inspect
import random
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from lightning_invariant.groups.actions.action import InputAction
from lightning_invariant.groups.sampled import Sampled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor


@dataclass(frozen=True)
class SampledAction(InputAction):
    """Augmentations drawn by a seed; an element is the seed, and 0 leaves the input as it is.

    Args:
        group: `Sampled`.
        function: function(x) or function(x, generator) for ONE input (...), such as a transform of torchvision or
            kornia. Without a generator, randomness comes from torch, NumPy or Python, which are seeded and put back.

    Raises:
        ValueError: The group is not `Sampled`, or the function takes no input.

    Example:
        >>> noisy = SampledAction(Sampled("noise"), lambda x: x + torch.rand(x.shape))
        >>> x = torch.zeros(2, 3)
        >>> bool((noisy.transform(x, torch.tensor(5)) == noisy.transform(x, torch.tensor(5))).all())
        True
    """

    group: Sampled
    function: Callable[..., Tensor]

    def __post_init__(self) -> None:
        if not isinstance(self.group, Sampled):
            raise ValueError(f"Expected the group Sampled but got {self.group}.")
        if not callable(self.function):
            raise ValueError(f"Expected a function of one input but got {self.function!r}.")
        if isinstance(self.function, torch.nn.Module):  # kornia's modules remember what they drew
            object.__setattr__(self, "function", copy.deepcopy(self.function))

    def transform(self, x: Tensor, g: Tensor) -> Tensor:
        """Transform each input under its own seed.

        Raises:
            ValueError: The function changes the shape.
        """
        seeds = self._each(g, len(x)).tolist()
        with _restored(x.device):
            rows = [self._one(row, seed) for row, seed in zip(x, seeds, strict=True)]
        return torch.stack(rows) if rows else x

    def is_exact(self, g: Tensor) -> Tensor:
        """True for the untouched input only."""
        return g == 0

    def _one(self, x: Tensor, seed: int) -> Tensor:
        if seed == 0:
            return x
        if takes_generator(self.function):
            out = self.function(x.clone(), torch.Generator().manual_seed(seed))
        else:
            _seed(seed, x.device)
            out = self.function(x.clone())
        if out.dim() == x.dim() + 1 and len(out) == 1:  # kornia adds an axis for the batch
            out = out[0]
        if out.shape != x.shape:
            raise ValueError(
                f"Expected a transform that keeps the shape {tuple(x.shape)} but got {tuple(out.shape)}; resize it."
            )
        return out.to(x)


def takes_generator(function: Callable[..., Any]) -> bool:
    """Whether a function asks for a second argument."""
    target = function.forward if isinstance(function, torch.nn.Module) else function
    try:
        parameters = list(inspect.signature(target).parameters.values())
    except (TypeError, ValueError):  # written in C
        return False
    required = [
        p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty
    ]
    return len(required) > 1 or any(p.name == "generator" for p in parameters)


@contextmanager
def _restored(device: torch.device) -> Iterator[None]:
    """Put back the random states of torch, NumPy and Python."""
    numpy = sys.modules.get("numpy")
    states = random.getstate(), None if numpy is None else numpy.random.get_state()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            random.setstate(states[0])
            if numpy is not None:
                numpy.random.set_state(states[1])


def _seed(seed: int, device: torch.device) -> None:
    torch.random.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
    random.seed(seed)
    if (numpy := sys.modules.get("numpy")) is not None:
        numpy.random.seed(seed % 2**32)
