"""Latents of nodes as rows of graphs, without a Trainer."""

import pytest
import torch
from torch import nn

from lightning_invariant.batch import graph_of_nodes
from lightning_invariant.callback.capture.latent import Symmetry
from lightning_invariant.callback.capture.nodes import NODE_BATCH, NodeRows, joined, packed, unpacked
from lightning_invariant.callback.capture.samples import Reservoir
from lightning_invariant.callback.support.masked import unpack
from lightning_invariant.errors import LatentError
from lightning_invariant.evaluation import Latents, evaluate
from lightning_invariant.groups import Representation
from lightning_invariant.projections import Norm, choose

GRAPH = torch.tensor([0, 0, 1, 2, 2, 2])
NODE = "SO3: 2x0 + 1x1"


def rows_of(representation, readout=None):
    representation = Representation.parse(representation)
    return NodeRows(Symmetry("gnn", Representation.parse(representation)), lambda: choose(representation), readout)


class TestBatchVector:
    @pytest.mark.parametrize("tree", [{"x": torch.zeros(6, 2), "batch": GRAPH}, {"data": {"x_batch": GRAPH}}])
    def test_it_is_known_by_its_own_name(self, tree):
        assert torch.equal(graph_of_nodes(tree), GRAPH)

    @pytest.mark.parametrize(
        "tree",
        [
            (torch.zeros(6, 2), GRAPH),  # sorted labels of a pair
            {"batch": [torch.zeros(6), GRAPH]},
            {"batch": GRAPH.flip(0)},
            {"batch": torch.tensor([0, 0, 2])},
            {"batch": torch.arange(4)},  # no more nodes than graphs
            {"batch": GRAPH.float()},
            {"y": GRAPH},
        ],
    )
    def test_nothing_else_is_taken_for_it(self, tree):
        assert graph_of_nodes(tree) is None


