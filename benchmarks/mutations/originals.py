"""The artefacts that are mutated, and inputs for them."""

from __future__ import annotations

from typing import TYPE_CHECKING
from unittest.mock import patch

import torch
from torch import Tensor, nn

from lightning_invariant.artifact import tensors
from lightning_invariant.encoder import (
    ExportOptions,
    Head,
    InvariantEncoder,
    Measurements,
    Preprocessing,
    export_encoder,
)
from lightning_invariant.probes import ridge_fit
from lightning_invariant.projections import MaxFilter, PointSort

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Branching(nn.Module):
    """Cannot be traced, so that it is published by its class path."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.Linear(36, width)

    def forward(self, x: Tensor) -> Tensor:
        """Latents."""
        z = self.layer(x.flatten(1))
        return z if z.sum() > 0 else -z


class Padded(nn.Module):
    """Six points in a plane for an image, of which some exist."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 4)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Latents, and anything where there is no point."""
        z = self.layer(x)
        return torch.where(mask[..., None], z + z.mean(1, keepdim=True), x.sum())


def inputs() -> Tensor:
    return torch.randn(3, 1, 6, 6, generator=torch.Generator().manual_seed(0))


def _network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 8)]
    return nn.Sequential(*layers).eval()


def _plain(folder: Path) -> InvariantEncoder:
    return export_encoder(
        folder,
        _network(),
        MaxFilter("C4: 2 regular"),
        inputs(),
        measured=Measurements(numbers={"invariant/error": 1e-7}),
    )


def _shards(folder: Path) -> InvariantEncoder:
    projection = MaxFilter("C4: 2 regular")
    probe = ridge_fit(torch.randn(30, 16), torch.arange(30) % 3)
    with patch.object(tensors, "SHARD_BYTES", 1000):
        return export_encoder(
            folder,
            _network(),
            projection,
            inputs(),
            options=ExportOptions(
                head=Head.from_probe(probe, ["a", "b", "c"]), preprocessing=Preprocessing((0.5,), (0.5,), (6, 6))
            ),
        )


def _class(folder: Path) -> InvariantEncoder:
    network = Branching(8).eval()
    return export_encoder(
        folder, network, MaxFilter("C4: 2 regular"), inputs(), options=ExportOptions(arguments={"width": 8})
    )


def padded_inputs() -> tuple[Tensor, Tensor]:
    """Points (3, 6, 2) and which of them exist."""
    return inputs().flatten(1)[:, :12].reshape(3, 6, 2), torch.arange(6) < torch.tensor([[6], [2], [4]])


def given_to(folder: Path) -> tuple[Tensor, ...]:
    """Inputs for what a folder holds, as its caller knows it."""
    return padded_inputs() if (folder / ".padded").exists() else (inputs(),)


def _padded(folder: Path) -> InvariantEncoder:
    torch.manual_seed(0)
    projection = PointSort("S6: 6 points x 4", ragged=True)
    encoder = export_encoder(folder, Padded().eval(), projection, padded_inputs(), options=ExportOptions(mask=1))
    (folder / ".padded").touch()
    return encoder


ORIGINALS: dict[str, Callable[[Path], InvariantEncoder]] = {
    "plain": _plain,
    "shards": _shards,
    "class": _class,
    "padded": _padded,
}


def export_originals(folder: Path) -> dict[str, Tensor]:
    """Write every original; returns its features of `inputs()` by name."""
    folder.mkdir()
    with torch.no_grad():
        return {name: make(folder / name)(*given_to(folder / name)) for name, make in ORIGINALS.items()}
