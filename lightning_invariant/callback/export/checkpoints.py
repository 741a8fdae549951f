"""Weights as a checkpoint file holds them, put into a private copy of the network."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lightning_invariant.errors import ArtifactError, HubError
from lightning_invariant.guests import escnn_modules

if TYPE_CHECKING:
    from pytorch_lightning import Trainer

_COMPILED = "_orig_mod."
_EXTRA = "_extra_state"


@dataclass(frozen=True)
class Saved:
    """What an export needs of a checkpoint.

    Args:
        state: Tensors by name, on the CPU; averaged ones where the training averages.
        epoch: When it was saved.
        step: When it was saved.
        hyperparameters: Of the module.
        callbacks: States of callbacks, by key.
    """

    state: Mapping[str, Tensor]
    epoch: int
    step: int
    hyperparameters: Mapping[str, Any]
    callbacks: Mapping[str, Any]


def followed(trainer: Trainer, monitor: str | None) -> Any:
    """Return the ModelCheckpoint whose files are exported; None if nothing is saved.

    Args:
        trainer: With its callbacks.
        monitor: What it monitors; None for the first.

    Raises:
        HubError: None monitors that.
    """
    known = [callback for callback in trainer.checkpoint_callbacks if hasattr(callback, "best_model_path")]
    if monitor is None:
        return known[0] if known else None
    for callback in known:
        if getattr(callback, "monitor", None) == monitor:
            return callback
    monitored = ", ".join(repr(getattr(callback, "monitor", None)) for callback in known) or "there is none"
    raise HubError(
        f"Expected a ModelCheckpoint that monitors {monitor!r} for HubExport to follow but {monitored}; "
        f"add ModelCheckpoint(monitor={monitor!r}) to the trainer's callbacks, or leave monitor out."
    )


def saved_file(checkpoint: Any, *, best: bool) -> str:
    """Return the path of its best or newest file; "" if there is none."""
    names = ("best_model_path",) if best else ("_last_checkpoint_saved", "last_model_path", "best_model_path")
    return next((path for name in names if (path := str(getattr(checkpoint, name, "") or ""))), "")


def file_stamp(path: str) -> tuple[Any, ...]:
    """Return a value that changes when the file does."""
    try:
        found = os.stat(path)
    except OSError:  # a remote file has none
        return (path,)
    return path, found.st_mtime_ns, found.st_ino, found.st_size


def read_checkpoint(path: str, *, trusted: bool) -> Saved:
    """Read a Lightning checkpoint.

    Args:
        path: A file, or what fsspec opens.
        trusted: Whether objects other than tensors and plain values may be unpickled, which can execute anything: only
            for a file that this very process wrote, or that its user vouches for.

    Raises:
        ArtifactError: It cannot be read, holds shards, or would have to be unpickled.
    """
    if os.path.isdir(path):
        raise ArtifactError(
            f"Expected a checkpoint with all weights in one file but {path} is a folder of shards; consolidate it "
            "(python -m lightning.pytorch.utilities.consolidate_checkpoint) and run `lightning-invariant export` on it."
        )
    data = _load(path, trusted=trusted)
    state = data.get("state_dict") if isinstance(data, dict) else None
    if not isinstance(state, Mapping):
        raise ArtifactError(f"Expected a Lightning checkpoint but {path} holds no 'state_dict'.")
    tensors = {name: tensor for name, tensor in state.items() if isinstance(tensor, Tensor)}
    hyperparameters, callbacks = (dict(data.get(key) or {}) for key in ("hyper_parameters", "callbacks"))
    return Saved(tensors, int(data.get("epoch", 0)), int(data.get("global_step", 0)), hyperparameters, callbacks)


def put_state(network: nn.Module, state: Mapping[str, Tensor], root: str = "") -> None:
    """Put weights into a private copy.

    Args:
        network: The copy; prefixes that torch.compile puts before names do not matter.
        state: Tensors by name.
        root: Of the copied module in the network that the state is of.

    Raises:
        ArtifactError: Names or shapes are not those of the network; nothing was changed.
    """
    named = chain(network.named_parameters(remove_duplicate=False), network.named_buffers(remove_duplicate=False))
    derived = set(map(_plain, escnn_modules.derived_names(network)))
    tensors = {_plain(name): tensor for name, tensor in named if _plain(name) not in derived}
    prefix = _plain(f"{root}.") if root else ""
    fitting = {
        name.removeprefix(prefix): tensor
        for name, tensor in ((_plain(name), tensor) for name, tensor in state.items())
        if name.startswith(prefix) and not name.endswith(_EXTRA) and name.removeprefix(prefix) not in derived
    }
    _require_fitting(network, tensors, fitting)
    with torch.no_grad():
        for name, value in fitting.items():
            tensors[name].data.copy_(value)
        escnn_modules.settle(network)


def same_state(one: Mapping[str, Tensor], other: Mapping[str, Tensor], root: str = "") -> bool:
    """Return whether all weights of one module are those of a state.

    Args:
        one: Of the module.
        other: Of the module, or of the network that it is a part of.
        root: Name of the module in that network.
    """
    prefix = _plain(f"{root}.") if root else ""
    known = {_plain(name): tensor for name, tensor in other.items()}
    pairs = [(tensor, known.get(prefix + _plain(name))) for name, tensor in one.items()]
    found = [(tensor, other) for tensor, other in pairs if other is not None]  # a file lacks buffers of a moment
    return len(found) > 0 and all(a.shape == b.shape and torch.equal(a.cpu(), b.cpu()) for a, b in found)


def _load(path: str, *, trusted: bool) -> Any:
    try:
        if os.path.exists(path):
            return torch.load(path, map_location="cpu", weights_only=True)
        import fsspec

        with fsspec.open(path, "rb") as file:
            return torch.load(file, map_location="cpu", weights_only=True)  # type: ignore[arg-type]
    except pickle.UnpicklingError as error:
        if trusted and os.path.exists(path):
            return torch.load(path, map_location="cpu", weights_only=False)
        raise ArtifactError(
            f"Expected {path} to hold tensors and plain values but it holds objects that would have to be unpickled, "
            "which can execute anything; if you wrote it, say --trust-checkpoint."
        ) from error
    except Exception as error:  # half a file can fail in any way
        raise ArtifactError(f"Expected a checkpoint but {path} cannot be read: {error}.") from error


def _require_fitting(network: nn.Module, tensors: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    expected = {_plain(name) for name in network.state_dict() if not name.endswith(_EXTRA)} & set(tensors)
    strict = getattr(network, "strict_loading", True)
    missing, foreign = sorted(expected - set(state)) if strict else [], sorted(set(state) - set(tensors))
    if missing or foreign:
        raise ArtifactError(
            "Expected a checkpoint of this network but "
            + "; ".join(
                f"{what} {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}"
                for what, names in (("it lacks", missing), ("the network lacks", foreign))
                if names
            )
            + "."
        )
    for name, tensor in state.items():
        if tensor.shape != tensors[name].shape:
            raise ArtifactError(
                f"Expected {name} of shape {tuple(tensors[name].shape)} but the checkpoint's is {tuple(tensor.shape)}."
            )


def _plain(name: str) -> str:
    return name.replace(_COMPILED, "")


def tensors_of(network: nn.Module) -> dict[str, Tensor]:
    """Return weights and buffers by name, without buffers that are made of the weights."""
    named = chain(network.named_parameters(remove_duplicate=False), network.named_buffers(remove_duplicate=False))
    return escnn_modules.without_derived(network, dict(named))
