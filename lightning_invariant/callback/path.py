"""The way from inputs to the latent, as a module that can be exported."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from torch import Tensor, nn

from lightning_invariant.errors import LayerError

if TYPE_CHECKING:
    from lightning_invariant.callback.encode import Route
    from lightning_invariant.callback.source import Source
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

    def forward(self, *x: Tensor) -> Tensor:
        """Flat latents of inputs, and of a mask where sets are padded."""
        with self.tap.armed():
            self.source(*x)
        return self.flat(self.tap.first())


class FunctionPath(nn.Module):
    """Inputs to flat latents by the user's function of network and batch.

    The function gets a batch like those of the training, in which only inputs and mask are there.

    Args:
        network: The user's network.
        source: Holds the function, and how a batch is made.
    """

    def __init__(self, network: nn.Module, source: Source) -> None:
        super().__init__()
        self.network, self.source = network, source
        self.training = False

    def forward(self, *x: Tensor) -> Tensor:
        """Flat latents of inputs, and of a mask where sets are padded."""
        if self.source.function is None:
            raise LayerError("Expected a function of network and batch but latents come from a layer.")
        columns: dict[str, Any] = dict(zip(("x", "mask"), x, strict=False))
        batch = self.source.content.rebuilt(Withholding(columns))
        return self.source.rows(self.source.tap.selected(self.source.function(self.network, batch)))


class Withholding(dict[str, Any]):
    """Columns of a batch of which those that an encoder does not get are there in name only."""

    def __missing__(self, name: str) -> Withheld:
        return Withheld()


class Withheld:
    """What stands in a batch where an encoder gets nothing, such as labels."""

    def __getattr__(self, name: str) -> NoReturn:
        # An AttributeError, since whoever asks whether there is such a method must be told no.
        raise AttributeError(
            "Expected a function that reads only the inputs, and the mask, off the batch but it reads something else; "
            "leave that out, since whoever pulls the encoder does not have it."
        )
