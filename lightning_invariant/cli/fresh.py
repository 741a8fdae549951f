"""Loads an exported encoder in a process that has neither the author's network nor Lightning.

Run as `python -m lightning_invariant.cli.fresh FOLDER IMAGES`: prints one JSON object.
"""

from __future__ import annotations

import json
import sys
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any


class _Blocked(MetaPathFinder):
    """Refuses imports, so that nothing can lean on them by accident."""

    names = ("lightning_invariant.zoo", "pytorch_lightning", "lightning")

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:
        """Refuse the blocked names and everything below."""
        if any(fullname == name or fullname.startswith(f"{name}.") for name in self.names):
            raise ImportError(f"{fullname} is blocked in this process")


def check(folder: str, images: str) -> dict[str, Any]:
    """Compare features of upright images with those of the same images rotated by every element of the group.

    Args:
        folder: The exported encoder.
        images: A safetensors file with `images` of shape (B, C, H, W).

    Returns:
        `invariance_error` and `raw_error` (the largest over the group's elements), `features`, `loaded_from`.
    """
    from safetensors.torch import load_file

    from lightning_invariant.encoder import InvariantEncoder
    from lightning_invariant.groups.actions import ImageAction
    from lightning_invariant.metrics import invariance_error

    encoder = InvariantEncoder.from_pretrained(folder)
    group = encoder.projection.representation.group
    x = load_file(images)["images"]
    action = ImageAction(group)
    turned = [action.transform(x, g) for g in group.elements()]
    features, latents = encoder(x).detach(), encoder.latent(x).detach()
    return {
        "invariance_error": max(float(invariance_error(encoder(t).detach(), features)) for t in turned),
        "raw_error": max(float(invariance_error(encoder.latent(t).detach(), latents)) for t in turned),
        "features": features.shape[1],
        "loaded_from": str(Path(folder)),
    }


if __name__ == "__main__":
    sys.meta_path.insert(0, _Blocked())
    print(json.dumps(check(*sys.argv[1:])))
