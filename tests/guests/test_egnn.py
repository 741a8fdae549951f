"""EGNN of egnn-pytorch on batches that are dicts: a tuple of features and coordinates comes out."""

import pytest
import torch
from torch.utils.data import DataLoader

pytest.importorskip("egnn_pytorch", reason="needs egnn-pytorch (make test-guests)")

import egnn_pytorch

from lightning_invariant import BatchReader, InvariantEncoder
from lightning_invariant.errors import LatentError
from tests.guests.runs import Module, fitted, number, said, wrong

SMALL = {"sample_size": 16, "bank_size": 48}
"""Orbit distances of points that are rotated take seconds each for more."""
MASK = BatchReader(mask="mask")
FEATURES = "S5 x O3: 5 points (8x0e)"
BOTH = "S5 x O3: 5 points (8x0e + 1x1o)"


def molecules(count, seed, *, padded, n=5):
    g = torch.Generator().manual_seed(seed)
    pos, z = torch.randn(count, n, 3, generator=g), torch.randint(4, (count, n), generator=g)
    sizes = torch.randint(3, n + 1, (count,), generator=g) if padded else torch.full((count,), n)
    mask = torch.arange(n) < sizes[:, None]
    pos, z = pos * mask[..., None], z * mask
    y = (torch.cdist(pos, pos) * mask[:, None] * mask[:, :, None]).sum((1, 2)) / n + z.float().mean(1)
    return [{"pos": p, "z": a, "mask": m, "y": t} for p, a, m, t in zip(pos, z, mask, y, strict=True)]


def loaders(*, padded=False):
    first, second = molecules(64, 0, padded=padded), molecules(96, 1, padded=padded)
    return DataLoader(first, 32, shuffle=True), DataLoader(second, 32)


class Layers(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embedding = torch.nn.Embedding(4, 8)
        self.first, self.second = egnn_pytorch.EGNN(dim=8), egnn_pytorch.EGNN(dim=8)

    def forward(self, z, pos, mask):
        h, x = self.first(self.embedding(z), pos, mask=mask)
        return self.second(h, x, mask=mask)


class Regression(Module):
    def loss(self, batch):
        h, _ = self.net(batch["z"], batch["pos"], batch["mask"])
        return ((h.mean(2) * batch["mask"]).sum(1) - batch["y"]).pow(2).mean()


def run(representation, *, padded=False, **settings):
    return fitted(Regression(Layers()), loaders(padded=padded), "net", representation, **(SMALL | settings))


def both(output):
    return torch.cat(output, -1)


@pytest.mark.parametrize(
    ("representation", "settings"),
    [
        ("O3: 5 vectors", {"pick": 1}),
        ("S5: 5 points x 8", {"pick": 0}),
        (FEATURES, {"pick": 0}),
        ("S5 x O3: 5 points (vectors)", {"pick": 1}),
        (BOTH, {"pick": both}),
        ("O3: 8 trivial", {"pick": 0, "pool": "readout sum"}),
        ("O3: 1 vectors", {"pick": 1, "pool": "readout mean"}),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else value,
)
def test_one_line_serves_features_and_coordinates(representation, settings):
    callback = run(representation, **settings)
    assert number(callback, "equivariance_error") < 1e-4
    assert number(callback, "error") < 1e-4
    assert wrong(callback) == []
    assert "labels: batch['y'], values" in said(callback)


@pytest.mark.parametrize(
    ("representation", "settings"),
    [
        ("S5: 5 points x 8", {"pick": 0}),
        ("S5 x O3: 5 points (vectors)", {"pick": 1}),
        ("O3: 8 trivial", {"pick": 0, "pool": "readout mean"}),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else value,
)
def test_padding_is_left_out_by_its_mask(representation, settings):
    callback = run(representation, padded=True, batch=MASK, **settings)
    assert number(callback, "equivariance_error") < 1e-4
    assert number(callback, "error") < 1e-4
    assert wrong(callback) == []


def test_a_readout_counts_the_atoms_that_exist():
    rows = molecules(96, 1, padded=True)
    whole = {"padded": True, "pick": 0, "pool": "readout sum", "sample_size": 16, "bank_size": 96}
    masked, bare = run("O3: 8 trivial", batch=MASK, **whole), run("O3: 8 trivial", **whole)
    assert len(masked._reporter.evaluation.latents.nodes.bank) == sum(int(row["mask"].sum()) for row in rows)
    assert len(bare._reporter.evaluation.latents.nodes.bank) == 5 * len(rows)


def test_the_error_names_the_parts():
    with pytest.raises(LatentError, match=r"tuple with 0 \(32, 5, 8\), 1 \(32, 5, 3\).*pick="):
        run(FEATURES)


def test_coordinates_laid_out_otherwise_are_found_out():
    callback = run("S5 x O3: 1 points*vectors", pick=lambda output: output[1].mT.reshape(-1, 15))
    assert number(callback, "equivariance_error") > 0.1


def test_the_export_takes_types_and_positions(tmp_path):
    trained = Regression(Layers())
    fitted(trained, loaders(), "net", "S5 x O3: 5 points (vectors)", pick=1, export=tmp_path / "egnn", **SMALL)
    encoder = InvariantEncoder.from_pretrained(tmp_path / "egnn")
    batch = next(iter(loaders()[1]))
    trained.eval()
    with torch.no_grad():
        coordinates = trained.net(batch["z"], batch["pos"], batch["mask"])[1]
        names = [spec["shape"] for spec in encoder.config["inputs"]]
        inputs = [batch["z"], batch["pos"], batch["mask"]][: len(names)]
        latents = encoder.latent(*inputs)
    by_points = encoder.projection.representation.by_points(latents)
    assert torch.allclose(by_points, coordinates, atol=1e-4)
