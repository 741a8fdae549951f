import json

import numpy as np
import pytest
import torch

from lightning_invariant.cli import main
from lightning_invariant.groups import Representation


@pytest.fixture
def path(tmp_path):
    representation, generator = Representation.parse("C4: 3 regular"), torch.Generator().manual_seed(0)
    z, g = torch.randn(300, 12, generator=generator), torch.randint(4, (300,), generator=generator)
    order = torch.randperm(12, generator=generator)
    file = tmp_path / "latents.npz"
    moved = representation.transform(z, g)[:, order]
    np.savez(file, latents=z[:, order].numpy(), transformed=moved.numpy(), elements=g.numpy())
    return file


def test_a_representation_is_found_in_a_file(path, tmp_path, capsys):
    assert main(["find", str(path), "--group", "C4", "--json", str(tmp_path / "found.json")]) == 0
    assert capsys.readouterr().out.startswith("C4: 3 regular, channels in the order [")
    said = json.loads((tmp_path / "found.json").read_text())
    assert said["representation"] == "C4: 3 regular"
    assert sorted(said["order"]) == list(range(12))


def test_what_is_not_there_is_said_by_the_exit_status(path, tmp_path, capsys):
    arrays = dict(np.load(path)) | {"transformed": np.random.default_rng(0).normal(size=(300, 12))}
    np.savez(path, **arrays)
    assert main(["find", str(path), "--group", "C4", "--json", str(tmp_path / "found.json")]) == 1
    assert "no linear action of C4" in capsys.readouterr().out
    assert json.loads((tmp_path / "found.json").read_text())["representation"] is None


def test_a_file_without_pairs_is_refused(tmp_path, capsys):
    np.savez(tmp_path / "z.npz", latents=np.ones((20, 4)))
    assert main(["find", str(tmp_path / "z.npz"), "--group", "C4"]) == 2
    assert "Expected latents, transformed and elements" in capsys.readouterr().err
