import pytest
import torch

from lightning_invariant.groups import Symmetric
from lightning_invariant.groups.actions import NodeAction
from lightning_invariant.zoo.graph_layers import NodesToPairs, PairsToNodes, PairsToPairs
from lightning_invariant.zoo.molecule_action import GraphAction

N = 5
LAYERS = {"nodes to pairs": (NodesToPairs, 1, 2, 5), "pairs to pairs": (PairsToPairs, 2, 2, 15), "pairs to nodes": (
    PairsToNodes, 2, 1, 5)}  # fmt: skip


def move(x, g, order):
    return (GraphAction(N) if order == 2 else NodeAction(Symmetric(N))).transform(x, g)


@pytest.mark.parametrize("name", LAYERS)
def test_layers_commute_with_every_order(name):
    kind, order_in, order_out, _ = LAYERS[name]
    torch.manual_seed(0)
    layer, x = kind(3, 4).double(), torch.randn(6, *[N] * order_in, 3).double()
    g = Symmetric(N).sample(6, torch.Generator().manual_seed(0))
    assert torch.allclose(layer(move(x, g, order_in)), move(layer(x), g, order_out), atol=1e-12)
    assert not torch.allclose(layer(move(x, g, order_in)), layer(x), atol=1e-3)


@pytest.mark.parametrize("name", LAYERS)
def test_every_equivariant_linear_map_is_there_once(name):
    """As many independent maps as there are orbits of index tuples: Bell numbers 5 and 15."""
    kind, order_in, _, count = LAYERS[name]
    layer = kind(1, 1).double()
    basis = torch.eye(N**order_in).double().reshape(-1, *[N] * order_in, 1)
    weights = [(p, i) for key, p in layer.named_parameters() if "bias" not in key for i in range(p.numel())]
    operators = []
    for chosen, i in weights:
        with torch.no_grad():
            for p in layer.parameters():
                p.zero_()
            chosen.view(-1)[i] = 1
            operators.append(layer(basis).flatten())
    assert len(operators) == count == torch.linalg.matrix_rank(torch.stack(operators))
