"""Features of graphs out of the latents of all their nodes, in one long list with the graph of each node."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch

from lightning_invariant.errors import LatentError
from lightning_invariant.groups import Representation
from lightning_invariant.groups.block import Trivial
from lightning_invariant.groups.finite_blocks import Points
from lightning_invariant.groups.matrix_blocks import Outer
from lightning_invariant.guarantee import Separation
from lightning_invariant.projections.base.projection import Projection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Float, Int64
    from torch import Tensor

    from lightning_invariant.groups.block import Block

How = Literal["sum", "mean", "set"]


class GraphReadout(Projection):
    """The sum or mean of the features of each graph's nodes, or the features of the set that they are.

    Args:
        representation: How the group acts on one node.
        projection: Of one node for "sum" and "mean"; of a padded set of nodes (one that takes masks) for "set"; or its
            `config()`.
        readout: "sum", "mean" or "set".

    Raises:
        ValueError: The projection is for other nodes, or there is no such readout.

    Note:
        Invariant under one element for each node ("sum" and "mean", which no more tell how nodes lie to each other), or
        as the projection of sets is. Sums of features are lossy.

    Example:
        >>> import torch
        >>> from lightning_invariant.projections import Norm
        >>> readout = GraphReadout("SO3: 1 vectors", Norm("SO3: 1 vectors"), "sum")
        >>> readout(torch.tensor([[3.0, 4, 0], [0, 0, 1], [0, 2, 0]]), torch.tensor([0, 0, 1])).tolist()
        [[6.0], [2.0]]
    """

    def __init__(
        self,
        representation: Representation | str,
        projection: Projection | Mapping[str, Any],
        readout: How = "sum",
    ) -> None:
        super().__init__(representation)
        inner = projection if isinstance(projection, Projection) else Projection.from_config(projection)
        if readout not in get_args(How):
            raise ValueError(f"Expected a readout 'sum', 'mean' or 'set' but got {readout!r}.")
        node = of_one_node(inner.representation) if readout == "set" else inner.representation
        if self.representation != node:
            raise ValueError(f"Expected '{node}', which the projection is for, but got '{self.representation}'.")
        self.projection, self.readout = inner, readout
        self.out_features = inner.out_features
        self.guarantee = inner.guarantee
        if readout != "set":
            note = f"{inner.guarantee.note} A {readout} of features does not tell which node has which.".strip()
            self.guarantee = replace(
                inner.guarantee, separation=Separation.LOSSY, lipschitz=None, distortion=None, note=note
            )

    @property
    def settings(self) -> dict[str, Any]:
        """Description of the projection, and how nodes are read out."""
        return {"projection": self.projection.config(), "readout": self.readout}

    def forward(self, z: Float[Tensor, "N *shape"], graph: Int64[Tensor, "N"]) -> Float[Tensor, "G K"]:  # type: ignore[override]
        """Features of graphs.

        Args:
            z: Latents of all nodes.
            graph: Of each node, ascending from 0.

        Raises:
            LatentError: The shape does not fit, or a graph has more nodes than the projection takes.
        """
        flat = self.representation.flatten(z)
        if self.readout == "set":
            points = self.projection.representation.points
            assert points is not None
            dense, mask = padded(flat, graph, points[0])
            return self.projection(self.projection.representation.flatten(dense), mask)
        return summed(self.projection(flat), graph, mean=self.readout == "mean")

    def project(self, z: Float[Tensor, "N D"]) -> Float[Tensor, "N K"]:
        """Features of nodes, each a graph of its own."""
        return self(z, torch.arange(len(z), device=z.device))


def of_one_node(representation: Representation) -> Representation:
    """Return how a group acts on the numbers of one node, of a representation of points.

    Raises:
        ValueError: Not all terms are of points.

    Example:
        >>> str(of_one_node(Representation.parse("S7 x O3: 7 points (8x0e + 4x1o)")))
        'S7 x O3: 8 trivial*0e + 4 trivial*1o'
    """
    if representation.points is None:
        raise ValueError(f"Expected terms of points, such as 'S9: 9 points x 16', but got '{representation}'.")

    def single(block: Block) -> Block:
        if isinstance(block, Points):
            return Trivial(block.group, block.copies)
        assert isinstance(block, Outer)
        return replace(block, parts=(Trivial(block.parts[0].group, 1), *block.parts[1:]))

    return Representation(representation.group, tuple(map(single, representation)))


def padded(z: Float[Tensor, "N W"], graph: Int64[Tensor, "N"], n: int) -> tuple[Tensor, Tensor]:
    """Return (G, n, W) with zeros behind the nodes of each graph, and the mask of those that exist.

    Raises:
        LatentError: A graph has more than n nodes.
    """
    sizes = torch.bincount(graph)
    if int(sizes.max()) > n:
        raise LatentError(f"Expected graphs of at most {n} nodes but got one of {int(sizes.max())}; leave it out.")
    mask = torch.arange(n, device=z.device) < sizes[:, None]
    dense = z.new_zeros(len(sizes), n, z.shape[1])
    dense[mask] = z
    return dense, mask


def summed(z: Float[Tensor, "N K"], graph: Int64[Tensor, "N"], *, mean: bool = False) -> Float[Tensor, "G K"]:
    """Return the sum, or the mean, over the nodes of each graph."""
    count = int(graph.max()) + 1
    out = z.new_zeros(count, z.shape[1]).index_add(0, graph, z)
    return out / torch.bincount(graph, minlength=count)[:, None].to(out) if mean else out
