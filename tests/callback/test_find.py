"""A representation that the callback finds from the latents."""

import re

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_invariant import InvariantCallback, InvariantEncoder, Representation
from lightning_invariant.errors import GroupError, LatentError
from lightning_invariant.groups import Cyclic
from lightning_invariant.groups.actions import ImageAction
from lightning_invariant.metrics import invariance_error
from lightning_invariant.projections import choose
from lightning_invariant.zoo.quarter_turns import QuarterTurnEncoder
from tests.callback.loops import Classifier, trainer


class Mixed(nn.Module):
    """A group convolution behind a linear layer that is trained, so that its action changes with the weights."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.mix = QuarterTurnEncoder(1, 4), nn.Linear(16, 16, bias=False)
        nn.init.orthogonal_(self.mix.weight)

    def forward(self, x):
        return self.mix(self.body(x).flatten(1))


class Ordinary(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(576, 16))


def images(rows: int, seed: int) -> TensorDataset:
    """Smooth random images, each unlike the others, and whether their left half is the brighter one."""
    generator = torch.Generator().manual_seed(seed)
    x = nn.functional.interpolate(torch.randn(rows, 1, 5, 5, generator=generator), size=(8, 8), mode="bilinear")
    return TensorDataset(x, (x[..., :4].mean((1, 2, 3)) > x[..., 4:].mean((1, 2, 3))).long())


def find(module, folder, representation="C4: find", callback=None, **settings):
    pl.seed_everything(0, verbose=False)
    if callback is None:
        callback = InvariantCallback("encoder", representation, max_overhead=None, figures=None, **settings)
    run = trainer([callback], folder)
    run.fit(module, DataLoader(images(64, seed=0), 32), DataLoader(images(400, seed=1), 100))
    return callback


def test_the_action_is_found_and_exported_with_its_basis(tmp_path):
    module = Classifier(Mixed())
    callback = find(module, tmp_path, export=tmp_path / "encoder")
    scalars = callback.report.scalars
    assert scalars["invariance/equivariance_error"] < 1e-3
    assert scalars["invariance/error"] < 1e-3 < 0.05 < scalars["invariance/error_raw"]
    assert str(callback.representation) == "C4: 4 regular"
    encoder = InvariantEncoder.from_pretrained(tmp_path / "encoder")
    assert encoder.guarantee.invariance == "estimated"
    assert re.search(r"estimated from latents of transformed inputs, with an error of \d", encoder.guarantee.note)
    x = images(64, seed=2).tensors[0]
    turned = ImageAction(Cyclic(4)).transform(x, torch.arange(64) % 4)
    assert invariance_error(encoder(turned), encoder(x)) < 1e-3
    in_basis = Representation.parse("C4: 4 regular").transform(encoder.latent(x), torch.arange(64) % 4)
    assert torch.allclose(encoder.latent(turned), in_basis, atol=1e-3)
    assert "estimated" in (tmp_path / "encoder" / "README.md").read_text()


def test_what_is_not_there_is_not_found(tmp_path):
    with pytest.warns(UserWarning, match=r"No linear action of C4 explains this latent.*nothing is measured"):
        callback = find(Classifier(Ordinary()), tmp_path)
    assert callback.representation is None
    assert set(callback.report.scalars) == {"invariance/findings"}


def test_the_basis_is_kept_while_it_holds_and_found_anew_when_it_does_not(tmp_path):
    callback = find(Classifier(QuarterTurnEncoder(1, 4)), tmp_path)
    first = callback._given.symmetry.estimate
    assert first.order is not None
    found = []
    settle = callback._given.settle
    callback._given.settle = lambda estimate: (found.append(estimate), settle(estimate))
    find(Classifier(QuarterTurnEncoder(1, 4)), tmp_path, callback=callback)
    assert len(found) == 1  # once, for all validations of the run
    found.clear()
    find(Classifier(Mixed()), tmp_path, callback=callback)
    assert len(found) == 2  # the linear layer was trained in between


def test_the_finding_about_a_wrong_declaration_names_what_was_found(tmp_path):
    with pytest.warns(UserWarning, match=r"find_representation finds C4: 4 regular after a change of basis"):
        find(Classifier(Mixed()), tmp_path, "C4: 4 regular")


def test_the_error_without_a_representation_offers_to_find_it(tmp_path):
    with pytest.raises(LatentError, match="'C4: find', to find it from the latents"):
        find(Classifier(), tmp_path, None)


def test_what_cannot_be_found_is_said_at_once():
    with pytest.raises(GroupError, match="declare the representation"):
        InvariantCallback("encoder", "S9: find")
    with pytest.raises(ValueError, match="neither a projection nor a mask"):
        InvariantCallback("encoder", "C4: find", projection=choose("C4: 4 regular"))
