"""Networks of PyTorch Geometric on its batches: ragged graphs, latents of nodes and of graphs, exports."""

import numpy as np
import pytest
import torch

pytest.importorskip("torch_geometric", reason="needs torch_geometric (make test-guests)")

from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader
from torch_geometric.nn import GIN, DimeNet, MessagePassing, SchNet, global_add_pool
from torch_geometric.utils import erdos_renyi_graph

from lightning_invariant import BatchReader, InvariantEncoder
from lightning_invariant.encoder.verify import verify
from lightning_invariant.errors import ArtifactError, InvariantError, LatentError
from lightning_invariant.projections import PointSort
from tests.guests.runs import Module, fitted, number, said, wrong

CUTOFF = 6.0


def graphs(count, nodes=None, seed=0, labels="graph"):
    generator = torch.Generator().manual_seed(seed)
    found = []
    torch.manual_seed(seed)
    for _ in range(count):
        n = nodes or int(torch.randint(5, 10, (), generator=generator))
        edges = erdos_renyi_graph(n, float(torch.rand((), generator=generator)) * 0.6 + 0.2)
        degree = torch.bincount(edges[0], minlength=n)
        x = torch.stack([degree.float(), torch.randn(n, generator=generator)], 1)
        y = torch.tensor([int(edges.shape[1] > n * (n - 1) * 0.5)]) if labels == "graph" else (degree > n / 2).long()
        found.append(Data(x=x, edge_index=edges, y=y))
    return found


