"""Linear layers between functions of nodes and of pairs of nodes: all that commute with every order of the nodes.

Nodes are (B, n, C), pairs (B, n, n, C). Sums over nodes are taken as means, so that sizes stay comparable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class NodesToPairs(nn.Module):
    """The 5 basis maps from nodes to pairs: rows, columns, diagonal, and the mean on all pairs or on the diagonal.

    Args:
        channels_in: Channels of the nodes.
        channels: Channels of the pairs.

    Source:
        Maron, Ben-Hamu, Shamir and Lipman 2019 (1812.09902), appendix A.
    """

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.each = nn.Linear(channels_in, 3 * channels)
        self.all = nn.Linear(channels_in, 2 * channels, bias=False)

    def forward(self, x: Float[Tensor, "B n I"]) -> Float[Tensor, "B n n C"]:
        """Pairs."""
        return _spread(self.each(x), self.all(x.mean(dim=1)))


class PairsToPairs(nn.Module):
    """The 15 basis maps from pairs to pairs: the pair, its transpose, and what `NodesToPairs` makes of five means.

    Args:
        channels_in: Channels of the pairs that come in.
        channels: Channels of those that go out.

    Source:
        Maron, Ben-Hamu, Shamir and Lipman 2019 (1812.09902), theorem 1 and appendix A.
    """

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.pair = nn.Linear(2 * channels_in, channels, bias=False)
        self.each = nn.Linear(3 * channels_in, 3 * channels)
        self.all = nn.Linear(2 * channels_in, 2 * channels, bias=False)

    def forward(self, x: Float[Tensor, "B n n I"]) -> Float[Tensor, "B n n C"]:
        """Pairs."""
        nodes, whole = _pooled(x)
        return self.pair(torch.cat([x, x.transpose(1, 2)], dim=-1)) + _spread(self.each(nodes), self.all(whole))


class PairsToNodes(nn.Module):
    """The 5 basis maps from pairs to nodes: diagonal, means of rows and columns, mean of all, mean of the diagonal.

    Args:
        channels_in: Channels of the pairs.
        channels: Channels of the nodes.

    Source:
        Maron, Ben-Hamu, Shamir and Lipman 2019 (1812.09902), appendix A.
    """

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.each = nn.Linear(3 * channels_in, channels)
        self.all = nn.Linear(2 * channels_in, channels, bias=False)

    def forward(self, x: Float[Tensor, "B n n I"]) -> Float[Tensor, "B n C"]:
        """Nodes."""
        nodes, whole = _pooled(x)
        return self.each(nodes) + self.all(whole)[:, None]


def _pooled(x: Float[Tensor, "B n n C"]) -> tuple[Float[Tensor, "B n 3C"], Float[Tensor, "B 2C"]]:
    diagonal, rows = x.diagonal(dim1=1, dim2=2).mT, x.mean(dim=2)
    nodes = torch.cat([diagonal, rows, x.mean(dim=1)], dim=-1)
    return nodes, torch.cat([rows.mean(dim=1), diagonal.mean(dim=1)], dim=-1)


def _spread(nodes: Float[Tensor, "B n 3C"], whole: Float[Tensor, "B 2C"]) -> Float[Tensor, "B n n C"]:
    everywhere, on_diagonal = whole[:, None].chunk(2, dim=-1)
    rows, columns, own = nodes.chunk(3, dim=-1)
    diagonal = torch.diag_embed((own + on_diagonal).mT).permute(0, 2, 3, 1)
    return diagonal + (rows + everywhere)[:, :, None] + columns[:, None]
