"""Features of graphs out of the latents of their nodes."""

import pytest
import torch

from lightning_invariant.errors import LatentError
from lightning_invariant.groups import Representation
from lightning_invariant.guarantee import Separation
from lightning_invariant.projections import GraphReadout, Norm, PointSort, Projection
from lightning_invariant.projections.sets.graph_readout import of_one_node

GRAPH = torch.tensor([0, 0, 1, 2, 2, 2])
SIZES = [2, 1, 3]


@pytest.mark.parametrize("how", ["sum", "mean"])
def test_features_are_pooled_after_they_are_projected(how):
    readout = GraphReadout("SO3: 1 vectors", Norm("SO3: 1 vectors"), how)
    z = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    parts = [part.norm(dim=1) for part in z.split(SIZES)]
    expected = torch.stack([part.sum() if how == "sum" else part.mean() for part in parts])
    assert torch.allclose(readout(z, GRAPH)[:, 0], expected)
    g = readout.representation.group.sample(6, torch.Generator().manual_seed(1))  # one for each node
    assert torch.allclose(readout(readout.representation.transform(z, g), GRAPH)[:, 0], expected, atol=1e-5)
    assert not torch.allclose(readout(2 * z, GRAPH)[:, 0], expected)
    assert readout.guarantee.separation is Separation.LOSSY


def test_a_set_is_padded_with_its_mask():
    inner = PointSort("S4: 4 points x 2", ragged=True)
    readout = GraphReadout("S4: 2 trivial", inner, "set")
    z = torch.randn(6, 2, generator=torch.Generator().manual_seed(0))
    dense = torch.stack([torch.nn.functional.pad(part, (0, 0, 0, 4 - len(part))) for part in z.split(SIZES)])
    mask = torch.arange(4) < torch.tensor(SIZES)[:, None]
    assert torch.equal(readout(z, GRAPH), inner(dense, mask))
    order = torch.tensor([1, 0, 2, 5, 3, 4])  # within each graph
    assert torch.allclose(readout(z[order], GRAPH), readout(z, GRAPH), atol=1e-6)
    across = torch.tensor([2, 1, 0, 3, 4, 5])
    assert not torch.allclose(readout(z[across], GRAPH), readout(z, GRAPH), atol=1e-2)
    assert readout.guarantee == inner.guarantee
    with pytest.raises(LatentError, match="at most 4 nodes but got one of 5"):
        readout(torch.randn(5, 2), torch.zeros(5, dtype=torch.int64))


def test_it_comes_back_from_its_description():
    readout = GraphReadout("S4: 2 trivial", PointSort("S4: 4 points x 2", ragged=True), "set")
    z = torch.randn(6, 2)
    assert torch.equal(Projection.from_config(readout.config())(z, GRAPH), readout(z, GRAPH))


def test_one_node_of_points_in_space():
    found = of_one_node(Representation.parse("S7 x O3: 7 points (8x0e + 4x1o)"))
    assert str(found) == "S7 x O3: 8 trivial*0e + 4 trivial*1o"
    assert found == Representation.parse(str(found))
    with pytest.raises(ValueError, match="Expected terms of points"):
        of_one_node(Representation.parse("SO3: 4x1"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("SO3: 1 vectors", Norm("SO3: 1 vectors"), "max"), "'sum', 'mean' or 'set'"),
        (("SO3: 2 vectors", Norm("SO3: 1 vectors"), "sum"), "which the projection is for"),
        (("S4: 3 trivial", PointSort("S4: 4 points x 2", ragged=True), "set"), "Expected 'S4: 2 trivial'"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        GraphReadout(*arguments)
