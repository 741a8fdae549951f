"""Ordinary networks."""

import pytest

from lightning_invariant.zoo.ordinary import SmallViT


def test_heads_divide_the_size():
    with pytest.raises(ValueError, match="divide"):
        SmallViT(10, heads=4)
