"""What is kept of the batches that pass: a bank of training inputs, and validation inputs with their latents."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lightning_invariant.callback.batch import find_inputs, find_labels
from lightning_invariant.callback.encode import Route, latents, undisturbed
from lightning_invariant.callback.evidence import Evidence
from lightning_invariant.callback.reservoir import Reservoir
from lightning_invariant.callback.tap import Pool, Tap, pooled
from lightning_invariant.errors import LatentError, LayerError
from lightning_invariant.groups import Representation
from lightning_invariant.groups.actions import InputAction, default_action

TRIED = 8
"""Inputs of which a route is tried out."""
ALIKE = 0.05
"""Largest relative difference between a route's latents and those of the user's own step; bfloat16 stays below it."""
ROUTES: tuple[Route, ...] = ("network", "layer")
Precision = Callable[[], AbstractContextManager[object]]


@dataclass
class Collector:
    """Keeps bounded samples and turns them into evidence.

    Args:
        representation: How the group acts on the latent.
        tap: Reads the layer.
        pool: How positions of a feature map are pooled.
        action: How the group acts on inputs; None to find one by the inputs' shape.
        inputs: Reads inputs off an unusual batch.
        labels: Reads labels off an unusual batch.
        bank_size: Training inputs kept.
        sample_size: Validation inputs kept, for each loader.
        max_bytes: Bound on each of those samples' memory.
        seed: Of every random choice.
    """

    representation: Representation
    tap: Tap
    pool: Pool | None
    action: InputAction | None
    inputs: Callable[[Any], Tensor] | None
    labels: Callable[[Any], Tensor] | None
    bank_size: int
    sample_size: int
    max_bytes: int
    seed: int
    route: Route | None = None
    unreachable: str = ""
    samples: dict[int, Reservoir] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.bank = Reservoir(self.bank_size, self.max_bytes, self.seed)

    def flat(self, z: Tensor) -> Tensor:
        """Rows of a layer's output."""
        return pooled(z, self.representation, self.pool)

    def begin_training(self) -> None:
        """Forget what was kept and learned of another run."""
        self.bank.clear()
        self.route = None

    def begin_validation(self) -> None:
        """Start fresh samples; the bank stays."""
        self.samples = {}

    def add_training(self, batch: Any) -> None:
        """Offer a training batch to the bank."""
        x, y = find_inputs(batch, self.inputs), find_labels(batch, self.labels)
        if x is not None:
            self.bank.add(_columns(x=x, y=_fitting(y, len(x))))

    def add_validation(self, batch: Any, loader: int) -> bool:
        """Offer a validation batch whose forward was recorded.

        Returns:
            Whether the layer ran.

        Raises:
            LatentError: The latent does not fit.
        """
        x, y = find_inputs(batch, self.inputs), find_labels(batch, self.labels)
        rows = len(x) if x is not None else len(y) if y is not None else -1
        taken = self.tap.take(rows)
        if taken is None:
            return False
        z, layer_input = taken
        flat = self.flat(z).float()
        if self.route is None and x is not None:
            self.route = "layer" if _same(layer_input, x) else None
        if loader not in self.samples:
            self.samples[loader] = Reservoir(self.sample_size, self.max_bytes, self.seed + 1 + loader)
        self.samples[loader].add(_columns(z=flat, x=x, y=_fitting(y, len(flat))))
        return True

    def check_latents(self) -> None:
        """Refuse latents of which no row is finite.

        Raises:
            LatentError: Every row kept so far holds NaN or infinity.
        """
        rows = torch.cat([sample.columns["z"] for sample in self.samples.values()])
        if len(rows) and not rows.isfinite().all(dim=1).any():
            raise LatentError(
                f"Expected finite latents from layer {self.tap.layer!r} but got NaN or infinity in all {len(rows)} "
                "rows; look at the inputs' scale and the layer's weights."
            )

    def evidence(self, network: nn.Module, precision: Precision, loader: int = 0) -> Evidence:
        """Latents of the bank, the queries, and the moved queries, by forwards that change nothing.

        Raises:
            LatentError: The validation sample is empty.
        """
        sample = self.samples.get(loader)
        if sample is None or not len(sample):
            raise LatentError(f"Expected validation latents but got none from loader {loader}.")
        columns = sample.columns
        device = next((p.device for p in network.parameters()), torch.device("cpu"))
        z, x = columns["z"].to(device), columns.get("x")
        generator = torch.Generator().manual_seed(self.seed + 1 + loader)
        elements = self.representation.group.sample(len(z), generator)
        turned = self._turned(network, x, z, elements, precision)
        with undisturbed(network, self.seed):
            moved = self.representation.move(z, elements) if turned is None else self.encode(network, turned, precision)
            reachable = self.route is not None and len(self.bank) > 0
            bank = self.encode(network, self.bank.columns["x"], precision) if reachable else None
        labels, bank_labels = columns.get("y"), self.bank.columns.get("y")
        empty = bank is None
        evidence = Evidence(
            bank=z[:0] if bank is None else bank,
            bank_labels=(labels[:0] if labels is not None else None) if empty else bank_labels,
            queries=z,
            moved=moved,
            elements=elements,
            labels=labels,
            thumbnails=_pictures(x if turned is None else turned),
            simulated=turned is None,
        )
        return evidence.halved() if empty else evidence

    def reach(self, network: nn.Module, x: Tensor, precision: Precision, z: Tensor | None = None) -> bool:
        """Find out whether a forward of the network, or of the layer alone, gives latents of inputs.

        Args:
            network: In the state that `undisturbed` leaves it.
            x: Inputs.
            precision: The trainer's forward context.
            z: Their latents in the user's own step. A forward that gives others (a step that normalises its inputs
                before the layer sees them) does not count.

        Raises:
            LatentError: A forward reaches the layer, but its latent does not fit.
        """
        failures = []
        for route in (self.route,) if self.route is not None else ROUTES:
            try:
                found = latents(network, self.tap, x[:TRIED], route=route, flat=self.flat, precision=precision)
                _require_alike(found, z)
            except LatentError:
                raise
            except Exception as error:  # any user's forward may raise anything
                failures.append(f"{route}: {type(error).__name__}: {error}")
            else:
                self.route = route
                return True
        self.route = None
        self.unreachable = f"a forward of inputs {tuple(x.shape[1:])} does not give them ({'; '.join(failures)})"
        return False

    def encode(self, network: nn.Module, x: Tensor, precision: Precision) -> Tensor:
        """Flat latents of inputs, by the route that `reach` found."""
        return latents(network, self.tap, x, route=self.route or "network", flat=self.flat, precision=precision)

    def _turned(
        self, network: nn.Module, x: Tensor | None, z: Tensor, elements: Tensor, precision: Precision
    ) -> Tensor | None:
        """The inputs moved by the elements; None where they cannot be, with the reason in `unreachable`."""
        group = self.representation.group
        if x is None:
            self.unreachable = "the batch holds no input tensor (give inputs=)"
            return None
        with undisturbed(network, self.seed):
            if not self.reach(network, x, precision, z):
                return None
        action = self.action if self.action is not None else default_action(group, x)
        if action is None:
            self.unreachable = f"it is not known how {group} moves inputs {tuple(x.shape[1:])} (give action=)"
            return None
        return action.move(x, elements)


def _require_alike(found: Tensor, z: Tensor | None) -> None:
    if z is None:
        return
    expected = z[: len(found)].to(found)
    rows = expected.isfinite().all(dim=1)
    if (found - expected)[rows].norm() > ALIKE * expected[rows].norm():
        raise LayerError("other latents than in the validation step")


def _columns(**columns: Tensor | None) -> dict[str, Tensor]:
    return {name: column for name, column in columns.items() if column is not None}


def _fitting(labels: Tensor | None, rows: int) -> Tensor | None:
    return labels if labels is not None and len(labels) == rows else None


def _same(one: Tensor | None, other: Tensor) -> bool:
    return one is not None and one.shape == other.shape and one.data_ptr() == other.data_ptr()


def _pictures(x: Tensor | None) -> Tensor | None:
    if x is None or (not x.is_floating_point() and x.dtype != torch.uint8):
        return None
    if x.dim() == 3:
        x = x.unsqueeze(1)
    return x if x.dim() == 4 and x.shape[1] in (1, 3) and min(x.shape[2:]) >= 2 else None
