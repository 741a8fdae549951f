"""Export a network of your own with an invariant projection, and load it where its class does not exist.

The network gives one number a node, whatever the order of the nodes: sorting loses nothing.

Run: python examples/own_network.py [folder]
"""

import sys

import torch
from torch import nn

from lightning_invariant import InvariantEncoder, choose, export_encoder


class NodeEncoder(nn.Module):
    """Each node sees its own features and the mean of all nodes."""

    def __init__(self) -> None:
        super().__init__()
        self.own, self.all, self.out = nn.Linear(3, 16), nn.Linear(3, 16), nn.Linear(16, 1)

    def forward(self, nodes: torch.Tensor) -> torch.Tensor:
        hidden = self.own(nodes) + self.all(nodes.mean(dim=1, keepdim=True))
        return self.out(hidden.relu())


def main(output: str) -> None:
    projection = choose("S9: 9 points")
    print(projection.reason)
    nodes = torch.randn(4, 9, 3, generator=torch.Generator().manual_seed(0))
    export_encoder(output, NodeEncoder().eval(), projection, nodes)

    encoder = InvariantEncoder.from_pretrained(output)
    shuffled = nodes[:, [3, 1, 4, 8, 5, 0, 2, 6, 7]]
    difference = (encoder(shuffled) - encoder(nodes)).abs().max().item()
    print(f"largest difference after shuffling the nodes: {difference:.1e}")


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["runs/own_network"]))
