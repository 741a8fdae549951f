import numpy as np
import pytest
import torch

pytest.importorskip("scipy")
irreps = pytest.importorskip("benchmarks.irreps")


def molecules(count):
    generator = torch.Generator().manual_seed(0)
    numbers = torch.tensor([6, 1, 1, 8, 0]).expand(count, -1)
    places = 1.2 * torch.randn(count, 5, 3, generator=generator).double()
    return numbers, places


def test_the_latents_turn_as_their_representation_says():
    numbers, places = molecules(3)
    representation = irreps.choose(irreps.REPRESENTATION).representation
    (turn,) = representation.group.sample(1, torch.Generator().manual_seed(1))
    z, turned = (irreps.atomic_latents(numbers, x).flatten(0, 1) for x in (places, places @ turn.mT))
    assert torch.allclose(representation.transform(z, turn), turned, atol=1e-9)


def test_the_table_is_written(tmp_path):
    numbers, places = molecules(40)
    lengths = (places[:, 0] - places[:, 3]).norm(dim=1)
    np.savez(tmp_path / "qm7.npz", Z=numbers.numpy().astype("u1"), R=places.numpy(), E_col1=lengths.numpy())
    assert irreps.main(["--data-dir", str(tmp_path), "--out", str(tmp_path)]) == 0
    assert "| ChannelNorm | 56 |" in (tmp_path / "irreps.md").read_text()
