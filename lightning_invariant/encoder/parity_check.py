"""Features of a live network, kept beside its export, so that another process can see that it loads the same.

The file holds inputs of the user's data: it stays in the local queue and is never uploaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lightning_invariant.encoder.encoder import InvariantEncoder
from lightning_invariant.errors import ArtifactError
from lightning_invariant.guests import escnn_modules
from lightning_invariant.metrics import invariance_error
from lightning_invariant.projections import GraphReadout

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lightning_invariant.projections import Projection

SIZES = (1, 2)
"""Batches that are compared beside that of all inputs."""
ERROR_SLACK = 1e-3
"""By how much the invariance error may differ, of the distance between different samples; float32 stays below."""


def write_parity(
    path: Path,
    network: nn.Module,
    projection: Projection,
    inputs: Sequence[Tensor],
    moved: Sequence[Tensor] | None = None,
    mask: int | None = None,
    *,
    rows: bool = True,
) -> None:
    """Keep inputs, on the network's device, and what the live network makes of them in a safetensors file.

    Args:
        path: The file to write.
        network: From inputs to latents, in eval mode.
        projection: From latents to features.
        inputs: Each input of the network, at least two rows.
        moved: The same inputs, transformed by group elements, where that is known.
        mask: Which input is a mask, which the projection gets too.
        rows: Whether inputs have rows, so that smaller batches are compared too.
    """

    def features(columns: Sequence[Tensor]) -> Tensor:
        return live_features(network, projection, columns, mask)[0]

    sizes = (*(SIZES if rows else ()), len(inputs[0]))
    kept = {f"features.{size}": features([column[:size] for column in inputs]) for size in sizes}
    kept |= {f"inputs.{i}": column for i, column in enumerate(inputs)}
    if moved is not None:
        kept |= {f"moved.{i}": column for i, column in enumerate(moved)} | {"features.moved": features(moved)}
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in kept.items()}, path)


def check_parity(path: Path, folder: Path) -> None:
    """Load an exported folder in this process and compare it with the live network that it came from.

    Raises:
        ArtifactError: It gives other features for a batch of 1, 2 or all inputs, or another invariance error.
    """
    kept, encoder = load_file(path), InvariantEncoder.from_pretrained(folder)
    inputs, moved = (
        [kept[f"{name}.{i}"] for i in range(len(encoder.config["inputs"])) if f"{name}.{i}" in kept]
        for name in ("inputs", "moved")
    )
    live = kept[f"features.{len(inputs[0])}"]
    for size in (*SIZES, len(inputs[0])):
        if f"features.{size}" not in kept:
            continue
        found = encoder(*(column[:size] if size < len(inputs[0]) else column for column in inputs))
        require_close(f"a batch of {size}", found, kept[f"features.{size}"])
    if moved:
        before = float(invariance_error(kept["features.moved"], live))
        now = float(invariance_error(encoder(*moved).detach().to(live), encoder(*inputs).detach().to(live)))
        if not abs(now - before) <= ERROR_SLACK:
            raise ArtifactError(
                f"Expected the invariance error of the live network, {before:.3g}, but the export has {now:.3g}; "
                "nothing was uploaded."
            )


@torch.no_grad()
def live_features(
    network: nn.Module, projection: Projection, inputs: Sequence[Tensor], mask: int | None
) -> tuple[Tensor, torch.dtype]:
    """Return the features of a live network, and the type of its latents."""
    # TF32 would differ from the processor on which an export is checked.
    with torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=False):
        latents = escnn_modules.plain_output(network(*(column.clone() for column in inputs)))
        if not isinstance(latents, Tensor):
            raise ArtifactError(
                f"Expected a network that returns a tensor of latents but got {type(latents).__name__}; "
                "wrap it in a module that returns the latents alone."
            )
        place = next((tensor.device for tensor in projection.state_dict().values()), latents.device)
        index = len(inputs) - 1 if isinstance(projection, GraphReadout) else mask
        beside = [] if index is None else [inputs[index].to(place)]
        return projection.single(latents.to(place), *beside), latents.dtype


def require_close(what: str, found: Tensor, live: Tensor) -> None:
    """Refuse features of a loaded encoder that differ from the live ones by more than rounding."""
    if not torch.isfinite(live).all():
        raise ArtifactError(f"Expected finite features of {what} but got NaN or infinity; the export is refused.")
    tolerance = torch.finfo(live.dtype).eps ** 0.5
    difference = float((found.detach().to(live) - live).abs().max() / live.abs().max().clamp_min(1e-30))
    if not difference <= tolerance:
        raise ArtifactError(
            f"Expected the exported encoder to give the live features of {what} within {tolerance:.2g} but they differ "
            f"by {difference:.2g}, relative to the largest; the export is refused."
        )
