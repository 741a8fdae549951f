"""What is kept of the batches that pass: a bank of training inputs, and validation inputs with their latents."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lightning_invariant.callback.positions import Positions, flat_loaders
from lightning_invariant.callback.reservoir import Reservoir
from lightning_invariant.errors import LatentError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from lightning_invariant.callback.content import Content
    from lightning_invariant.callback.source import Precision, Route, Source


@dataclass
class Collector:
    """Keeps bounded samples.

    The bank is drawn from one whole pass over the training data; later passes would bring the same samples again.

    Args:
        source: Reads latents.
        content: Reads batches.
        bank_size: Training inputs kept.
        sample_size: Validation inputs kept, for each loader.
        max_bytes: Bound on each of those samples' memory.
        seed: Of every random choice.
        route: How a forward of our own gives the latents; None as long as that is not known.
    """

    source: Source
    content: Content
    bank_size: int
    sample_size: int
    max_bytes: int
    seed: int
    route: Route | None = None
    samples: dict[int, Reservoir] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.bank = Reservoir(self.bank_size, self.max_bytes, self.seed)
        self.bank_is_complete = False
        self._training, self._validation = Positions(), [Positions()]

    def begin_training(self) -> None:
        """Forget what was kept and learned of another run."""
        self.bank.clear()
        self.bank_is_complete, self.route = False, None

    def begin_pass(self, loaders: Any) -> None:
        """A pass over the training data starts."""
        seen = self._training.seen if len(self.bank) else 0
        self._training = Positions.of(loaders)
        if seen:  # what came before was not a whole pass: number on, and nothing counts as repeated
            self._training.seen, self._training.length = seen, None

    def end_pass(self, *, whole: bool) -> None:
        """A pass ends; after a whole one, or with a full bank, nothing more is taken in."""
        self.bank_is_complete = len(self.bank) > 0 and (whole or self.bank.seen >= self.bank.room)

    def begin_validation(self, loaders: Any) -> None:
        """Start fresh samples; the bank stays."""
        self.samples = {}
        self._validation = [Positions.of(loader) for loader in flat_loaders(loaders)] or [Positions.of(None)]

    def add_training(self, batch: Any) -> None:
        """Offer a training batch to the bank."""
        if not self.bank_is_complete:
            columns = self.content.columns(batch)
            if "x" in columns:
                _offer(self.bank, columns, self._training)

    def add_validation(self, batch: Any, loader: int, network: nn.Module, precision: Precision) -> bool:
        """Offer a validation batch whose forward was recorded.

        Returns:
            Whether the layer ran.

        Raises:
            LatentError: The latent does not fit.
        """
        columns = self.content.columns(batch)
        if self.source.function is None:
            taken = self.source.recorded(columns)
            if taken is None:
                return False
            columns["z"], layer_input = taken
            if self.route is None and "x" in columns:
                self.route = "layer" if _same(layer_input, columns["x"]) else None
        elif loader not in self.samples:
            self._try_function(columns, network, precision)
        if loader not in self.samples:
            self.samples[loader] = Reservoir(self.sample_size, self.max_bytes, self.seed + 1 + loader)
        _offer(self.samples[loader], columns, self._validation[min(loader, len(self._validation) - 1)])
        return True

    def check_latents(self) -> None:
        """Refuse latents of which no row is finite.

        Raises:
            LatentError: Every row kept so far holds NaN or infinity.
        """
        kept = [sample.columns["z"] for sample in self.samples.values() if "z" in sample.columns]
        rows = torch.cat(kept) if kept else torch.empty(0, 1)
        if len(rows) and not rows.isfinite().all(dim=1).any():
            raise LatentError(
                f"Expected finite latents from layer {self.source.tap.layer!r} but got NaN or infinity in all "
                f"{len(rows)} rows; look at the inputs' scale and the layer's weights."
            )

    def _try_function(self, columns: Mapping[str, Tensor], network: nn.Module, precision: Precision) -> None:
        """The first batch shows whether the user's function fits."""
        from lightning_invariant.callback.encode import undisturbed

        if "x" not in columns:
            raise LatentError("Expected inputs in the batch but found none; give inputs= to read them.")
        with undisturbed(network, self.seed):
            self.source.forward(network, columns, "function", precision)
        self.route = "function"


def _offer(reservoir: Reservoir, columns: Mapping[str, Tensor], positions: Positions) -> None:
    places, repeats = positions.next(len(next(iter(columns.values()))))
    if repeats:
        real = places < (positions.length or 0)
        columns, places = {name: column[real.to(column.device)] for name, column in columns.items()}, places[real]
    reservoir.add(columns, places)


def _same(one: Tensor | None, other: Tensor) -> bool:
    return one is not None and one.shape == other.shape and one.data_ptr() == other.data_ptr()
