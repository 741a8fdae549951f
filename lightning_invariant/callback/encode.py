"""Latents of inputs of our own choice: a forward of the network as it stands that changes nothing in it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from lightning_invariant.callback.source import Precision, Route, Source

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
    # What the user compiled runs as it is: our batches would make it compile again.
    eager = torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()
    with eager, torch.random.fork_rng(devices=devices), torch.no_grad():
        try:
            torch.manual_seed(seed)
            network.eval()
            yield
        finally:
            for module, training in modes:
                module.training = training


def latents(
    source: Source,
    network: nn.Module,
    load: Callable[[Tensor], Mapping[str, Tensor]],
    rows: Tensor,
    *,
    route: Route,
    precision: Precision,
    forwards: int = 0,
    chunk: int = CHUNK,
) -> Tensor:
    """Flat latents of inputs, a chunk of them at a time.

    Args:
        source: Attached to the network.
        network: The network, in the state that `undisturbed` leaves it.
        load: Gives the columns of a chunk of rows, on any device.
        rows: Shape (N,).
        route: How a forward reaches the latents.
        precision: The trainer's forward context (autocast).
        forwards: Least number of forwards. Where parameters are shared out among processes each forward is a
            collective call, so processes with fewer inputs repeat their first one.
        chunk: Inputs a forward.

    Returns:
        Latents of shape (N, D), float32, on the network's device.

    Raises:
        LayerError: The network's forward does not call the layer.
    """
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    chunks = [*rows.split(chunk)]
    padding = [rows[:1]] * max(0, forwards - len(chunks))
    found = []
    for part in (*chunks, *padding):
        columns = {name: column.to(device) for name, column in load(part).items()}
        found.append(source.forward(network, columns, route, precision))
    return torch.cat(found[: len(chunks)])