def molecules(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(count):
        n = int(torch.randint(4, 9, (), generator=generator))
        pos = 1.5 * torch.randn(n, 3, generator=generator)
        z = torch.randint(1, 6, (n,), generator=generator)
        found.append(Data(pos=pos, z=z, y=torch.cdist(pos, pos).mean()[None]))
    return found


def loaders(make, *arguments, **settings):
    first, second = make(96, *arguments, **settings), make(140, *arguments, seed=1, **settings)
    return DataLoader(first, 32, shuffle=True), DataLoader(second, 32)


class Classifier(Module):
    """A GIN that the step calls by itself; without a forward of its own."""

    def __init__(self, net=None, width=8):
        super().__init__(net or GIN(2, 16, 2, width))
        self.head = torch.nn.Linear(width, 2)

    def loss(self, batch):
        z = self.net(batch.x, batch.edge_index)
        if len(batch.y) < len(z):
            z = global_add_pool(z, batch.batch)
        return torch.nn.functional.cross_entropy(self.head(z), batch.y)


class Forwarding(Classifier):
    """The same with a forward that takes the batch."""

    def forward(self, data):
        return self.head(global_add_pool(self.net(data.x, data.edge_index), data.batch))

    def loss(self, batch):
        return torch.nn.functional.cross_entropy(self(batch), batch.y)


class Positional(torch.nn.Module):
    """Not equivariant: adds the place of a node in the whole batch."""

    def __init__(self):
        super().__init__()
        self.net = GIN(2, 16, 2, 8)

    def forward(self, x, edge_index):
        return self.net(x, edge_index) + (torch.arange(len(x)) % 2)[:, None]


@pytest.fixture(scope="module", autouse=True)
def _threads():
    torch.set_num_threads(1)


class TestSets:
    @pytest.mark.parametrize("module", [Classifier, Forwarding])
    @pytest.mark.parametrize(("nodes", "n"), [(9, 9), (None, 9), (None, 20)])
    def test_one_line_serves_ragged_graphs(self, module, nodes, n):
        callback = fitted(module(), loaders(graphs, nodes), "net", f"S{n}: {n} points x 8")
        assert number(callback, "equivariance_error") < 1e-4
        assert number(callback, "error") < 1e-4 < number(callback, "error_raw")
        assert wrong(callback) == []
        assert "labels: batch.y, 2 classes" in said(callback)
        assert "one set, padded and masked" in said(callback)
        assert number(callback, "bank") == 140

    def test_an_inner_layer_is_reached_from_the_outside(self):
        callback = fitted(Forwarding(), loaders(graphs), "net.convs.0", "S9: 9 points x 16")
        assert number(callback, "equivariance_error") < 1e-4
        assert "LightningModule's forward" in said(callback)

    def test_a_network_that_numbers_its_nodes_is_found_out(self):
        callback = fitted(Classifier(Positional()), loaders(graphs), "net", "S9: 9 points x 8")
        assert not number(callback, "equivariance_error") < 0.05
        assert wrong(callback)

    def test_the_error_says_how_many_nodes_there_are(self):
        with pytest.raises(LatentError, match="'S9: 9 points x 8'"):
            fitted(Classifier(), loaders(graphs), "net", "S7: 7 points x 8")
        with pytest.raises(LatentError, match=r"4 numbers for each node of .* but got 8"):
            fitted(Classifier(), loaders(graphs), "net", "S9: 9 points x 4")

    def test_a_projection_without_masks_is_refused(self):
        whole = PointSort("S9: 9 points x 8")
        with pytest.raises(LatentError, match="ragged=True"):
            fitted(Classifier(), loaders(graphs), "net", "S9: 9 points x 8", projection=whole)
        ragged = PointSort("S9: 9 points x 8", ragged=True)
        callback = fitted(Classifier(), loaders(graphs), "net", "S9: 9 points x 8", projection=ragged)
        assert number(callback, "error") < 1e-4

    def test_graph_latents_need_no_padding(self):
        latent = lambda module, batch: global_add_pool(module.net(batch.x, batch.edge_index), batch.batch)  # noqa: E731
        callback = fitted(Classifier(), loaders(graphs), latent, "S9: 8 trivial")
        assert number(callback, "error") < 1e-4
        assert number(callback, "bank") == 140


class Regression(Module):
    def loss(self, batch):
        return (self.net(batch.z, batch.pos, batch.batch)[:, 0] - batch.y).pow(2).mean()


def schnet():
    torch.manual_seed(0)
    return SchNet(16, 16, 2, 16, CUTOFF, interaction_graph=near)


def near(pos, batch):
    """All pairs of one molecule within the cutoff, without torch-cluster."""
    far = torch.cdist(pos, pos)
    pairs = (batch[:, None] == batch) & (far < CUTOFF) & ~torch.eye(len(pos), dtype=torch.bool)
    index = pairs.nonzero().T
    return index, (pos[index[0]] - pos[index[1]]).norm(dim=-1)


class TestMolecules:
    @pytest.mark.parametrize(
        ("representation", "pool", "rows"),
        [
            ("O3: 8 trivial", "readout sum", 140),
            ("O3: 8 trivial", "readout mean", 140),
            ("S8: 8 points x 8", None, 140),
            ("S8 x O3: 8 points (8x0e)", None, 140),
        ],
    )
    def test_schnets_latents_of_atoms(self, representation, pool, rows):
        callback = fitted(
            Regression(schnet()), loaders(molecules), "net.lin1", representation, pool=pool, sample_size=24
        )
        assert number(callback, "equivariance_error") < 1e-4
        assert number(callback, "error") < 1e-4
        assert wrong(callback) == []
        assert number(callback, "bank") == rows
        assert "rotates pos" in said(callback) or "O3" not in representation

    def test_each_atom_is_a_sample_without_a_readout(self):
        callback = fitted(Regression(schnet()), loaders(molecules), "net.lin1", "O3: 8 trivial")
        assert number(callback, "bank") == sum(m.num_nodes for m in molecules(140, seed=1))
        assert "give pool='readout sum'" in said(callback)
        assert number(callback, "equivariance_error") < 1e-4

    def test_dimenet(self):
        pytest.importorskip("torch_cluster", reason="DimeNet finds its triplets with torch_cluster")
        net = DimeNet(16, 1, 2, 4, 3, 3, cutoff=CUTOFF)
        callback = fitted(Regression(net), loaders(molecules), "net", "O3: 1 trivial")
        assert number(callback, "equivariance_error") < 1e-4


class Vectors(MessagePassing):
    """Features and coordinates of an EGNN, and vectors on nodes as in PaiNN."""

    def __init__(self, width=8):
        super().__init__(aggr="add")
        torch.manual_seed(0)
        self.embedding = torch.nn.Embedding(6, width)
        self.edge = torch.nn.Sequential(torch.nn.Linear(2 * width + 1, 16), torch.nn.SiLU(), torch.nn.Linear(16, 4))

    def forward(self, z, pos, edge_index):
        far = pos[edge_index[1]] - pos[edge_index[0]]
        return self.embedding(z), self.propagate(edge_index, h=self.embedding(z), far=far)

    def message(self, h_i, h_j, far):
        weight = self.edge(torch.cat([h_i, h_j, far.norm(dim=1, keepdim=True)], 1))
        return (weight[:, :, None] * far[:, None]).flatten(1)


class Forces(Module):
    def loss(self, batch):
        vectors = self.net(batch.z, batch.pos, near(batch.pos, batch.batch)[0])[1]
        energy = global_add_pool(vectors.unflatten(1, (4, 3)).norm(dim=2), batch.batch)
        return (energy.sum(1) - batch.y).pow(2).mean()


@pytest.mark.parametrize(
    ("representation", "pool"),
    [("O3: 4 vectors", "readout mean"), ("O3: 4x1o", None), ("S8 x O3: 8 points (4 vectors)", None)],
)
def test_vectors_of_nodes_turn_with_the_positions(tmp_path, representation, pool):
    small = {"sample_size": 16, "bank_size": 48} if "S8" in representation else {}
    trained = Forces(Vectors())
    callback = fitted(
        trained, loaders(molecules), "net", representation, pick=1, pool=pool, export=tmp_path / "net", **small
    )
    assert number(callback, "equivariance_error") < 1e-4
    assert number(callback, "error") < 1e-4 < 0.1 < number(callback, "error_raw")
    assert not [finding for finding in wrong(callback) if "were left out" not in finding]
    encoder, batch = InvariantEncoder.from_pretrained(tmp_path / "net"), Batch.from_data_list(molecules(5, seed=9))
    edges = near(batch.pos, batch.batch)[0]
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0)))[0]
    inputs = [
        {"z": batch.z, "pos": pos, "edge_index": edges, "batch": batch.batch} for pos in (batch.pos, batch.pos @ turn)
    ]
    names = ["z", "pos", "edge_index", "batch"][: len(encoder.config["inputs"])]
    features, turned = (encoder(*(given[name] for name in names)) for given in inputs)
    assert torch.allclose(features, turned, rtol=1e-3, atol=1e-3 * float(features.abs().max()))
    assert len(features) == (batch.num_nodes if representation == "O3: 4x1o" else 5)


