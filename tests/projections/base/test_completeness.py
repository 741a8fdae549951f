"""Distortions that are measured where no bound is known."""

import pytest
import torch

from lightning_invariant import choose
from lightning_invariant.projections import MaxFilter, Sort
from lightning_invariant.projections.base.completeness import jacobian, uneven_directions


def test_steps_in_random_directions_bound_the_distortion_from_below():
    assert uneven_directions(Sort("S9: 9 points")) == pytest.approx(1)
    projection = MaxFilter("C8: 2 regular")
    z = projection.representation.random(1, torch.Generator().manual_seed(0)).double()[0]
    values = torch.linalg.svdvals(jacobian(projection.project, z))
    assert 1.01 < uneven_directions(projection) <= values.max() / values.min() + 1e-3


def test_large_choices_state_what_was_measured():
    assert "measured along random directions" in choose("S6: 2 pairs").reason
    assert "measured at random latents" in choose("C8: 2 regular").reason
