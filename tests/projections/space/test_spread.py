"""Numbers that belong to all points, given to each of them."""

import pytest
import torch

from lightning_invariant import choose
from lightning_invariant.groups import Representation
from lightning_invariant.guarantee import Separation
from lightning_invariant.projections import GramRows, Projection, Spread
from lightning_invariant.projections.space.spread import spread
from lightning_invariant.quotient import distance
from lightning_invariant.testing import assert_invariant

TEXTS = ("S4 x O3: 1 points*vectors + 1 trivial*vectors", "S5 x O3: 5 points (4x0e + 2x1o) + 1 trivial*1o")


@pytest.mark.parametrize("text", TEXTS)
class TestGlobalVector:
    def test_choose_takes_it_and_keeps_its_promises(self, text):
        projection = choose(text)
        assert isinstance(projection, Spread)
        assert projection.guarantee.separation is Separation.LOSSY
        assert_invariant(projection, text)

    def test_orbit_distances_stay_what_they_are(self, text):
        representation = Representation.parse(text)
        z = representation.random(6, torch.Generator().manual_seed(0))
        wide = Spread(text, GramRows(spread(representation)))._read(z)
        expected = distance(z[:3], z[3:], representation)
        assert torch.allclose(distance(wide[:3], wide[3:], spread(representation)), expected, rtol=1e-5)

    def test_the_vector_turns_with_the_points(self, text):
        projection, representation = choose(text), Representation.parse(text)
        generator = torch.Generator().manual_seed(0)
        z, g = representation.random(8, generator), representation.group.sample(8, generator)
        turned = representation.transform(z, g)
        alone = torch.cat([z[:, :-3], turned[:, -3:]], dim=1)  # the vector without the points
        assert (projection(turned) - projection(z)).norm() < 1e-4 * projection(z).norm()
        assert (projection(alone) - projection(z)).norm() > 0.01 * projection(z).norm()

    def test_it_comes_back_from_its_description(self, text):
        projection, z = choose(text), Representation.parse(text).random(4)
        assert torch.equal(Projection.from_config(projection.config())(z), projection(z))


def test_other_representations_are_left_alone():
    for text in ("S4 x O3: 1 points*vectors + 2 trivial*trivial", "O3: 2 vectors", "S4 x O3: 2 trivial*vectors"):
        assert spread(Representation.parse(text)) == Representation.parse(text)
    with pytest.raises(ValueError, match=r"Expected a projection of 'S4 x O3: 1 points\*vectors \+ 1 points\*vectors'"):
        Spread(TEXTS[0], GramRows("S4 x O3: 1 points*vectors"))
