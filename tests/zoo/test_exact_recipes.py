"""Outlines and volumes: what is read and generated, and that the networks are exactly equivariant."""

import sys

import numpy as np
import pytest
import torch

from lightning_invariant.errors import InvariantError
from lightning_invariant.groups import Cube, Representation, Translations
from lightning_invariant.groups.actions import ShiftAction, VolumeAction
from lightning_invariant.metrics import equivariance_errors
from lightning_invariant.zoo.outlines import OutlineClassifier, Outlines, read_outlines
from lightning_invariant.zoo.volumes import CubeEncoder, Pentacubes, PieceClassifier, pentacubes


def write_outlines(folder, name="OSULeaf", count=24):
    """Ellipses with 2 or 3 lobes, in the format of the UCR archive."""
    generator, angle = np.random.default_rng(0), np.linspace(0, 2 * np.pi, 100, endpoint=False)
    (folder / name).mkdir(parents=True)
    for part in ("TRAIN", "TEST"):
        lines = ["#comment: colons, too", "@problemName x", "@data"]
        for number in range(count):
            curve = np.cos((2 + number % 2) * angle) + 0.1 * generator.normal(size=100)
            lines.append(",".join(f"{value:.5f}" for value in curve) + f":{1 + number % 2}")
        (folder / name / f"{name}_{part}.ts").write_text("\n".join(lines) + "\n")
    return folder


def test_outlines_are_closed_and_scaled(tmp_path):
    x, y = read_outlines(str(write_outlines(tmp_path)), "OSULeaf")
    assert x.shape == (48, 1, 256)
    assert y.tolist() == [0, 1] * 24
    assert x.mean(dim=2).abs().max() < 1e-5
    assert torch.allclose(x.std(dim=2), torch.ones(48, 1))
    # Between the last of 100 points and the first it goes on: the first lobe's top lies at the seam.
    assert x[0, 0, -1] > 0.5
    data = Outlines(str(tmp_path), batch_size=8)
    data.setup("fit")
    assert [len(part) for part in (data.training, data.validation, data.testing)] == [31, 5, 12]
    assert next(iter(data.train_dataloader()))[0].shape == (8, 1, 256)


@pytest.mark.parametrize("text", ["no data", "@data\n1,2,x:1\n", "@data\n1,2:1\n", "@data\n"])
def test_other_files_are_refused(tmp_path, text):
    write_outlines(tmp_path)
    (tmp_path / "OSULeaf" / "OSULeaf_TEST.ts").write_text(text)
    with pytest.raises(InvariantError, match=r"OSULeaf_TEST\.ts"):
        read_outlines(str(tmp_path), "OSULeaf")


def test_without_a_folder_the_copy_in_aeon_is_read(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "aeon", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InvariantError, match="pip install aeon"):
        read_outlines(None, "OSULeaf")
    write_outlines(tmp_path / "aeon" / "datasets" / "data")
    spec = type("Spec", (), {"origin": str(tmp_path / "aeon" / "__init__.py")})
    monkeypatch.setattr("importlib.util.find_spec", lambda name: spec)
    assert len(read_outlines(None, "OSULeaf")[0]) == 48
    with pytest.raises(InvariantError, match=r"ArrowHead_TRAIN\.ts"):
        read_outlines(None, "ArrowHead")


def worst(encoder, action, text, x):
    encoder.eval()
    errors = []
    with torch.no_grad():
        z = encoder(x).flatten(1)
        for g in Representation.parse(text).group.elements()[1:]:
            every = g.expand(len(x))
            errors += equivariance_errors(encoder(action.transform(x, every)).flatten(1), z, text, every).values()
    return max(errors)


def trained(module, x):
    """Running statistics that are not those of an untouched network."""
    torch.manual_seed(0)
    module.train()(x)
    return module


def test_the_outline_network_is_exact():
    x = torch.randn(8, 1, 256)
    encoder = trained(OutlineClassifier().encoder, x)
    assert worst(encoder, ShiftAction(Translations(32)), "T32: 8 regular", x) < 1e-5
    with torch.no_grad():
        assert (encoder(x.roll(3, 2)) - encoder(x)).abs().max() > 1e-3
    invariant = OutlineClassifier(head="max").eval()
    with torch.no_grad():
        assert torch.allclose(invariant(x.roll(8, 2)), invariant(x), atol=1e-5)


def test_the_pieces_are_the_29_pentacubes():
    pieces, rotations = pentacubes(), Cube().matrices().round().long()

    def key(piece):
        turned = (piece @ r.mT for r in rotations)
        return min(tuple(sorted(map(tuple, (voxels - voxels.amin(dim=0)).tolist()))) for voxels in turned)

    keys = [key(piece) for piece in pieces]
    assert len(pieces) == len(set(keys)) == 29  # OEIS A000162: one-sided pieces
    mirrored = [key(piece * torch.tensor([-1, 1, 1])) for piece in pieces]
    assert sum(one != other for one, other in zip(keys, mirrored, strict=True)) == 12
    assert set(mirrored) == set(keys)


def test_a_volume_holds_its_piece():
    data = Pentacubes(size=60, noise=0.01)
    data.setup("fit")
    x, y = data.training.tensors
    assert [len(part) for part in (data.training, data.validation, data.testing)] == [60, 15, 30]
    for volume, label in zip(x[:, 0], y.tolist(), strict=True):
        voxels = (volume > 0.5).nonzero()
        assert torch.equal(voxels - voxels.amin(dim=0), pentacubes()[label])
    with pytest.raises(ValueError, match="at least 4"):
        Pentacubes(size=3)


def test_the_volume_network_is_exact():
    x = torch.randn(6, 1, 6, 6, 6)
    encoder = trained(CubeEncoder(4), x)
    assert worst(encoder, VolumeAction(Cube()), "Cube: 4 regular", x) < 1e-5
    with torch.no_grad():
        mirrored = (encoder(x.flip(4)).amax(dim=2) - encoder(x).amax(dim=2)).abs().max()
    assert mirrored > 1e-3
    turned = VolumeAction(Cube()).transform(x, torch.full((6,), 7))
    for head in ("latent", "max"):
        network = PieceClassifier(4, head).eval()
        with torch.no_grad():
            assert torch.allclose(network(turned), network(x), atol=1e-5) == (head == "max")
