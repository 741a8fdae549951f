"""Latents of one report: the bank, the queries and the transformed queries of every process, put together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lightning_invariant.batch import clone, to_device
from lightning_invariant.callback.capture.frames import replayed
from lightning_invariant.callback.capture.nodes import joined
from lightning_invariant.callback.capture.samples import Slice
from lightning_invariant.callback.support.gather import collected, gathered, process_rank, together
from lightning_invariant.errors import LatentError
from lightning_invariant.evaluation import Latents

if TYPE_CHECKING:
    from lightning_invariant.callback.capture.capture import Capture, Kept
    from lightning_invariant.callback.capture.private_copy import PrivateCopy
    from lightning_invariant.groups import Group
    from lightning_invariant.groups.actions import MemberAction

ELEMENTS = 0x5EED_0F_E1E5
"""Added to the seed of group elements: data that somebody drew with a small seed must not follow the same numbers."""
RETURNED = 128
"""Inputs that are transformed back to see what interpolation costs."""


@dataclass(frozen=True)
class Assembled:
    """What a report is computed from, on rank 0.

    Args:
        latents: None on the other processes.
        seconds: That encoding took.
        queries: Transformed samples of all processes.
        available: Samples that could have been transformed.
    """

    latents: Latents | None
    seconds: float
    queries: int
    available: int


@dataclass
class _Encoded:
    """One process's rows, by their positions in the whole stream."""

    bank_positions: Tensor
    bank: dict[str, Tensor]
    query_positions: Tensor
    transformed: Tensor | None
    untransformed: Tensor | None
    round_trip: Tensor | None
    elements: Tensor | None
    thumbnails: Tensor | None
    draws: Tensor | None = None


