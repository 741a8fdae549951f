"""Latents without translations, projected and measured."""

import pytest
import torch

from lightning_invariant import choose, quotient
from lightning_invariant.errors import GroupError
from lightning_invariant.groups import Representation
from lightning_invariant.projections import Centred, GramRoot, GramRows, Projection
from lightning_invariant.quotient import section
from lightning_invariant.testing import assert_guarantee

TEXTS = (
    "E3: 4 positions",
    "SE3: 2 positions + 2 vectors + 1 positions",
    "E2: 1 positions + 3x1",
    "SE2: 3 positions",
    "S3 x SE2: 1 points*positions",
)


@pytest.mark.parametrize("text", TEXTS)
class TestChosen:
    def test_what_is_promised_holds(self, text):
        assert_guarantee(choose(text))

    def test_distances_are_those_of_vectors_without_their_mean(self, text):
        projection, representation = choose(text).double(), Representation.parse(text)
        generator = torch.Generator().manual_seed(0)
        z, w = (representation.random(4, generator).double() for _ in range(2))
        inner = projection.projection.representation
        expected = quotient.distance(projection._read(z), projection._read(w), inner)
        assert torch.allclose(quotient.distance(z, w, representation), expected)
        moved = quotient.align(w, z, representation)
        assert torch.allclose((moved.latents - z).norm(dim=1), expected)
        assert torch.allclose(representation.transform(w, moved.element), moved.latents)

    def test_it_comes_back_from_its_description(self, text):
        projection, z = choose(text), Representation.parse(text).random(4)
        assert torch.equal(Projection.from_config(projection.config())(z), projection(z))


def test_hidden_points_do_not_matter():
    representation = Representation.parse("S5 x E3: 1 points*positions")
    projection = Centred(representation, GramRows("S5 x O3: 1 points*vectors", ragged=True)).double()
    generator = torch.Generator().manual_seed(0)
    z, mask = torch.randn(3, 5, 3, dtype=torch.float64, generator=generator), torch.arange(5) < 4
    mask = mask.expand(3, -1)
    g = representation.group.sample(3, generator)
    seen = mask.gather(1, representation.group.split(g)[0].argsort(dim=1))
    moved = torch.where(seen[..., None], representation.transform(z, g), 99.0)
    assert torch.allclose(projection(moved, seen), projection(z, mask))
    assert not torch.allclose(projection(moved, seen), projection(z + torch.randn_like(z), mask))
    assert quotient.distance(z, moved, representation, (mask, seen)).max() < 1e-12
    aligned = quotient.align(moved, z, representation, (seen, mask))
    assert torch.allclose(aligned.latents, torch.where(mask[..., None], z, 0.0))


def test_a_section_gives_positions_with_these_features():
    projection = Centred("E3: 2 positions + 1 vectors + 2 positions", GramRoot("O3: 3 vectors + 1 vectors")).double()
    z = projection.representation.random(4, torch.Generator().manual_seed(0)).double()
    f = projection(z)
    assert torch.allclose(projection(section(projection, f)), f)


def test_one_position_has_no_invariants():
    with pytest.raises(GroupError, match="more than one position"):
        choose("E3: 1 positions")
    assert choose("E3: 1 positions + 2 trivial").guarantee.distortion == 1
    with pytest.raises(GroupError, match="group with translations"):
        Centred("O3: 2 vectors", GramRoot("O3: 2 vectors"))
