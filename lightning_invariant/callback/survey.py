"""Evidence for one report: latents of the bank, the queries and the moved queries, shared out among the processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_invariant.callback.encode import CHUNK, latents, undisturbed
from lightning_invariant.callback.evidence import Evidence, joined
from lightning_invariant.callback.gather import Share, agreed, collected, gathered, process_count, together
from lightning_invariant.callback.reservoir import Reservoir
from lightning_invariant.errors import LatentError, LayerError
from lightning_invariant.groups.actions import InputAction, default_action

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lightning_invariant.callback.collector import Collector
    from lightning_invariant.callback.source import Precision
    from lightning_invariant.groups import Representation

TRIED = 8
"""Inputs of which a route is tried out."""
ALIKE = 0.05
"""Largest relative difference between a route's latents and those of the user's own step; bfloat16 stays below it."""
ELEMENTS = 0x5EED_0F_E1E5
"""Added to the seed of group elements: data that somebody drew with a small seed must not follow the same numbers."""
RETURNED = 128
"""Inputs that are moved back to see what interpolation costs."""
PICTURE = 32
"""Pixels a side of the pictures that are kept beside latents."""
SMALLEST_PICTURE = 6
"""Pixels a side below which three axes are rather points with coordinates than a picture."""
Columns = dict[str, Tensor]


@dataclass
class Survey:
    """Turns samples into evidence, by forwards that change nothing.

    Every sample has one global order, by which its rows, their group elements and the measured numbers are the same for
    any number of processes.

    Args:
        collector: What was kept.
        representation: How the group acts on flat latents.
        action: How it acts on inputs; None to find that by the inputs' shape.
        unreachable: Why latents of moved inputs are not to be had.
    """

    collector: Collector
    representation: Representation
    action: InputAction | None
    unreachable: str = ""

    def evidence(self, network: nn.Module, precision: Precision, loader: int = 0, share: float = 1.0) -> list[Evidence]:
        """The whole evidence on rank 0, nothing on the others; a collective call.

        Args:
            network: The network as it stands.
            precision: The trainer's forward context.
            loader: Number of the validation loader.
            share: Of the samples that are kept, over 0 and at most 1.

        Raises:
            LatentError: The validation sample is empty, or a latent does not fit; on every process alike.
        """
        collector = self.collector
        sample = collector.samples.get(loader) or Reservoir(collector.sample_size)
        queries, known = agreed(sample, share), agreed(collector.bank, share)
        if not queries.total:
            raise LatentError(f"Expected validation latents but got none from loader {loader}.")
        columns = together(lambda: sample.take(queries.rows))
        spare = _spare(columns, queries)
        together(lambda: self._find_route(network, precision, columns if len(queries.rows) else spare))
        self._agree_on_route()
        generator = torch.Generator().manual_seed(ELEMENTS + collector.seed + loader)
        elements = self.representation.group.sample(queries.total, generator)[queries.places]
        task = _Task(network, precision, columns, spare, queries, known, elements)
        mine = together(lambda: self._local(task))
        places = known.places[: len(mine.bank)], queries.places
        parts = collected((mine.to("cpu") if process_count() > 1 else mine, *places))
        if not parts:
            return []
        order = [torch.cat([part[index] for part in parts]).argsort() for index in (1, 2)]
        whole = joined([part[0] for part in parts]).ordered(*order)
        return [whole if len(whole.bank) else whole.halved()]

    def reach(self, network: nn.Module, columns: Mapping[str, Tensor], precision: Precision) -> bool:
        """Find out whether a forward of our own gives latents of inputs.

        Args:
            network: In the state that `undisturbed` leaves it.
            columns: Inputs, and where they are known their latents in the user's own step. A forward that gives others
                (a step that normalises its inputs before the layer sees them) does not count.
            precision: The trainer's forward context.

        Raises:
            LatentError: A forward reaches the layer, but its latent does not fit.
        """
        collector, failures = self.collector, []
        if "x" not in columns:
            self.unreachable = "the batch holds no input tensor (give inputs=)"
            return False
        tried = {name: column[:TRIED] for name, column in columns.items()}
        rows = torch.arange(len(tried["x"]))
        for route in sorted(collector.source.routes, key=lambda route: route != collector.route):
            try:
                found = latents(collector.source, network, lambda _: tried, rows, route=route, precision=precision)
                _require_alike(found, tried.get("z"))
            except LatentError:
                raise
            except Exception as error:  # any user's forward may raise anything
                failures.append(f"{route}: {type(error).__name__}: {error}")
            else:
                collector.route = route
                return True
        shape = tuple(columns["x"].shape[1:])
        self.unreachable = f"a forward of inputs {shape} does not give them ({'; '.join(failures)})"
        return False

    def _find_route(self, network: nn.Module, precision: Precision, columns: Columns) -> None:
        with undisturbed(network, self.collector.seed):
            if not self.reach(network, columns, precision):
                self.collector.route = None

    def _agree_on_route(self) -> None:
        for route, reason in gathered((self.collector.route, self.unreachable)):
            if route is None:
                self.collector.route, self.unreachable = None, reason
                return

    def _local(self, task: _Task) -> Evidence:
        """This process's part, its rows in the order of the whole sample."""
        route, bank = self.collector.route, self.collector.bank
        known, labels = task.known.rows, task.columns.get("y")
        with undisturbed(task.network, self.collector.seed):
            if "z" in task.any_columns:
                z = task.columns["z"].to(task.device)
            elif route is not None:
                z = self._encode(task, task.queries, task.still)
            else:
                raise LatentError(f"Expected latents of the validation inputs but {self.unreachable}.")
            action = self._action(task.any_columns)
            turn = _Turn(task, action) if action is not None else None
            moved = (
                self.representation.move(z, task.elements) if turn is None else self._encode(task, task.queries, turn)
            )
            reachable = route is not None and task.known.total > 0
            latent_bank = self._encode(task, task.known, lambda part: bank.take(known[part])) if reachable else z[:0]
            bank_labels = bank.take(known).get("y") if reachable else None if labels is None else labels[:0]
        pictures, trips = (None, None) if turn is None else (turn.pictures(len(z)), turn.round_trips())
        return Evidence(
            latent_bank, bank_labels, z, moved, task.elements, labels, pictures, trips, simulated=turn is None
        )

    def _encode(self, task: _Task, share: Share, load: Callable[[Tensor], Columns]) -> Tensor:
        forwards = -(-max(share.counts) // CHUNK) if len(share.counts) > 1 else 0
        rows = torch.arange(len(share.rows))
        found = latents(
            self.collector.source,
            task.network,
            lambda part: load(part) if len(part) else task.spare,
            rows,
            route=self.collector.route or "network",
            precision=task.precision,
            forwards=forwards,
        )
        return found if len(rows) else torch.empty(0, self.representation.size, device=task.device)

    def _action(self, columns: Columns) -> InputAction | None:
        """How inputs move; None where they cannot, with the reason in `unreachable`."""
        if self.collector.route is None:
            return None
        if not self.collector.content.movable:
            self.unreachable = "inputs= gives no tensor of the batch itself, so moved inputs have no place in it"
            return None
        group, x = self.representation.group, columns["x"]
        action = self.action if self.action is not None else default_action(group, x)
        if action is None:
            self.unreachable = f"it is not known how {group} moves inputs {tuple(x.shape[1:])} (give action=)"
        return action


@dataclass
class _Task:
    """One report's work on one process; `spare` is an input of another process where this one has none."""

    network: nn.Module
    precision: Precision
    columns: Columns
    spare: Columns
    queries: Share
    known: Share
    elements: Tensor

    @property
    def device(self) -> torch.device:
        return next((p.device for p in self.network.parameters()), torch.device("cpu"))

    @property
    def any_columns(self) -> Columns:
        return self.columns if len(self.queries.rows) else self.spare

    def still(self, part: Tensor) -> Columns:
        return {name: column[part] for name, column in self.columns.items()}


class _Turn:
    """Loads moved inputs, keeps small pictures of them, and sees what moving some of them back leaves."""

    def __init__(self, task: _Task, action: InputAction) -> None:
        self.task, self.action = task, action
        self._pictures: list[Tensor | None] = []
        self._trips: list[Tensor] = []

    def __call__(self, part: Tensor) -> Columns:
        columns, elements = self.task.still(part), self.task.elements[part]
        if "mask" in columns:
            columns["x"], columns["mask"] = self.action.move((columns["x"], columns["mask"]), elements)
        else:
            still = columns["x"]
            columns["x"] = self.action.move(still, elements)
            self._trips.append(self._round_trip(still, columns["x"], part))
        self._pictures.append(_picture(columns["x"]))
        return columns

    def pictures(self, rows: int) -> Tensor | None:
        """Of the first so many moved inputs."""
        found = [picture for picture in self._pictures if picture is not None]
        return torch.cat(found)[:rows] if found else None

    def round_trips(self) -> Tensor | None:
        """Of each input, NaN where it was not moved back."""
        return torch.cat(self._trips) if self._trips else None

    def _round_trip(self, x: Tensor, moved: Tensor, part: Tensor) -> Tensor:
        """Of about RETURNED inputs of the whole sample, chosen by their place in it; 0 where the action is exact."""
        trips = torch.full((len(x),), torch.nan)
        elements = self.task.elements[part]
        exact = self.action.is_exact(elements)
        trips[exact] = 0.0
        every = -(-self.task.queries.total // RETURNED)
        rows = ((self.task.queries.places[part] % every == 0) & ~exact).nonzero()[:, 0]
        if len(rows):
            there, back = x[rows.to(x.device)], self.action.group.inverse(elements[rows])
            returned = self.action.move(moved[rows.to(x.device)], back)
            change, length = ((a.flatten(1).float().norm(dim=1).cpu()) for a in (returned - there, there))
            trips[rows] = change / length
        return trips


def _spare(columns: Columns, share: Share) -> Columns:
    """A row to repeat, since all processes take part in forwards of a network that is shared out among them."""
    own = {name: column[:1] for name, column in columns.items()} if len(share.rows) else None
    offers = [own] if all(share.counts) else gathered(own)
    return own if own is not None else next(offer for offer in offers if offer is not None)


def _require_alike(found: Tensor, z: Tensor | None) -> None:
    if z is None:
        return
    expected = z[: len(found)].to(found)
    rows = expected.isfinite().all(dim=1)
    if (found - expected)[rows].norm() > ALIKE * expected[rows].norm():
        raise LayerError("other latents than in the validation step")


def _picture(x: Tensor) -> Tensor | None:
    """Small pictures (B, C, H, W) of inputs that look like pictures."""
    if not x.is_floating_point() and x.dtype != torch.uint8:
        return None
    x = x.unsqueeze(1) if x.dim() == 3 else x
    if x.dim() != 4 or x.shape[1] not in (1, 3) or min(x.shape[2:]) < SMALLEST_PICTURE:
        return None
    scale = PICTURE / max(x.shape[2:])
    if scale >= 1:
        return x
    size = [max(1, round(n * scale)) for n in x.shape[2:]]
    return F.interpolate(x.float(), size, mode="area").to(x.dtype)
