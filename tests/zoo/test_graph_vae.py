import pytest
import torch

from lightning_invariant.groups import Symmetric
from lightning_invariant.groups.actions import NodeAction
from lightning_invariant.zoo.graph_vae import GraphVae, labels_of, reconstruction_loss
from lightning_invariant.zoo.molecule_action import GraphAction
from lightning_invariant.zoo.molecule_graphs import CHANNELS, NODES


@pytest.fixture
def graphs():
    generator = torch.Generator().manual_seed(0)
    kinds = torch.randint(CHANNELS, (8, NODES, NODES), generator=generator)
    x = torch.nn.functional.one_hot(kinds, CHANNELS).float()
    own = torch.eye(NODES, dtype=torch.bool)[None, :, :, None]
    there = torch.where(own, torch.arange(CHANNELS) < 4, torch.arange(CHANNELS) >= 4)
    x = x * there
    return torch.triu(x.permute(0, 3, 1, 2)).add(torch.triu(x.permute(0, 3, 1, 2), 1).mT).permute(0, 2, 3, 1)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return GraphVae(width=8, layers=2).double().eval()


def test_encoder_and_decoder_move_with_the_nodes(network, graphs):
    g = Symmetric(NODES).sample(len(graphs), torch.Generator().manual_seed(0))
    nodes, pairs = NodeAction(Symmetric(NODES)), GraphAction(NODES)
    x = graphs.double()
    z = network.encoder(x)
    assert torch.allclose(network.encoder(pairs.transform(x, g)), nodes.transform(z, g), atol=1e-10)
    atoms, bonds = network.decoder(z)
    moved_atoms, moved_bonds = network.decoder(nodes.transform(z, g))
    assert torch.allclose(moved_atoms, nodes.transform(atoms, g), atol=1e-10)
    assert torch.allclose(moved_bonds, pairs.transform(bonds, g), atol=1e-10)
    assert torch.equal(bonds, bonds.transpose(1, 2))
    assert not torch.allclose(moved_atoms, atoms, atol=1e-3)


def test_the_loss_of_right_scores_is_zero_and_of_wrong_ones_is_not(graphs):
    atoms, bonds = labels_of(graphs)
    right = [50.0 * torch.nn.functional.one_hot(part, count).float() for part, count in ((atoms, 5), (bonds, 4))]
    assert reconstruction_loss(graphs, *right) < 1e-6
    assert reconstruction_loss(graphs, right[0], right[1].roll(1, dims=-1)) > 10


def test_the_distribution_is_centred_on_the_latent(network, graphs):
    mean, log_variance = network.encoder.distribution(graphs.double())
    assert torch.equal(mean, network.encoder(graphs.double()))
    assert log_variance.shape == (len(graphs), NODES)
