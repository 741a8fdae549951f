"""Assertions for your own tests: is a module invariant, and does a projection keep its promises?

    from lightning_invariant.testing import assert_guarantee, assert_invariant

    def test_my_head():
        assert_invariant(MyHead(), "C8: 16 regular")

Both measure on random latents; they refute false claims and prove nothing.
"""

from lightning_invariant.testing.guarantees import assert_guarantee
from lightning_invariant.testing.invariance import assert_invariant

__all__ = ["assert_guarantee", "assert_invariant"]
