"""Maps of several libraries on the same latents: seconds in interleaved rounds, and which moved latents they merge."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from benchmarks.projections import least_seconds
from lightning_invariant.groups import Representation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

THREADS = 1
ROWS, QUICK_ROWS = (1_024, 10_000), (16, 64)
ROUNDS, QUICK_ROUNDS = 15, 2
PAIRS = 256


class Map(NamedTuple):
    """One map of a comparison."""

    name: str
    call: Callable[[Any], Any]
    beside: str = ""
    """Name of the peer whose time ours is divided by; empty for a peer."""
    same: Callable[[Tensor], Tensor] | None = None
    """Where the peer gives the same numbers: how both are read before they are compared."""
    prepare: Callable[[Tensor], Any] = lambda z: z
    """What is done to latents (B, D) beforehand, outside of the time."""
    read: Callable[[Any], Tensor] = lambda y: y
    """Features (B, K) of what the map returns."""


def moved(representation: Representation, z: Tensor, generator: torch.Generator, *, apart: str = "") -> Tensor:
    """Latents moved by random elements: one for all, or one for each copy ("channels") or term ("terms")."""
    out = torch.empty_like(z)
    for cut in _cuts(representation, apart):
        out[:, cut] = representation.transform(z, representation.group.sample(len(z), generator))[:, cut]
    return out


def _cuts(representation: Representation, apart: str) -> Iterator[slice]:
    if not apart:
        yield slice(None)
        return
    for block, where in zip(representation, representation.slices, strict=True):
        step = block.size // block.copies if apart == "channels" else block.size
        yield from (slice(start, start + step) for start in range(where.start, where.stop, step))


@torch.no_grad()
def told_apart(text: str, features: Callable[[Tensor], Tensor]) -> dict[str, float | str]:
    """Median distances of features to those of moved latents, over the median distance to those of other latents."""
    representation, generator = Representation.parse(text), torch.Generator().manual_seed(0)
    z, others = (representation.random(PAIRS, generator) for _ in range(2))
    found = features(z)
    unit = (found - features(others)).norm(dim=1).median()
    ratios: dict[str, float | str] = {}
    for kind in ("", "channels", "terms"):
        other = moved(representation, z, generator, apart=kind)
        ratios[kind or "together"] = float((found - features(other)).norm(dim=1).median() / unit)
    if sum(block.dim > 1 for block in representation) == 1:
        ratios["terms"] = "-"
    return ratios


@torch.no_grad()
def measure(library: str, text: str, maps: Sequence[Map], *, quick: bool) -> list[dict[str, Any]]:
    """Seconds in interleaved rounds, sizes, differences from peers and what is told apart, one dict a map."""
    generator = torch.Generator().manual_seed(1)
    latents = [Representation.parse(text).random(rows, generator) for rows in (QUICK_ROWS if quick else ROWS)]
    rounds = QUICK_ROUNDS if quick else ROUNDS
    names = [m.name for m in maps]
    seconds: dict[int, dict[str, float]] = {}
    for z in latents:
        calls = [partial(m.call, m.prepare(z)) for m in maps]
        seconds[len(z)] = dict(zip(names, least_seconds(calls, rounds), strict=True))
    values = {m.name: m.read(m.call(m.prepare(latents[0]))) for m in maps}
    table = []
    for m in maps:
        taken = {rows: found[m.name] for rows, found in seconds.items()}
        difference: float | str = "-"
        if m.same is not None:
            difference = float((m.same(values[m.name]) - m.same(values[m.beside])).abs().max())
        table.append(
            {
                "from": "ours" if m.beside else library,
                "latents": text,
                "map": m.name,
                "size": values[m.name].shape[1],
                "seconds": taken,
                "beside": m.beside or "-",
                "times": {rows: taken[rows] / seconds[rows][m.beside] if m.beside else "-" for rows in taken},
                "difference": difference,
                **told_apart(text, lambda z, m=m: m.read(m.call(m.prepare(z)))),
            }
        )
    return table
