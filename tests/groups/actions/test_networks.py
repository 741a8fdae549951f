"""Networks that are equivariant by construction come out so: rules, elements and representations fit together."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lightning_invariant.batch import rows
from lightning_invariant.groups import Representation
from lightning_invariant.groups.actions import VolumeAction, member_action

B = 4


def error(network, tree, text, given=None, count=B):
    """Largest deviation of the latents of transformed inputs from the transformed latents; and without the latter."""
    representation = Representation.parse(text)
    layout = rows(tree, count)[0]
    action = member_action(representation.group, tree, given, layout)
    assert not action.unknown, action.question
    g = representation.group.sample(count, torch.Generator().manual_seed(0))
    with torch.no_grad():
        z, moved = network(**tree), network(**action.transform(tree, g))
    expected = representation.transform(z, action.realised(tree, g))
    return (moved - expected).abs().max().item(), (moved - z).abs().max().item()


class Attention(nn.Module):
    def __init__(self, *, first: bool, keep: bool = False):
        super().__init__()
        self.inward = nn.Linear(2, 8)
        self.attend = nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=first)
        self.first, self.keep = first, keep

    def forward(self, x, mask):
        hidden = self.attend(self.inward(x), src_key_padding_mask=~mask if self.keep else mask)
        return hidden if self.first else hidden.transpose(0, 1)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("keep", [True, False])
def test_attention_with_a_mask_of_either_polarity(first, keep):
    torch.manual_seed(0)
    pad = torch.arange(6) >= torch.tensor([6, 2, 3, 5])[:, None]
    x = torch.randn(B, 6, 2)
    tree = {"x": x if first else x.transpose(0, 1), "mask": ~pad if keep else pad}
    wrong, change = error(Attention(first=first, keep=keep).eval(), tree, "S6: 6 points x 8")
    assert wrong < 1e-5
    assert change > 1e-2
    alone, _ = error(Attention(first=first, keep=keep).eval(), tree, "S6: 6 points x 8", {"mask": "left alone"})
    assert alone > 1e-2


class Molecule(nn.Module):
    def __init__(self):
        super().__init__()
        self.types, self.radial = nn.Embedding(4, 8), nn.Linear(1, 8)

    def forward(self, pos, z):
        distances = (pos[:, :, None] - pos[:, None]).norm(dim=-1, keepdim=True)
        return self.types(z) + self.radial(distances).tanh().sum(2)


def test_molecules_as_separate_members():
    torch.manual_seed(0)
    tree = {"pos": torch.randn(B, 6, 3), "z": torch.randint(0, 4, (B, 6))}
    network = Molecule()
    assert error(network, tree, "S6: 6 points x 8")[0] < 1e-5
    assert error(lambda pos, z: network(pos, z).flatten(1), tree, "O3: 48 trivial")[1] < 1e-5
    assert error(network, tree, "S6: 6 points x 8", {"z": "left alone"})[0] > 1e-2


@pytest.mark.parametrize("time_last", [True, False])
def test_circular_convolutions_over_time(time_last):
    torch.manual_seed(0)
    convolution = nn.Conv1d(16, 4, 3, padding=1, padding_mode="circular")
    tree = {"x": torch.randn(B, 16, 16)}
    given = {"x": "signal(axis=2)" if time_last else "signal(axis=1)"}
    wrong, change = error(lambda x: convolution(x if time_last else x.mT), tree, "T16: 4 regular", given)
    assert wrong < 1e-5
    assert change > 1e-2
    other = {"x": "signal(axis=1)" if time_last else "signal(axis=2)"}
    assert error(lambda x: convolution(x if time_last else x.mT), tree, "T16: 4 regular", other)[0] > 1e-2


def test_circular_convolutions_over_the_plane():
    torch.manual_seed(0)
    convolution = nn.Conv2d(1, 4, 3, padding=1, padding_mode="circular")
    tree = {"x": torch.randn(B, 1, 32, 32)}
    wrong, change = error(convolution, {"input": tree["x"]}, "T32 x T32: 4 regular*regular")
    assert wrong < 1e-5
    assert change > 1e-2


@pytest.mark.parametrize("group", ["Cube", "FullCube"])
def test_the_orbit_of_a_volume_gives_regular_fields(group):
    torch.manual_seed(0)
    acting = Representation.parse(f"{group}: 1 regular").group
    flat = nn.Linear(64, 2)

    def network(x):
        views = [VolumeAction(acting).transform(x, acting.inverse(h)) for h in acting.elements()]
        return torch.stack([flat(view.flatten(1)) for view in views], dim=2)

    wrong, change = error(network, {"x": torch.randn(B, 4, 4, 4)}, f"{group}: 2 regular")
    assert wrong < 1e-5
    assert change > 1e-2


def test_means_of_eigenvectors_flip_with_them():
    torch.manual_seed(0)
    wrong, change = error(lambda pe: pe.mean(1), {"pe": torch.randn(B, 6, 4)}, "Z2^4: signs")
    assert wrong == 0
    assert change > 1e-2


def test_nodes_of_ragged_graphs():
    pytest.importorskip("torch_geometric")
    from torch_geometric.data import Batch, Data
    from torch_geometric.nn import GIN
    from torch_geometric.utils import to_dense_batch

    torch.manual_seed(0)
    graphs = [Data(x=torch.randn(n, 2), edge_index=torch.randint(0, n, (2, 3 * n))) for n in (6, 3, 5, 4)]
    network = GIN(2, 16, 2, 8).eval()

    def dense(data):
        return to_dense_batch(network(data.x, data.edge_index), data.batch, max_num_nodes=6)[0]

    wrong, change = error(dense, {"data": Batch.from_data_list(graphs)}, "S6: 6 points x 8")
    assert wrong < 1e-5
    assert change > 1e-2
