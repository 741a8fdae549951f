"""A small network with C4 latents, and its export."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lightning_invariant.encoder import (
    Card,
    ExportOptions,
    Head,
    InvariantEncoder,
    Measurements,
    export_encoder,
)
from lightning_invariant.projections import MaxFilter, Projection

if TYPE_CHECKING:
    from pathlib import Path

MEASURED = {"raw/knn": 0.31, "invariant/knn": 0.95, "raw/error": 0.8, "invariant/error": 3e-7}


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(64, 8)]
    return nn.Sequential(*layers).eval()


def images(count: int, seed: int = 1) -> Tensor:
    return torch.randn(count, 1, 6, 6, generator=torch.Generator().manual_seed(seed))


def projection() -> Projection:
    return MaxFilter("C4: 2 regular")


def export(folder: Path, seed: int = 0, **settings: Any) -> InvariantEncoder:
    return export_encoder(folder, network(seed), projection(), images(3), **grouped(**{"numbers": MEASURED} | settings))


def grouped(**settings: Any) -> dict[str, Any]:
    """Settings by their own names as the value objects that `export_encoder` takes."""
    kinds = {"measured": Measurements, "card": Card, "options": ExportOptions}
    if probe := settings.get("head"):
        settings["head"] = Head.from_probe(probe, settings.pop("labels", None))
    for name, kind in kinds.items():
        given = {key: settings.pop(key) for key in list(settings) if key in kind.__dataclass_fields__}
        if given:
            settings[name] = kind(**given)
    return settings
