"""Irreps of nodes as e3nn lays them out: (B, N, irreps) and all nodes of a batch in one list."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

pytest.importorskip("e3nn", reason="needs e3nn")

from e3nn import o3

from lightning_invariant import InvariantEncoder
from tests.guests.runs import Module, fitted, number, said, wrong

IRREPS = "4x0e + 3x1o"
SMALL = {"sample_size": 16, "bank_size": 48}


class Convolution(nn.Module):
    """One equivariant convolution over all pairs of points; (B, N, irreps)."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.harmonics = o3.SphericalHarmonics("0e + 1o", normalize=False)
        self.linear = o3.Linear("0e + 1o", IRREPS)

    def forward(self, pos, batch=None):
        far = pos[..., :, None, :] - pos[..., None, :, :]
        weight = torch.exp(-far.norm(dim=-1, keepdim=True))
        if batch is not None:
            weight = weight * (batch[:, None] == batch)[..., None]
        return self.linear((self.harmonics(far) * weight).sum(-2)) * weight.sum(-2)


class Dense(Module):
    def loss(self, batch):
        return (self.net(batch["pos"])[..., 0].sum(1) - batch["y"]).pow(2).mean()


class Listed(Module):
    def loss(self, batch):
        scalars = self.net(batch["pos"], batch["batch"])[:, 0]
        return (torch.zeros(len(batch["y"])).index_add(0, batch["batch"], scalars) - batch["y"]).pow(2).mean()


def clouds(count, seed, sizes=(5, 5)):
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(count):
        n = int(torch.randint(sizes[0], sizes[1] + 1, (), generator=generator))
        pos = torch.randn(n, 3, generator=generator)
        found.append({"pos": pos, "y": torch.cdist(pos, pos).mean()})
    return found


def listed(rows):
    sizes = torch.tensor([len(row["pos"]) for row in rows])
    return {
        "pos": torch.cat([row["pos"] for row in rows]),
        "batch": torch.arange(len(rows)).repeat_interleave(sizes),
        "y": torch.stack([row["y"] for row in rows]),
    }


def dense_loaders():
    return DataLoader(clouds(64, 0), 32), DataLoader(clouds(96, 1), 32)


def listed_loaders():
    return (
        DataLoader(clouds(64, 0, (3, 5)), 32, collate_fn=listed),
        DataLoader(clouds(96, 1, (3, 5)), 32, collate_fn=listed),
    )


@pytest.mark.parametrize(("module", "loaders"), [(Dense, dense_loaders), (Listed, listed_loaders)])
@pytest.mark.parametrize(
    ("representation", "settings"),
    [
        ("S5 x O3: 5 points (4x0e + 3x1o)", {}),
        ("O3: 4x0e + 3x1o", {"pool": "readout sum"}),
    ],
)
def test_one_line_is_right(module, loaders, representation, settings):
    callback = fitted(module(Convolution()), loaders(), "net", representation, **(SMALL | settings))
    assert number(callback, "equivariance_error") < 1e-4
    assert number(callback, "error") < 1e-4 < 0.01 < number(callback, "error_raw")
    assert wrong(callback) == []
    assert "rotates pos" in said(callback)


def test_a_plain_reshape_is_another_latent():
    wrongly = {"pick": lambda z: z.reshape(len(z), -1)}
    callback = fitted(
        Dense(Convolution()), dense_loaders(), "net", "S5 x O3: 4 points*0e + 3 points*1o", **wrongly, **SMALL
    )
    assert number(callback, "equivariance_error") > 0.5


def test_a_vector_of_the_whole_cloud_stands_beside_it(tmp_path):
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.nodes = Convolution()

        def forward(self, pos):
            nodes = self.nodes(pos)[..., 4:]
            return torch.cat([nodes.unflatten(2, (3, 3)).transpose(1, 2).flatten(1), nodes[..., :3].sum(1)], dim=1)

    class Sum(Module):
        def loss(self, batch):
            return (self.net(batch["pos"]).sum(1) - batch["y"]).pow(2).mean()

    text = "S5 x O3: 3 points*1o + 1 trivial*1o"
    trained = Sum(Both())
    callback = fitted(trained, dense_loaders(), "net", text, export=tmp_path / "both", **SMALL)
    assert number(callback, "equivariance_error") < 1e-4
    assert number(callback, "error") < 1e-4
    assert wrong(callback) == []
    encoder, pos = InvariantEncoder.from_pretrained(tmp_path / "both"), next(iter(dense_loaders()[1]))["pos"]
    turned = pos @ o3.rand_matrix().mT
    assert torch.allclose(encoder(turned[:, torch.randperm(5)]), encoder(pos), atol=1e-3)
