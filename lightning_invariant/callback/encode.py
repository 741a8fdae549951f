"""Latents of inputs of our own choice: a forward of the network as it stands that changes nothing in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from lightning_invariant.callback.tap import Tap
from lightning_invariant.errors import LayerError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

Route = Literal["layer", "network"]
CHUNK = 256
"""Inputs a forward."""


@contextmanager
def undisturbed(network: nn.Module, seed: int = 0) -> Iterator[None]:
    """Eval mode, no gradients and a private random state; every module's mode and the random state come back.

    Args:
        network: The network.
        seed: Of the private random state.
    """
    modes = [(module, module.training) for module in network.modules()]
    parameter = next(network.parameters(), None)
    cuda = parameter is not None and parameter.device.type == "cuda"
    devices = [parameter.device.index or 0] if cuda and parameter is not None else []
    with torch.random.fork_rng(devices=devices), torch.no_grad():
        try:
            torch.manual_seed(seed)
            network.eval()
            yield
        finally:
            for module, training in modes:
                module.training = training


def latents(
    network: nn.Module,
    tap: Tap,
    inputs: Tensor,
    *,
    route: Route,
    flat: Callable[[Tensor], Tensor],
    precision: Callable[[], AbstractContextManager[object]],
    chunk: int = CHUNK,
) -> Tensor:
    """Flat latents of inputs, by a forward of the layer or of the whole network.

    Args:
        network: The network, in the state that `undisturbed` leaves it.
        tap: Attached to the layer.
        inputs: Shape (N, ...), on any device.
        route: "layer" calls the layer on the inputs; "network" calls the network and reads the layer.
        flat: Turns the layer's output into rows.
        precision: The trainer's forward context (autocast).
        chunk: Inputs a forward.

    Returns:
        Latents of shape (N, D), float32, on the network's device.

    Raises:
        LayerError: The network's forward does not call the layer.
    """
    device = next((p.device for p in network.parameters()), inputs.device)
    return torch.cat([_one(network, tap, x.to(device), route, flat, precision) for x in inputs.split(chunk)])


def _one(
    network: nn.Module,
    tap: Tap,
    x: Tensor,
    route: Route,
    flat: Callable[[Tensor], Tensor],
    precision: Callable[[], AbstractContextManager[object]],
) -> Tensor:
    with tap.armed(), precision():
        (tap.module if route == "layer" else network)(x)
    taken = tap.take(len(x))
    if taken is None:
        raise LayerError(f"Expected the network's forward to call layer {tap.layer!r} but it did not.")
    return flat(taken[0]).float()
