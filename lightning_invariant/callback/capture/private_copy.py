"""A private copy of the user's network, on which forwards of our own change nothing that the training sees."""

from __future__ import annotations

import copy
import functools
import io
import random
import sys
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

SHARED = {"Dataset", "DataLoader", "LightningDataModule", "Optimizer", "LRScheduler", "Logger", "Trainer", "Fabric"}
"""Kinds of attributes that a forward does not write to, and that are too large or too much alive to be copied."""
MUTE = ("log", "log_dict", "print", "manual_backward", "toggle_optimizer", "untoggle_optimizer")


@dataclass(frozen=True)
class PrivateCopy:
    """A network to run forwards of our own on.

    Args:
        network: The copy, or the live network where none could be made.
        is_live: Whether it is the live one.
        reason: Why it is.
    """

    network: nn.Module
    is_live: bool = False
    reason: str = ""

    def module(self, name: str) -> nn.Module:
        """Return the submodule of a name, "" for the network itself."""
        return self.network.get_submodule(name)

    @contextmanager
    def running(self, seed: int) -> Iterator[None]:
        """Run forwards: no gradients, nothing compiled anew, random states private; a live network is put back."""
        eager = torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()
        kept = kept_as_it_is(self.network) if self.is_live else nullcontext()
        with torch.no_grad(), eager, kept, random_states(seed):
            yield


def private_copy(network: nn.Module, trainer: Any = None, *, sharded: bool = False, hooks: bool = False) -> PrivateCopy:
    """Copy a network as it stands, weights and modes, without its trainer, loggers and data.

    Args:
        network: The LightningModule, or a part of it.
        trainer: What the copy's LightningModules see, read only, in the place of their trainer; None for nothing.
        sharded: Whether its parameters are spread over processes, so that there is no whole network to copy.
        hooks: Whether the copy keeps hooks that are closures, which may write to what the training sees.

    Returns:
        A copy; the live network, guarded while forwards run, where none can be made.
    """
    if sharded:
        return PrivateCopy(network, is_live=True, reason="its parameters are spread over processes")
    try:
        with torch.inference_mode(False):
            copied = _copied(network)
    except Exception as error:  # what a user's __deepcopy__ raises
        return PrivateCopy(network, is_live=True, reason=f"it cannot be copied ({type(error).__name__}: {error})")
    for module in copied.modules():
        _mute(module, trainer)
        if not hooks:
            _drop_closures(module)
    return PrivateCopy(copied)


@contextmanager
def random_states(seed: int) -> Iterator[None]:
    """Seed torch, NumPy and Python while the block runs; afterwards their states are what they were."""
    before = random_snapshot()
    try:
        reseed(seed)
        yield
    finally:
        set_random(before)


def random_snapshot() -> tuple[Any, ...]:
    """Return the states of torch's, NumPy's and Python's random numbers, of every device that is in use."""
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return torch.get_rng_state(), np.random.get_state(), random.getstate(), devices


def set_random(states: tuple[Any, ...]) -> None:
    """Go back to a snapshot."""
    torch.set_rng_state(states[0])
    np.random.set_state(states[1])
    random.setstate(states[2])
    if states[3]:
        torch.cuda.set_rng_state_all(states[3])


def drawn_since(seed: int) -> bool:
    """Whether random numbers were drawn since `reseed`; inside of `random_states`."""
    found = random_snapshot()
    reseed(seed)
    fresh = random_snapshot()
    return not (
        torch.equal(found[0], fresh[0])
        and all(np.array_equal(a, b) for a, b in zip(found[1], fresh[1], strict=True))
        and found[2] == fresh[2]
        and all(torch.equal(a, b) for a, b in zip(found[3], fresh[3], strict=True))
    )


