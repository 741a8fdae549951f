"""The way from inputs to the tapped latent, as a module that can be exported."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from lightning_invariant.callback.encode import Route
    from lightning_invariant.callback.tap import Tap


class LatentPath(nn.Module):
    """Inputs to flat latents: the tapped layer alone, or the network up to it.

    Args:
        network: The user's network.
        tap: Attached to the layer.
        route: "layer" if the layer takes the inputs itself, otherwise "network".
        flat: Turns the layer's output into rows.
    """

    def __init__(self, network: nn.Module, tap: Tap, route: Route, flat: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.source = tap.module if route == "layer" else network
        self.tap, self.flat = tap, flat
        self.training = False

    def forward(self, x: Tensor) -> Tensor:
        """Flat latents."""
        with self.tap.armed():
            self.source(x)
        return self.flat(self.tap.first())