class TestRows:
    def test_packed_nodes_come_back(self):
        z = torch.randn(6, 5)
        found, graph = unpacked(packed(z, GRAPH), 5)
        assert torch.equal(found, z)
        assert torch.equal(graph, GRAPH)

    def test_rows_of_other_calls_are_filled_up(self):
        small, large = packed(torch.ones(2, 3), torch.tensor([0, 1])), packed(2 * torch.ones(6, 3), GRAPH)
        both = joined([small, large])
        z, graph = unpacked(both, 3)
        assert graph.tolist() == [0, 1, 2, 2, 3, 4, 4, 4]
        assert z[:, 0].tolist() == [1, 1, 2, 2, 2, 2, 2, 2]
        reservoir = Reservoir(8, growing=True)
        for part in (small, large, small):
            reservoir.add({"z": part})
        assert torch.equal(reservoir.columns["z"], joined([small, large, small]))
        fixed = Reservoir(8)
        fixed.add({"z": small})
        with pytest.raises(ValueError, match="changing size"):
            fixed.add({"z": large})

    def test_points_are_padded_with_their_mask(self):
        rows = rows_of("S4: 4 points x 2")
        z = torch.randn(6, 2)
        assert rows.kind == "samples"
        flat, mask = unpack(rows.rows(z, GRAPH), rows.representation)
        assert rows.kind == "sets"
        assert mask.tolist() == [[True, True, False, False], [True] + [False] * 3, [True] * 3 + [False]]
        assert torch.equal(flat.reshape(3, 4, 2)[mask], z)
        with pytest.raises(LatentError, match="'S3: 3 points x 2'"):
            rows_of("S2: 2 points x 2").rows(z, GRAPH)
        with pytest.raises(LatentError, match=r"2 numbers for each node .* but got 3"):
            rows.rows(torch.randn(6, 3), GRAPH)

    def test_nodes_are_evaluated_one_by_one_in_the_groups_of_their_graphs(self):
        rows = rows_of(NODE)
        z = torch.randn(6, 5)
        packed_rows = rows.rows(z, GRAPH)
        g = rows.representation.group.sample(2, torch.Generator().manual_seed(0))
        own = torch.tensor([2, 0])
        nodes_asked = torch.tensor([3, 4, 5, 0, 1])
        moved = rows.representation.transform(z[nodes_asked], g.repeat_interleave(torch.tensor([3, 2]), dim=0))
        labels = packed(torch.arange(6)[:, None], GRAPH, marked=False)
        latents = Latents(
            packed_rows,
            labels=labels,
            queries=own,
            transformed=packed(moved, torch.tensor([0, 0, 0, 1, 1])),
            elements=g,
        )
        found = rows.evaluated(latents)
        assert torch.equal(found.bank, z)
        assert found.labels.tolist() == list(range(6))
        assert found.groups.tolist() == GRAPH.tolist()
        assert torch.equal(found.own, nodes_asked)
        assert torch.equal(found.transformed, moved)
        measured = evaluate(found, choose(NODE))
        assert measured.numbers["equivariance_error"] < 1e-5

    def test_reordered_nodes_are_put_back(self):
        rows = rows_of("S3 x SO3: 1 trivial*1")
        z = torch.randn(6, 3)
        order = torch.tensor([[1, 0, 2], [0, 1, 2], [2, 0, 1]])
        elements = rows.representation.group.join([order, torch.eye(3).double().expand(3, 3, 3)])
        moved = torch.empty_like(z)
        first = torch.tensor([0, 0, 2, 3, 3, 3])
        place = torch.arange(6) - first
        moved[first + order[GRAPH, place]] = z  # what stands at place i goes to place g[i]
        found = rows.evaluated(Latents(rows.rows(z, GRAPH), transformed=rows.rows(moved, GRAPH), elements=elements))
        assert torch.equal(found.transformed, z)
        assert not torch.equal(moved, z)

    @pytest.mark.parametrize("how", ["sum", "mean"])
    def test_a_readout_pools_features_and_measures_the_layer_on_nodes(self, how):
        representation = Representation.parse("SO3: 1 vectors")
        rows = NodeRows(Symmetry("gnn", representation), lambda: Norm(representation), f"readout {how}")
        z = torch.randn(6, 3)
        g = representation.group.sample(3, torch.Generator().manual_seed(0))
        moved = representation.transform(z, g[GRAPH])
        found = rows.evaluated(Latents(rows.rows(z, GRAPH), transformed=rows.rows(moved, GRAPH), elements=g))
        nodes = z.split([2, 1, 3])
        norms = [part.norm(dim=1) for part in nodes]
        expected = torch.stack([n.sum() if how == "sum" else n.mean() for n in norms])[:, None]
        assert torch.allclose(found.features, expected)
        raw = torch.stack([part.sum(0) if how == "sum" else part.mean(0) for part in nodes])
        assert torch.allclose(found.bank, raw, atol=1e-6)
        assert torch.allclose(found.transformed_features, expected)
        measured = evaluate(found, Norm(representation))
        assert measured.numbers["equivariance_error"] < 1e-5
        assert measured.numbers["error"] < 1e-5 < measured.numbers["error_raw"]
        assert "no function of their pooled latents" in measured.missing["distortion"]
        shaken = [found.nodes.transformed + 1, found.transformed_features + torch.tensor([[1.0], [0.0], [2.0]])]
        worse = Latents(
            found.bank,
            transformed=found.transformed,
            elements=g,
            features=found.features,
            transformed_features=shaken[1],
            nodes=Latents(found.nodes.bank, transformed=shaken[0], elements=found.nodes.elements),
        )
        broken = evaluate(worse, Norm(representation))
        assert broken.numbers["equivariance_error"] > 0.1
        assert broken.numbers["error"] > 0.1


class Messages(nn.Module):
    """Mean over neighbours by a list of edges."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.inner = nn.Linear(2, 4)

    def forward(self, x, edge_index):
        h = self.inner(x)
        out = torch.zeros_like(h).index_add(0, edge_index[1], h[edge_index[0]])
        return out + h


class Graphs(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = Messages()
        self.eval()

    def validation_step(self, batch, batch_idx):
        self.encoder(batch["x"], batch["edge_index"])


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    edges = torch.tensor([[0, 1, 2, 3, 4, 5, 3], [1, 0, 2, 4, 5, 3, 5]])
    return {
        "x": torch.randn(6, 2, generator=generator),
        "edge_index": edges,
        "batch": GRAPH,
        "y": torch.tensor([0, 1, 0]),
    }


class TestCapture:
    def test_rows_are_graphs_though_the_call_gets_no_batch_vector(self, validated):
        capture = validated(Graphs(), [batch(), batch(1)], representation="S4: 4 points x 4")
        assert str(capture.way) == "the call of 'encoder', any rows"
        assert NODE_BATCH in capture.example
        kept = capture.kept[0].bank.columns
        assert kept["z"].shape == (6, 4 * 5)
        assert kept["y"].tolist() == [0, 1, 0, 0, 1, 0]

    def test_labels_of_nodes_are_found(self, validated):
        labelled = batch() | {"y": torch.arange(6) % 3}
        capture = validated(Graphs(), [labelled], representation="SO3: 4x0")
        kept = capture.kept[0].bank.columns
        assert kept["y"].shape[0] == 3
        assert "y rows" not in capture.said
        whole = validated(Graphs(), [batch()], representation="SO3: 4x0")
        assert "pool='readout sum'" in whole.said["y rows"]
