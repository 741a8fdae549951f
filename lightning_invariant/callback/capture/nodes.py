"""Latents of the nodes of graphs: a row is a graph, which keeps its nodes together, until it is evaluated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor

from lightning_invariant.errors import LatentError
from lightning_invariant.evaluation.evaluate import project
from lightning_invariant.groups import Product, Symmetric
from lightning_invariant.projections.sets.graph_readout import padded, summed

if TYPE_CHECKING:
    from jaxtyping import Float, Int64

    from lightning_invariant.callback.capture.latent import Symmetry
    from lightning_invariant.evaluation import Latents
    from lightning_invariant.groups import Group, Representation
    from lightning_invariant.projections import Projection

Readout = Literal["readout sum", "readout mean"]
READOUTS = get_args(Readout)
NODE_BATCH = "node_batch"
"""Under which name the graph of each node stands among the arguments that are transformed; it is not passed on."""


@dataclass
class NodeRows:
    """Turns latents of nodes into one row for each graph, and rows into what is evaluated.

    Points that a group orders are one latent of the whole graph: a padded set with its mask. Otherwise each node has a
    latent of its own; it is evaluated by itself, or with a readout as the sum or mean over its graph.

    Args:
        symmetry: Of the set of nodes, or of one node.
        projection: Gives the map that is used by now; of a node's latents, for a readout.
        readout: How features of nodes become those of a graph; None if nodes stay apart.
        seen: Whether latents of nodes were seen.
    """

    symmetry: Symmetry
    projection: Callable[[], Projection]
    readout: Readout | None = None
    seen: bool = False

    def __str__(self) -> str:
        said = {
            "samples": "each row of the layer is a sample",
            "sets": "the nodes of each graph are one set, padded and masked",
            "nodes": "each node is a sample, and the nodes of its graph are left out where it is predicted",
            "readout": f"each graph is a sample: its nodes are projected one by one, then pooled ({self.readout})",
        }
        return said[self.kind]

    @property
    def representation(self) -> Representation:
        """How the symmetry acts on a set of nodes, or on one."""
        return self.symmetry.representation

    @property
    def kind(self) -> Literal["samples", "sets", "nodes", "readout"]:
        """What a row is: a sample as everywhere, a set of points, a graph of nodes apart, or a graph read out."""
        if not self.seen:
            return "samples"
        return "sets" if self.representation.points else "readout" if self.readout else "nodes"

    def rows(self, z: Float[Tensor, "N ..."], graph: Int64[Tensor, "N"]) -> Float[Tensor, "G E"]:
        """Return one row for each graph.

        Args:
            z: Latents of all nodes.
            graph: Of each node, ascending from 0.

        Raises:
            LatentError: The numbers of a node are not those of the representation, or a graph has too many nodes.
        """
        if not self.seen:
            self.seen = True
            self.projection()
        if self.representation.points is not None:
            return self._sets(z.flatten(1), graph, *self.representation.points)
        return packed(self.representation.flatten(z).float(), graph)

    @property
    def are_packed(self) -> bool:
        """Whether rows hold nodes one behind the other, so that larger graphs have wider rows."""
        return self.kind in ("nodes", "readout")

    @torch.no_grad()
    def evaluated(self, latents: Latents) -> Latents:
        """Return what the rows hold: latents of nodes, or pooled latents beside pooled features."""
        if not self.are_packed:
            return latents
        size = self.representation.size
        if self.kind == "nodes":
            return _of_nodes(latents, self.representation)
        nodes = _of_nodes(replace(latents, labels=None), self.representation)
        pooled = {}
        for name, beside in SIDES.items():
            rows = getattr(latents, name)
            if rows is not None:
                z, graph = unpacked(rows, size)
                mean = self.readout == "readout mean"
                pooled[name] = summed(z, graph, mean=mean)
                pooled[beside] = summed(project(self.projection(), z), graph, mean=mean)
        return replace(latents, **pooled, nodes=nodes)

    def _sets(self, z: Tensor, graph: Tensor, n: int, width: int) -> Tensor:
        from lightning_invariant.callback.support.masked import pack

        if z.shape[1] != width:
            raise LatentError(
                f"Expected {width} numbers for each node of '{self.representation}' but got {z.shape[1]}; give the "
                "numbers that the layer has for a node."
            )
        most = int(torch.bincount(graph).max())
        if most > n:
            text = str(self.representation).replace(f"S{n}", f"S{most}").replace(f"{n} points", f"{most} points")
            raise LatentError(
                f"Expected graphs of at most {n} nodes for '{self.representation}' but got one of {most}; give the "
                f"largest number of nodes that may come, or more, such as '{text}'."
            )
        dense, mask = padded(z.float(), graph, n)
        return pack(self.representation.flatten(dense), mask, self.representation)


SIDES = {
    "bank": "features",
    "transformed": "transformed_features",
    "untransformed": "untransformed_features",
}
"""Columns of latents, and those of their features."""


def packed(z: Float[Tensor, "N W"], graph: Int64[Tensor, "N"], *, marked: bool = True) -> Float[Tensor, "G E"]:
    """Return a row for each graph: its nodes one behind the other.

    Args:
        z: Numbers of all nodes.
        graph: Of each node.
        marked: Whether a one stands behind the numbers of each node, to tell it from padding.
    """
    n = int(torch.bincount(graph).max())
    z = torch.cat([z, z.new_ones(len(z), 1)], dim=1) if marked else z
    return padded(z, graph.to(z.device), n)[0].flatten(1)


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Concatenate rows; of packed graphs, those of smaller ones are filled up with zeros."""
    if parts[0].dim() != 2 or len({part.shape[1] for part in parts}) == 1:
        return torch.cat(list(parts))
    width = max(part.shape[1] for part in parts)
    return torch.cat([torch.nn.functional.pad(part, (0, width - part.shape[1])) for part in parts])