class Assembler:
    """Chooses rows that are the same for any number of processes, and encodes transformed inputs.

    Args:
        capture: What was recorded, and how calls are made again.
        group: What acts.
        seed: Of the group elements and of random numbers in forwards.
        samples: Where transforms are known by samples only, how many are drawn for the features of an input.
    """

    def __init__(self, capture: Capture, group: Group, seed: int, samples: int = 0) -> None:
        self.capture, self.group, self.seed, self.samples = capture, group, seed, samples

    def assemble(
        self,
        loader: int,
        action: MemberAction | None,
        reason: str,
        *,
        limit: int | None = None,
        copied: PrivateCopy | None = None,
        after: Tensor | None = None,
    ) -> Assembled:
        """Return the latents of a loader on rank 0; a collective call.

        Args:
            loader: Its number.
            action: How the group transforms arguments; None if that cannot be had.
            reason: Why.
            limit: Most queries; None for all that are kept.
            copied: Other weights than those of the validation: both sides are encoded by them, the queries are the
                bank.
            after: An element that acts after that of each query.

        Raises:
            LatentError: There are no validation latents, or they do not fit; on every process alike.
        """
        kept = self.capture.kept.get(loader)
        bank = self._bank_rows(kept)
        if not sum(map(len, bank)):
            raise LatentError(f"Expected validation latents but got none from loader {loader}.")
        everywhere = torch.cat(bank).sort().values
        queries, available = self._query_rows(kept, everywhere, limit) if action is not None else ([], 0)
        mine = queries[process_rank()] if queries else torch.empty(0, dtype=torch.int64)
        started = perf_counter()
        encoded = together(lambda: self._encode(kept, bank[process_rank()], mine, queries, action, copied, after))
        seconds = perf_counter() - started
        parts = collected(encoded)
        total = sum(map(len, queries))
        if not parts:
            return Assembled(None, seconds, total, available)
        latents = self._joined(parts, everywhere, reason)
        if copied is not None:
            latents = _of_queries(latents)
        elif latents.draws is not None:  # features of the bank are those of the queries' draws
            latents = _with_queries_alone(latents)
        nodes = self.capture.reader.nodes
        return Assembled(latents if nodes is None else nodes.evaluated(latents), seconds, total, available)

    def _bank_rows(self, kept: Kept | None) -> list[Tensor]:
        """Positions of the bank's rows of every process."""
        own = (torch.empty(0, 2).long(), 1) if kept is None else (kept.bank.keys, kept.bank.room)
        parts = gathered(own)
        rooms = [room for keys, room in parts if len(keys)]
        return _least([keys for keys, _ in parts], min(rooms) if rooms else 1)

    def _query_rows(self, kept: Kept | None, bank: Tensor, limit: int | None) -> tuple[list[Tensor], int]:
        """Positions of the queries of every process, and how many there could be."""
        calls = None if kept is None else kept.calls
        if calls is not None:
            calls.close()
        own = (torch.empty(0, 2).long(), 0) if calls is None else (calls.keys(), calls.capacity)
        parts = gathered(own)
        keys = [part[torch.isin(part[:, 1], bank)] for part, _ in parts]
        room = min((capacity for part, capacity in parts if len(part)), default=0)
        available = min(room, sum(map(len, keys)))
        return _least(keys, min(available, available if limit is None else limit)), available

    def _encode(
        self,
        kept: Kept | None,
        bank: Tensor,
        mine: Tensor,
        queries: list[Tensor],
        action: MemberAction | None,
        copied: PrivateCopy | None,
        after: Tensor | None,
    ) -> _Encoded:
        columns = {} if kept is None else kept.bank.at(bank)
        if action is None or kept is None or kept.calls is None or self.capture.way is None:
            return _Encoded(bank, columns, mine, None, None, None, None, None)
        places = torch.cat(queries).sort().values
        elements = self.elements(len(places))[torch.searchsorted(places, mine)]
        if after is not None:
            elements = self.group.compose(after.expand_as(elements), elements)
        work = _Chunks(self, action, copied or self.capture.copied, both=copied is not None)  # type: ignore[arg-type]
        if self.samples:
            work.more = self.more_elements(len(places))[:, torch.searchsorted(places, mine)]
        work.encode(kept.calls.chunks(mine), mine, elements, every=-(-len(places) // RETURNED))
        return _Encoded(bank, columns, mine, *work.results())

    def elements(self, count: int) -> Tensor:
        """Return the group elements of the queries, in the order of their positions."""
        return self.group.sample(count, torch.Generator().manual_seed(ELEMENTS + self.seed))

    def more_elements(self, count: int) -> Tensor:
        """Return the other elements under which each query is encoded, (2 samples - 1, count)."""
        generator = torch.Generator().manual_seed(ELEMENTS + self.seed + 1)
        return torch.stack([self.group.sample(count, generator) for _ in range(2 * self.samples - 1)])

    def _joined(self, parts: list[_Encoded], bank: Tensor, reason: str) -> Latents:
        order = torch.cat([part.bank_positions for part in parts]).argsort()
        columns = {
            name: joined([part.bank[name] for part in parts if name in part.bank])[order]
            for name in ("z", "y", "group")
            if all(name in part.bank for part in parts if len(part.bank_positions))
        }
        positions = torch.cat([part.query_positions for part in parts])
        rows = positions.argsort()
        queries = torch.searchsorted(bank, positions[rows])

        def column(name: str) -> Tensor | None:
            found = _together([getattr(part, name) for part in parts if len(part.query_positions)])
            return None if found is None else found[rows]

        def latent(name: str) -> Tensor | None:
            found = column(name)  # packed graphs of the queries may be smaller than those of the bank
            return None if found is None else joined([columns["z"][:0], found])

        return Latents(
            bank=columns["z"],
            labels=columns.get("y"),
            groups=columns.get("group"),
            queries=queries if len(queries) else None,
            transformed=latent("transformed"),
            elements=column("elements"),
            untransformed=latent("untransformed"),
            round_trip=column("round_trip"),
            thumbnails=column("thumbnails"),
            draws=column("draws"),
            reason=reason,
        )


def _with_queries_alone(latents: Latents) -> Latents:
    """The same with the queries as bank, as they came."""
    rows = latents.own
    return replace(
        latents,
        bank=latents.bank[rows],
        labels=None if latents.labels is None else latents.labels[rows],
        groups=None if latents.groups is None else latents.groups[rows],
        queries=torch.arange(len(rows)),
    )


def _of_queries(latents: Latents) -> Latents:
    """The same with the queries alone as bank, both sides encoded by one copy."""
    rows = latents.own
    if latents.untransformed is None:
        raise LatentError("Expected latents of the kept inputs by other weights but there is no way to encode them.")
    return replace(
        latents,
        bank=latents.untransformed,
        labels=None if latents.labels is None else latents.labels[rows],
        groups=None if latents.groups is None else latents.groups[rows],
        queries=torch.arange(len(rows)),
        untransformed=None,
    )


class _Chunks:
    """Encodes the calls of one process."""

    def __init__(self, assembler: Assembler, action: MemberAction, copied: PrivateCopy, *, both: bool) -> None:
        self.capture, self.action, self.copied = assembler.capture, action, copied
        self.seed = assembler.seed
        way = self.capture.way
        assert way is not None
        self.way, self.both = way, both or not way.repeatable
        self.device = next((p.device for p in copied.network.parameters()), self.capture.device)
        self._found: dict[str, list[Tensor | None]] = {
            name: [] for name in ("transformed", "untransformed", "round_trip", "elements", "thumbnails", "draws")
        }
        self.more: Tensor | None = None
        self._order: list[Tensor] = []

    def encode(self, chunks: list[Slice], mine: Tensor, elements: Tensor, every: int) -> None:
        """Encode transformed arguments, and untransformed ones where both sides have to come from the copy."""
        counts = gathered(len(chunks)) if self.capture.sharded else [len(chunks)]
        spare = self._spare(chunks) if 0 in counts else None
        with self.copied.running(self.seed):
            for part in chunks:
                self._chunk(part, mine, elements, every)
            for _ in range(max(counts) - len(chunks)):  # a forward of a shared-out network is a collective call
                again = chunks[-1].arguments if chunks else spare
                self._latents(to_device(again, self.device), self.seed)

    def results(self) -> list[Tensor | None]:
        """Return transformed and untransformed latents, round trips, elements and thumbnails, by position."""
        if not self._order:
            return [None] * len(self._found)
        order = torch.cat(self._order)
        rows = torch.empty_like(order)
        rows[order] = torch.arange(len(order))
        found = [_together(values) for values in self._found.values()]
        return [None if values is None else values[rows] for values in found]

    def _chunk(self, part: Slice, mine: Tensor, elements: Tensor, every: int) -> None:
        arguments = to_device(part.arguments, self.device)
        inside = torch.isin(part.positions, mine)  # a whole call holds rows that were not asked for
        places = torch.searchsorted(mine, part.positions.clamp(max=int(mine[-1])))
        g = elements[places]
        seed = self.seed + len(self._order)
        transformed = self.action.transform(clone(arguments), g)
        self._found["elements"].append(self.action.realised(arguments, g)[inside.nonzero()[:, 0]])
        rows = inside.nonzero()[:, 0]
        trips = self._round_trips(arguments, g, places, every)
        self._found["round_trip"].append(trips[rows])
        pictures = self.action.thumbnails(transformed)
        self._found["thumbnails"].append(None if pictures is None else pictures.cpu()[rows])
        moved = self._latents(transformed, seed).cpu()[rows]
        self._found["transformed"].append(moved)
        self._found["draws"].append(None if self.more is None else self._draws(arguments, places, rows, moved, seed))
        self._found["untransformed"].append(self._latents(clone(arguments), seed).cpu()[rows] if self.both else None)
        self._order.append(places[rows])

    def _draws(self, arguments: Any, places: Tensor, rows: Tensor, moved: Tensor, seed: int) -> Tensor:
        """Latents of two times K transforms of the wanted rows, (rows, 2, K, D); one of them is known."""
        assert self.more is not None
        found = [moved]
        for g in self.more:
            transformed = self.action.transform(clone(arguments), g[places])
            found.append(self._latents(transformed, seed).cpu()[rows])
        return torch.stack(found[::-1], dim=1).unflatten(1, (2, -1))

    def _latents(self, arguments: Any, seed: int) -> Tensor:
        return replayed(self.way.frame, self.copied, arguments, seed)

    def _round_trips(self, arguments: Any, g: Tensor, places: Tensor, every: int) -> Tensor:
        """Of about RETURNED inputs of the whole sample, chosen by their place in it; 0 where the action is exact."""
        trips = torch.full((len(g),), torch.nan)
        exact = self.action.is_exact(g).cpu()
        trips[exact] = 0.0
        rows = ((places % every == 0) & ~exact).nonzero()[:, 0]
        if len(rows):
            layout = self.way.layout
            assert layout is not None
            trips[rows] = self.action.round_trip(layout.select(arguments, rows), g[rows]).float().cpu()
        return trips

    def _spare(self, chunks: list[Slice]) -> Any:
        offers = gathered(chunks[0].arguments if chunks else None)
        return next(offer for offer in offers if offer is not None)


def _together(values: list[Tensor | None]) -> Tensor | None:
    """All rows; None where some are missing, or differ in shape, as thumbnails of images of several sizes do."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None
    if len({value.shape[1:] for value in known}) > 1 and known[0].dim() != 2:
        return None
    return joined(known)


def _least(keys: list[Tensor], count: int) -> list[Tensor]:
    """Positions of the rows of least priority among all processes, ascending, by the process that brings them.

    Args:
        keys: Priority and position of the rows of each process; a position that several hold counts once.
        count: How many.
    """
    owners = torch.cat([torch.full((len(part),), rank) for rank, part in enumerate(keys)])
    both = torch.cat(keys)
    order = both[:, 1].argsort(stable=True)
    positions = both[order, 1]
    order = order[torch.cat([torch.ones(len(order[:1]), dtype=torch.bool), positions[1:] != positions[:-1]])]
    if len(order) > count:
        order = order[both[order, 0].topk(count, largest=False).indices.sort().values]
    return [both[order[owners[order] == rank], 1] for rank in range(len(keys))]