def reseed(seed: int) -> None:
    """Seed torch, NumPy and Python; for use inside of `random_states`."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


@contextmanager
def kept_as_it_is(network: nn.Module) -> Iterator[None]:
    """Put a live network back: tensors to the bit, and attributes, lists, dicts and modes of every module."""
    # A sharded tensor cannot be cloned and written back by a part of the processes; its module is trusted with it.
    tensors = [t for t in (*network.parameters(), *network.buffers()) if type(t) in (Tensor, nn.Parameter)]
    values = [tensor.detach().clone() for tensor in tensors]
    attributes = [(module.__dict__, dict(module.__dict__)) for module in network.modules()]
    containers = {id(part): part for _, before in attributes for part in before.values()}
    contents = [(part, copy.copy(part)) for part in containers.values() if type(part) in _CONTAINERS]
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, value in zip(tensors, values, strict=True):
                if not torch.equal(tensor, value):
                    tensor.data.copy_(value)
        for mapping, before in attributes:
            mapping.clear()
            mapping.update(before)
        for part, before in contents:
            part.clear()
            part.extend(before) if isinstance(part, list) else part.update(before)


_CONTAINERS = (dict, list, set, OrderedDict, defaultdict)


def _copied(network: nn.Module) -> nn.Module:
    memo = _shared(network)
    try:
        return copy.deepcopy(network, memo)
    except Exception:  # old weight_norm and its like, locks, open files
        return copy.deepcopy(network, _shared(network) | _stand_ins(network))


def _shared(network: nn.Module) -> dict[int, Any]:
    """What both use, for deepcopy's memo."""
    memo: dict[int, Any] = {}
    for value in _attributes(network):
        if any(base.__name__ in SHARED for base in type(value).__mro__):
            memo[id(value)] = value
    return memo


def _stand_ins(network: nn.Module) -> dict[int, Any]:
    """Copies of what deepcopy refuses."""
    memo: dict[int, Any] = {}
    for value in _attributes(network):
        if isinstance(value, Tensor) and not value.is_leaf:
            memo[id(value)] = value.detach().clone()
        elif isinstance(value, type(threading.Lock())):
            memo[id(value)] = threading.Lock()
        elif isinstance(value, type(threading.RLock())):
            memo[id(value)] = threading.RLock()
        elif isinstance(value, io.IOBase):
            memo[id(value)] = io.StringIO() if isinstance(value, io.TextIOBase) else io.BytesIO()
    return memo


def _attributes(network: nn.Module) -> Iterator[Any]:
    """Attributes of every module, and what their containers hold."""

    def inside(value: Any, depth: int) -> Iterator[Any]:
        yield value
        if depth and isinstance(value, dict):
            for part in value.values():
                yield from inside(part, depth - 1)
        elif depth and isinstance(value, (list, tuple, set)):
            for part in value:
                yield from inside(part, depth - 1)

    for module in network.modules():
        for name, value in module.__dict__.items():
            if name not in ("_modules", "_parameters", "_buffers"):
                yield from inside(value, 2)


def _mute(module: nn.Module, trainer: Any) -> None:
    """Keep a copied LightningModule from logging, and forget methods that Lightning compiled for the live one."""
    if not any(base.__name__ == "LightningModule" for base in type(module).__mro__):
        return
    if module.__dict__.pop("_compiler_ctx", None) is not None:
        for name in ("forward", "training_step", "validation_step", "test_step", "predict_step"):
            module.__dict__.pop(name, None)
        module.__dict__["_compiler_ctx"] = None
    for name in MUTE:
        module.__dict__[name] = _nothing
    module.__dict__["all_gather"] = _itself
    module.__dict__["_trainer"] = None if trainer is None else ReadOnlyTrainer(trainer, module)


def has_closures(network: nn.Module) -> bool:
    """Whether any hook of a network is a closure."""
    return any(map(_is_closure, (hook for module in network.modules() for hook in _hooks(module))))


def _hooks(module: nn.Module) -> list[Any]:
    return [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]


def _is_closure(hook: Any) -> bool:
    while isinstance(hook, functools.partial):
        hook = hook.func
    return isinstance(hook, FunctionType) and hook.__closure__ is not None


def _drop_closures(module: nn.Module) -> None:
    """Functions are not copied by deepcopy: what they hold is the live network's."""
    for hooks in (module._forward_hooks, module._forward_pre_hooks):
        for key in [key for key, hook in hooks.items() if _is_closure(hook)]:
            del hooks[key]


def _nothing(*args: Any, **kwargs: Any) -> None:
    """What a muted method does."""


def _itself(data: Any, *args: Any, **kwargs: Any) -> Any:
    """What gathering gives for one process."""
    return data


class ReadOnlyTrainer:
    """What a copied module sees of its trainer: everything that can be read, without loggers; what it sets is its own.

    Args:
        trainer: The trainer.
        module: The copy.
    """

    def __init__(self, trainer: Any, module: nn.Module) -> None:
        self.__dict__.update(_real=trainer, lightning_module=module, model=module, loggers=[], logger=_no_logger())

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.__dict__["_real"], name)

    def __deepcopy__(self, memo: Any) -> ReadOnlyTrainer:
        return self


def _no_logger() -> Any:
    """A logger that takes everything and keeps nothing."""
    for root in ("pytorch_lightning", "lightning.pytorch"):
        if root in sys.modules:
            from importlib import import_module

            return import_module(f"{root}.loggers.logger").DummyLogger()
    return None
