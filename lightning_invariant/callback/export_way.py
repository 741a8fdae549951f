"""Which way from inputs to latents is exported, and some inputs that go it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from lightning_invariant.callback.path import FunctionPath, LatentPath
from lightning_invariant.errors import LayerError
from lightning_invariant.groups.actions import default_action

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lightning_invariant.callback.collector import Collector
    from lightning_invariant.callback.source import Source
    from lightning_invariant.groups.actions import InputAction

COMPARED = 16
"""Inputs on which a fresh process compares an export with the live network."""


class Way(NamedTuple):
    """A network from inputs to flat latents.

    Attributes:
        network: With the user's own weights in it.
        inputs: Some for it, on its device: x, and a mask where sets are padded.
        mask: Which of them is the mask; None if none is.
    """

    network: nn.Module
    inputs: tuple[Tensor, ...]
    mask: int | None


def find_way(module: nn.Module, collector: Collector) -> Way:
    """The way that the callback's own forwards go.

    Raises:
        LayerError: There is none that whoever pulls the encoder could go too.
    """
    source, columns = collector.source, collector.bank.few(COMPARED)
    require_exportable(source)
    source.attach(module)
    inputs = columns_of(columns)
    if collector.route is None or not inputs or len(inputs[0]) < 2:
        raise LayerError(
            f"Expected a forward of single tensors to reach layer {source.tap.layer!r} but none did, so there is "
            "no encoder to export; give inputs= to read x off the batch."
        )
    device = next((p.device for p in module.parameters()), inputs[0].device)
    on_it = tuple(column.to(device) for column in inputs)
    return Way(path_of(module, source, collector), on_it, 1 if len(inputs) > 1 else None)


def require_exportable(source: Source) -> None:
    """Refuse latents that depend on what an encoder does not get.

    Raises:
        LayerError: With the remedy.
    """
    if source.ragged and source.content.mask is None:
        raise LayerError(
            "Expected a mask that is read off the batch but only the layer gives it, so that an export could not tell "
            "which points exist; give mask=, a function of the batch."
        )
    if source.function is not None and not source.content.movable:
        raise LayerError(
            "Expected inputs that are a tensor of the batch but inputs= makes one, so that the function cannot be "
            "given others; let inputs= return a tensor as it is in the batch, and change it in the function."
        )


def path_of(module: nn.Module, source: Source, collector: Collector) -> nn.Module:
    """Inputs to flat latents, without what marks points that do not exist."""
    if source.function is not None:
        return FunctionPath(module, source)
    return LatentPath(module, source.tap, collector.route or "network", source.rows)


def columns_of(columns: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    """Inputs and mask of rows that hold a point."""
    found = [columns[name] for name in ("x", "mask") if name in columns]
    if len(found) == 2:
        filled = found[1].any(dim=1)
        found = [column[filled] for column in found]
    return tuple(found)


def moved(way: Way, collector: Collector, action: InputAction | None) -> tuple[Tensor, ...] | None:
    """The inputs moved by random group elements, where it is known how; never mind if not."""
    group, still = collector.source.representation.group, [x.cpu() for x in way.inputs]
    given = still[0] if len(still) == 1 else tuple(still)
    action = action or default_action(group, given)
    if action is None:
        return None
    elements = group.sample(len(still[0]), torch.Generator().manual_seed(collector.seed))
    turned = action.move(given, elements)
    parts = turned if isinstance(turned, tuple) else (turned,)
    return tuple(part.to(x.device) for part, x in zip(parts, way.inputs, strict=True))
