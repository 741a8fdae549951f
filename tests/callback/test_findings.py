"""Findings on real small networks: each trips on what it is made for, and stays silent on a sound one."""

import warnings

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader

from lightning_invariant import InvariantCallback
from lightning_invariant.projections import ChannelMax, OrbitMean
from lightning_invariant.zoo.quarter_turns import QuarterTurnConv, QuarterTurnEncoder, QuarterTurnLifting
from tests.callback.loops import Classifier, data, loaders, trainer


def said(folder, build, representation="C4: 4 regular", **settings):
    """What the callback warns of while a network with this encoder is trained for an epoch."""
    watched = InvariantCallback("encoder", representation, max_overhead=None, embeddings=False, **settings)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pl.seed_everything(0, verbose=False)
        network = Classifier(build())
        trainer([watched], folder, max_epochs=1).fit(network, loaders()[0], DataLoader(data(256, seed=1), 64))
    return [text for one in caught if "lightning-invariant" in (text := str(one.message))]


def only(found):
    assert len(found) == 1, found
    return found[0]


class Turned(nn.Module):
    """An equivariant encoder whose latent is laid out in another way."""

    def __init__(self, change):
        super().__init__()
        self.inner, self.change = QuarterTurnEncoder(1, 4), change

    def forward(self, x):
        return self.change(self.inner(x)).flatten(1)


class Strided(nn.Module):
    """Equivariant up to a stride of 2 over an even number of pixels."""

    def __init__(self, stride):
        super().__init__()
        self.lift, self.step = QuarterTurnLifting(1, 4), nn.AvgPool2d(3, stride=stride, padding=1)
        self.conv = QuarterTurnConv(4, 4)

    def forward(self, x):
        maps = self.lift(x).relu()
        return self.conv(self.step(maps.flatten(1, 2)).unflatten(1, (4, 4))).mean(dim=(-2, -1))


class Plain(nn.Sequential):
    """No equivariance at all."""

    def __init__(self):
        super().__init__(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 36, 16))


class Constant(nn.Module):
    """Latents that hardly depend on the input."""

    def __init__(self):
        super().__init__()
        self.inner, self.point = QuarterTurnEncoder(1, 4), nn.Parameter(torch.ones(4, 4))

    def forward(self, x):
        return self.point + 1e-4 * self.inner(x)


def sound():
    return QuarterTurnEncoder(1, 4)


def test_a_sound_network_is_silent(tmp_path):
    assert said(tmp_path, sound) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda z: z.mT, "axes swapped from (4, 4) to (4, 4)"),
        (lambda z: z.flip(2), "turning the other way"),
        (lambda z: z.mean(2, keepdim=True) * torch.tensor([1.0, -2.0, 0.5, 3.0]), "'C4: 16 trivial' fits better"),
    ],
    ids=["transposed", "reversed", "invariant already"],
)
def test_a_representation_that_fits_better_is_named(tmp_path, change, words):
    found = said(tmp_path, lambda: Turned(change))
    text = next(text for text in found if "do not move as 'C4: 4 regular' says" in text)
    assert words in text


def test_the_subgroup_that_holds_is_named(tmp_path):
    # Two fields of C4, entry by entry in turn, move as a field of C8 does under its quarter turns.
    def weave(z):
        return torch.stack([z[:, ::2], z[:, 1::2]], dim=3)

    text = next(text for text in said(tmp_path, lambda: Turned(weave), "C8: 2 regular") if "do not move as" in text)
    assert "declared C8, holds for C4" in text
    assert "45°" in text


def test_a_stride_over_even_sizes_is_named(tmp_path):
    text = next(text for text in said(tmp_path, lambda: Strided(2)) if "roughly" in text)
    assert "encoder.step" in text
    assert "odd" in text
    assert said(tmp_path, lambda: Strided(1)) == []


def test_a_plain_network_is_said_to_break_the_symmetry_and_its_pose_to_show(tmp_path):
    found = said(tmp_path, Plain)
    assert any("breaks the symmetry" in text for text in found)
    assert any("tell by which element an input was moved" in text for text in found)


def test_pooling_channel_by_channel_is_said_to_merge_orbits(tmp_path):
    text = only(said(tmp_path, sound, projection=ChannelMax("C4: 4 regular")))
    assert "ChannelMax treats channels one by one" in text
    assert "MaxFilter" in text
    assert "OrbitMean" in only(said(tmp_path, sound, projection=OrbitMean("C4: 4 regular")))


def test_collapse_is_said(tmp_path):
    assert "collapsed" in only(said(tmp_path, Constant))
