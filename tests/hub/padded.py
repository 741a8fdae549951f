"""A small encoder of padded sets, and inputs for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lightning_invariant.encoder import InvariantEncoder, export_encoder
from lightning_invariant.projections import PointSort
from tests.hub.small_encoder import grouped

if TYPE_CHECKING:
    from pathlib import Path

POINTS = "S6: 6 points x 4"


class PointNetwork(nn.Module):
    """The same layers for each point, and garbage where there is none."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 4))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        context = (self.net(x) * mask[..., None]).sum(1, keepdim=True)
        return torch.where(mask[..., None], self.net(x) + context, 99.0 + x.sum())


def network() -> PointNetwork:
    torch.manual_seed(0)
    return PointNetwork().eval()


def projection(**settings: Any) -> PointSort:
    return PointSort(POINTS, ragged=True, **settings)


def sets(rows: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Points (B, 6, 2) and which of them exist, at least one."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 6, 2, generator=generator)
    kept = torch.randint(1, 7, (rows, 1), generator=generator)
    return x, torch.rand(rows, 6, generator=generator).argsort(dim=1) < kept


def export(folder: Path, **settings: Any) -> InvariantEncoder:
    return export_encoder(folder, network(), projection(), sets(3), **grouped(mask=1, **settings))