class TestNodes:
    def test_labels_of_nodes_are_found_and_graphs_left_out_whole(self):
        callback = fitted(Classifier(), loaders(graphs, labels="node"), "net", "S9: 8 trivial")
        latents = callback._reporter.evaluation.latents
        sizes = torch.tensor([g.num_nodes for g in graphs(140, seed=1)])
        assert len(latents.bank) == int(sizes.sum())
        assert torch.equal(latents.groups.bincount(), sizes)
        labels = torch.cat([g.y for g in graphs(140, labels="node", seed=1)])
        assert torch.equal(latents.labels, labels)
        assert torch.equal(latents.labels[latents.own], labels[latents.own])
        assert number(callback, "equivariance_error") < 1e-4  # nodes are compared with themselves, wherever they went
        assert number(callback, "knn") == number(callback, "knn")

    def test_an_unknown_readout_is_refused(self):
        with pytest.raises(ValueError, match="'readout sum' or 'readout mean'"):
            fitted(Classifier(), loaders(graphs), "net", "S9: 8 trivial", pool="sum")
        with pytest.raises(ValueError, match="the representation of one node"):
            fitted(Classifier(), loaders(graphs), "net", "S9: 9 points x 8", pool="readout sum")


class TestExport:
    @pytest.mark.parametrize("module", [Classifier, Forwarding])
    @pytest.mark.parametrize(
        ("representation", "pool"), [("S12: 12 points x 8", None), ("S12: 8 trivial", "readout mean")]
    )
    def test_a_fresh_encoder_takes_nodes_edges_and_the_graph_of_each_node(self, tmp_path, module, representation, pool):
        trained = module()
        fitted(trained, loaders(graphs), "net", representation, pool=pool, export=tmp_path / "gin")
        encoder = InvariantEncoder.from_pretrained(tmp_path / "gin")
        batch = Batch.from_data_list(graphs(7, seed=5))
        trained.eval()
        with torch.no_grad():
            z = trained.net(batch.x, batch.edge_index)
            features = encoder(batch.x, batch.edge_index, batch.batch)
            assert torch.allclose(encoder.latent(batch.x, batch.edge_index, batch.batch), z, atol=1e-6)
            assert features.shape == (7, encoder.projection.out_features)
            moved = reordered(batch)
            again = encoder(moved.x, moved.edge_index, moved.batch)
            assert (features - again).norm() < 1e-4 * features.norm()
            if pool:
                mean = torch.stack([z[batch.batch == i].mean(0) for i in range(7)])
                assert torch.allclose(features, mean, atol=1e-5)
            alone = encoder(*(graphs(7, seed=5)[3][key] for key in ("x", "edge_index")), torch.zeros(
                graphs(7, seed=5)[3].num_nodes, dtype=torch.int64
            ))  # fmt: skip
            assert torch.allclose(alone[0], features[3], atol=1e-5)

    def test_the_card_shows_a_call_that_runs(self, tmp_path):
        fitted(Classifier(), loaders(graphs), "net", "S12: 12 points x 8", export=tmp_path / "gin")
        card = (tmp_path / "gin" / "README.md").read_text(encoding="utf-8")
        snippet = card.split("```python")[1].split("```")[0].replace("path/or/repository", str(tmp_path / "gin"))
        assert "the graph of each node" in snippet
        names = {}
        exec(snippet, names)
        assert names["features"].shape[0] == 1
        with pytest.raises(ArtifactError, match="Expected batches of graphs that hold"):
            names["encoder"].encode([names["x0"]])
        with pytest.raises(ArtifactError, match="transform the graphs yourself"):
            verify(names["encoder"], [names["x0"]])

    def test_whole_data_sets_of_graphs_are_encoded(self, tmp_path):
        fitted(Classifier(), loaders(graphs), "net", "S12: 12 points x 8", export=tmp_path / "gin")
        encoder, made = InvariantEncoder.from_pretrained(tmp_path / "gin"), graphs(23, seed=5)
        whole = Batch.from_data_list(made)
        given = whole.x, whole.edge_index, whole.batch
        with torch.no_grad():
            wanted = encoder(*given)
        for data in (whole, given, made, DataLoader(made, 5)):
            found = encoder.encode(data, batch_size=4, output="torch", progress=False)
            assert torch.allclose(found, wanted, atol=1e-5)
        path = encoder.encode(made, batch_size=4, output=tmp_path / "features.npz", progress=False)
        assert np.load(path)["labels"].tolist() == whole.y.tolist()

    def test_features_of_nodes_need_no_graph(self, tmp_path):
        trained = Classifier()
        fitted(trained, loaders(graphs, labels="node"), "net", "S12: 8 trivial", export=tmp_path / "gin")
        encoder = InvariantEncoder.from_pretrained(tmp_path / "gin")
        batch = Batch.from_data_list(graphs(3, seed=5))
        assert encoder(batch.x, batch.edge_index).shape == (batch.num_nodes, 8)

    def test_what_cannot_be_written_is_said(self, tmp_path):
        try:
            callback = fitted(
                Regression(schnet()), loaders(molecules), "net.lin1", "O3: 8 trivial", export=tmp_path / "schnet"
            )
        except InvariantError as error:  # before the first step
            text = str(error)
        else:
            text = "\n".join(callback._findings._said.values())
        assert "torch.export can trace" in text
        assert not (tmp_path / "schnet").exists()


def reordered(batch):
    """The nodes of each graph in another order."""
    generator = torch.Generator().manual_seed(3)
    made = []
    for graph in batch.to_data_list():
        order = torch.randperm(graph.num_nodes, generator=generator)
        made.append(Data(x=graph.x[order], edge_index=order.argsort()[graph.edge_index], y=graph.y))
    return Batch.from_data_list(made)


def test_labels_may_be_named():
    callback = fitted(
        Classifier(), loaders(graphs), "net", "S9: 9 points x 8", batch=BatchReader(labels=lambda batch: batch.y)
    )
    assert number(callback, "knn") > 0.5