def unpacked(rows: Float[Tensor, "G E"], width: int) -> tuple[Tensor, Tensor]:
    """Return the numbers of all nodes (N, width) that `packed` was given, and the graph of each."""
    points = rows.reshape(len(rows), -1, width + 1)
    exists = points[..., -1] > 0.5
    return points[..., :-1][exists], exists.nonzero()[:, 0]


def _order_of(group: Group, elements: Tensor) -> Tensor | None:
    """Where elements send each node, (M, n); None if they leave nodes in their order."""
    factors = group.factors if isinstance(group, Product) else (group,)
    parts = group.split(elements) if isinstance(group, Product) else [elements]
    return next((part.long() for f, part in zip(factors, parts, strict=True) if isinstance(f, Symmetric)), None)


def _of_nodes(latents: Latents, representation: Representation) -> Latents:
    """Latents of nodes out of rows of graphs; nodes of one graph are one group, and are put back into their order."""
    width = representation.size
    z, owner = unpacked(latents.bank, width)
    sizes = torch.bincount(owner, minlength=len(latents.bank))
    first = sizes.cumsum(0) - sizes
    own = latents.own
    asked = torch.arange(len(own)).repeat_interleave(sizes[own])
    place = torch.arange(len(asked)) - (sizes[own].cumsum(0) - sizes[own])[asked]
    labels = latents.labels
    if labels is not None:
        room = latents.bank.shape[1] // (width + 1)
        exists = torch.arange(room) < sizes[:, None]
        labels = labels.reshape(len(labels), room, -1)[exists]
        labels = labels[:, 0] if labels.shape[1] == 1 else labels
    moved = {}
    for name in ("transformed", "untransformed"):
        if (rows := getattr(latents, name)) is not None:
            moved[name] = unpacked(rows, width)[0]
    order = None if latents.elements is None else _order_of(representation.group, latents.elements)
    if order is not None and "transformed" in moved:
        moved["transformed"] = moved["transformed"][torch.arange(len(asked)) - place + order[asked, place]]
    for name in ("elements", "round_trip"):
        if (column := getattr(latents, name)) is not None:
            moved[name] = column[asked]
    return replace(
        latents,
        bank=z,
        labels=labels,
        groups=owner if latents.groups is None else latents.groups[owner],
        queries=first[own[asked]] + place,
        thumbnails=None,
        **moved,
    )
