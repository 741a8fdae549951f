import pytest
import torch

from lightning_invariant.groups import Symmetric
from lightning_invariant.groups.actions import NodeAction
from lightning_invariant.zoo.graph_vae import GraphVae, is_rebuilt, labels_of, reconstruction_loss
from lightning_invariant.zoo.molecule_action import GraphAction
from lightning_invariant.zoo.molecule_graphs import CHANNELS, NODES, TIES


@pytest.fixture
def graphs():
    generator = torch.Generator().manual_seed(0)
    kinds = torch.randint(CHANNELS, (8, NODES, NODES), generator=generator)
    x = torch.nn.functional.one_hot(kinds, CHANNELS).float()
    own, channel = torch.eye(NODES, dtype=torch.bool)[None, :, :, None], torch.arange(CHANNELS)
    there = torch.where(own, (channel < 4) | (channel == TIES), (channel >= 4) & (channel < TIES))
    x = x * there
    return torch.triu(x.permute(0, 3, 1, 2)).add(torch.triu(x.permute(0, 3, 1, 2), 1).mT).permute(0, 2, 3, 1)


@pytest.fixture(params=[1, 8])
def network(request):
    torch.manual_seed(0)
    return GraphVae(width=8, layers=2, size=request.param).double().eval()


def test_encoder_and_decoder_move_with_the_nodes(network, graphs):
    g = Symmetric(NODES).sample(len(graphs), torch.Generator().manual_seed(0))
    nodes, pairs = NodeAction(Symmetric(NODES)), GraphAction(NODES)
    x = graphs.double()
    z = network.encoder(x)
    assert z.shape == ((8, NODES) if network.encoder.size == 1 else (8, NODES, 8))
    assert torch.allclose(network.encoder(pairs.transform(x, g)), nodes.transform(z, g), atol=1e-10)
    atoms, bonds = network.decoder(z)
    moved_atoms, moved_bonds = network.decoder(nodes.transform(z, g))
    assert torch.allclose(moved_atoms, nodes.transform(atoms, g), atol=1e-10)
    assert torch.allclose(moved_bonds, pairs.transform(bonds, g), atol=1e-10)
    assert torch.allclose(bonds, bonds.transpose(1, 2), atol=1e-12)
    assert not torch.allclose(moved_atoms, atoms, atol=1e-3)


def test_the_encoder_sees_elements_ties_and_each_kind_of_bond(network, graphs):
    x = graphs.double()
    z = network.encoder(x)
    for channel in range(CHANNELS):
        changed = x.clone()
        changed[:, 0, 0 if channel < 4 or channel == TIES else 1, channel] += 1
        assert not torch.allclose(network.encoder(changed), z, atol=1e-6), channel


def test_helpers_fade_out_and_are_gone_in_the_end(graphs, monkeypatch):
    network = GraphVae(width=8, layers=1).train()
    used = []
    monkeypatch.setattr(
        network.decoder, "forward", lambda z: used.append(z) or (torch.zeros(8, 9, 5), torch.zeros(8, 9, 9, 4))
    )
    for share in (0.0, 0.125, 0.25, 1.0):
        monkeypatch.setattr(network, "progress", lambda share=share: share)
        network.training_step((graphs,), 0)
    gone = [int((z[..., 1:] == 0).flatten(1).all(dim=1).sum()) for z in used]
    assert gone[0] == 0 < gone[1] < 8 == gone[2] == gone[3]
    assert all((z[..., 0] != 0).all() for z in used)
    assert network.encoder(graphs).shape == (8, NODES)


def test_a_graph_is_rebuilt_if_nothing_in_it_is_wrong(graphs):
    atoms, bonds = labels_of(graphs)
    scores = [torch.nn.functional.one_hot(part, count).float() for part, count in ((atoms, 5), (bonds, 4))]
    assert is_rebuilt(graphs, *scores).all()
    scores[0][0, 3] = scores[0][0, 3].roll(1)
    scores[1][1, 2, 5] = scores[1][1, 2, 5].roll(1)
    scores[1][2, 4, 4] = scores[1][2, 4, 4].roll(1)  # the diagonal of the bonds means nothing
    assert is_rebuilt(graphs, *scores).tolist() == [False, False, *[True] * 6]


def test_the_loss_of_right_scores_is_zero_and_of_wrong_ones_is_not(graphs):
    atoms, bonds = labels_of(graphs)
    right = [50.0 * torch.nn.functional.one_hot(part, count).float() for part, count in ((atoms, 5), (bonds, 4))]
    assert reconstruction_loss(graphs, *right) < 1e-6
    assert reconstruction_loss(graphs, right[0], right[1].roll(1, dims=-1)) > 10


def test_the_distribution_is_centred_on_the_latent(network, graphs):
    mean, log_variance = network.encoder.distribution(graphs.double())
    assert torch.equal(mean[..., : network.encoder.size].reshape(8, -1), network.encoder(graphs.double()).flatten(1))
    assert mean.shape == log_variance.shape == (8, NODES, 8)
