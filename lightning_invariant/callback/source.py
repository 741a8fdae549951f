"""Where latents come from: a hooked layer, or a function of network and batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor, nn

from lightning_invariant.callback.masked import pack
from lightning_invariant.callback.tap import Pool, Tap, pooled
from lightning_invariant.errors import LayerError

if TYPE_CHECKING:
    from lightning_invariant.callback.content import Content
    from lightning_invariant.groups import Representation

Route = Literal["layer", "network", "function"]
"""How a forward of our own gets latents: of the layer, of the whole network, or by the user's function."""
LatentFunction = Callable[[Any, Any], Any]
Precision = Callable[[], AbstractContextManager[object]]


class Source:
    """Reads flat latents, in the user's own steps and in forwards of our own.

    Args:
        layer: Name of a submodule, or a function of network and batch.
        representation: Of the latent, without masks.
        content: What a batch holds.
        pick: Takes the latent out of a tuple or dict of outputs.
        pool: How positions of a feature map are pooled.
        ragged: Whether latents are padded sets and come with a mask.
    """

    def __init__(
        self,
        layer: str | LatentFunction,
        representation: Representation,
        content: Content,
        pick: Callable[[Any], Any] | int | str | None,
        pool: Pool | None,
        *,
        ragged: bool,
    ) -> None:
        self.function = None if isinstance(layer, str) else layer
        name = layer if isinstance(layer, str) else getattr(layer, "__qualname__", type(layer).__name__)
        self.tap = Tap(name, pick, masked=ragged and content.mask is None)
        self.representation, self.content, self.ragged = representation, content, ragged
        self.pool: Pool | None = pool

    @property
    def routes(self) -> tuple[Route, ...]:
        """What may be tried."""
        return ("network", "layer") if self.function is None else ("function",)

    def attach(self, network: nn.Module) -> None:
        """Hook the layer, if there is one to hook.

        Raises:
            LayerError: The network has no such layer.
        """
        if self.function is None:
            self.tap.attach(network)

    def recorded(self, columns: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None] | None:
        """Latents (B, D) that the layer gave in the user's own step, and the layer's own input; None if it did not run.

        Raises:
            LatentError: The latent does not fit.
        """
        rows = len(next(iter(columns.values()))) if columns else -1
        taken = self.tap.take(rows, views=self.content.views)
        return None if taken is None else (self.flat(taken[0], columns.get("mask")), taken[1])

    def forward(self, network: nn.Module, columns: Mapping[str, Tensor], route: Route, precision: Precision) -> Tensor:
        """Latents (B, D) by a forward of our own.

        Raises:
            LayerError: The network's forward does not call the layer.
            LatentError: The latent does not fit.
        """
        rows = len(columns["x"])
        if self.function is not None:
            batch = self.content.rebuilt(columns)
            with precision():
                output = self.function(network, batch)
            return self.flat(self.tap.latent(output, rows), columns.get("mask"))
        called = self.tap.module if route == "layer" else network
        with self.tap.armed(), precision():
            called(*(columns[name] for name in ("x", "mask") if name in columns))
        taken = self.tap.take(rows)
        if taken is None:
            raise LayerError(f"Expected the network's forward to call layer {self.tap.layer!r} but it did not.")
        return self.flat(taken[0], columns.get("mask"))

    def flat(self, z: Any, mask: Tensor | None = None) -> Tensor:
        """Rows of an output, float32; with the mask as one more number of each point if sets are padded.

        Raises:
            LatentError: The shape does not fit.
        """
        if isinstance(z, tuple):
            z, mask = z
        rows = self.rows(z)
        return pack(rows, mask, self.representation) if self.ragged and mask is not None else rows

    def rows(self, z: Tensor) -> Tensor:
        """Rows of a tensor, float32, padding and all.

        Raises:
            LatentError: The shape does not fit.
        """
        return pooled(z, self.representation, self.pool).float()
