"""Latents of padded sets and graphs that carry their mask as one more number of each point."""

import pytest
import torch

from lightning_invariant.callback.support.masked import default_masked, masked, pack, unpack, with_mask
from lightning_invariant.groups import Representation
from lightning_invariant.projections import PairSort, PointSort

CASES = [
    "S5: 5 points x 3",
    "S5: 5 points x 2 + 2 trivial",
    "S5: 2 pairs",
    "S5: 5 points x 2 + 1 pairs",
    "S5 x O3: 1 points*1o",
]


@pytest.mark.parametrize("text", CASES)
def test_masks_travel_with_the_latents_and_transform_with_them(text):
    representation, generator = Representation.parse(text), torch.Generator().manual_seed(0)
    z, mask = representation.random(4, generator), torch.rand(4, 5, generator=generator).argsort(dim=1) < 3
    packed, whole = pack(z, mask, representation), with_mask(representation)
    assert packed.shape == (4, whole.size)
    flat, seen = unpack(packed, representation)
    assert torch.equal(seen, mask)
    assert not torch.equal(flat, z)
    assert torch.equal(pack(flat, mask, representation), packed)
    inner = default_masked(representation)
    projection = masked(inner)
    assert torch.equal(projection(packed), inner(z, mask))
    g = whole.group.sample(4, generator)
    assert torch.allclose(projection(whole.transform(packed, g)), projection(packed), atol=1e-4)
    assert not torch.allclose(projection(pack(z, mask | True, representation)), projection(packed), atol=1e-2)


def test_pairs_get_a_map_of_pairs():
    assert isinstance(default_masked(Representation.parse("S5: 5 points x 2 + 1 pairs")), PairSort)
    assert isinstance(default_masked(Representation.parse("S5: 5 points x 2 + 1 trivial")), PointSort)
    with pytest.raises(ValueError, match="pairs such as"):
        default_masked(Representation.parse("C4: 2 regular"))
