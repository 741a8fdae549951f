"""Which representation fits better: every way to get it wrong is found, and a right one has no rival."""

import pytest
import torch

from lightning_invariant.groups import Representation
from lightning_invariant.metrics import better_fits


def evidence(true, view=lambda z: z, turn=lambda group, g: g, noise=0.0):
    representation, generator = Representation.parse(true), torch.Generator().manual_seed(0)
    z, g = representation.random(200, generator), representation.group.sample(200, generator)
    moved = representation.move(z, turn(representation.group, g)) + noise * representation.random(200, generator)
    return view(moved), view(z), g


def transposed(rows, columns):
    return lambda z: z.reshape(-1, rows, columns).mT.flatten(1)


def field_by_field(z):
    fields = [z[:, :16, None], z[:, 16:48].reshape(-1, 16, 2), z[:, 48:, None]]
    return torch.cat(fields, dim=2).flatten(1)


def other_axis(group, g):
    r, f = group.parts(g)
    return (r + 2 * f) % 4 + 4 * f


@pytest.mark.parametrize(
    ("declared", "true", "changes", "words"),
    [
        ("C4: 64 trivial", "C4: 16 regular", {}, "'C4: 16 regular'"),
        ("C4: 16 regular", "C4: 64 trivial", {}, "'C4: 64 trivial'"),
        ("C4: 16 regular", "C4: 16 regular", {"view": transposed(16, 4)}, "axes swapped from (4, 16) to (16, 4)"),
        ("C4: 16 regular", "C4: 16 regular", {"turn": lambda c4, g: c4.inverse(g)}, "turning the other way"),
        (
            "C4: 16 regular",
            "C4: 16 regular",
            {"view": lambda z: z.reshape(-1, 16, 4).flip(2).flatten(1)},
            "reverse the order in each field",
        ),
        ("C4: 16 regular", "C4: 16x0 + 16x1 + 16x2", {}, "'C4: 16x0 + 16x1 + 16x2'"),
        ("C4: 16 regular", "C4: 16x0 + 16x1 + 16x2", {"view": field_by_field}, "field by field now"),
        ("C4: 16x0 + 16x1 + 16x2", "C4: 16 regular", {}, "'C4: 16 regular'"),
        ("S9: 9 points x 16", "S9: 9 points x 16", {"view": transposed(9, 16)}, "axes swapped from (16, 9) to (9, 16)"),
        ("D4: 8 regular", "D4: 8 regular", {"turn": other_axis}, "reflections about the other axis"),
        (
            "D4: 8 regular",
            "D4: 8 regular",
            {"view": lambda z: z.reshape(-1, 8, 2, 4).mT.flatten(1)},
            "rotations before all reflections",
        ),
        ("SO3: 8x0 + 4x1", "SO3: 4x1 + 8x0", {}, "'SO3: 4x1 + 8x0'"),
        ("O3: 4x1e", "O3: 4x1o", {}, "'O3: 4 vectors'"),
        ("O3: 12 vectors", "O3: 12x1e", {}, "'O3: 12x1e'"),
    ],
)
def test_what_was_meant_is_found(declared, true, changes, words):
    fits = better_fits(*evidence(true, noise=0.01, **changes)[:2], declared, evidence(true)[2])
    assert words in fits[0].words
    assert fits[0].error < 0.05


@pytest.mark.parametrize("text", ["C4: 16 regular", "D4: 8 regular", "S9: 9 points x 16", "SO3: 8x0 + 4x1"])
def test_a_right_declaration_has_no_rival(text):
    moved, z, g = evidence(text, noise=0.02)
    assert better_fits(moved, z, text, g) == []


def test_noise_has_no_better_reading():
    _, z, g = evidence("C4: 16 regular")
    assert better_fits(z.roll(1, 0), z, "C4: 16 regular", g) == []
