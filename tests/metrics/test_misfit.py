"""Which representation fits better: every way to get it wrong is found, and a right one has no rival."""

import pytest
import torch

from lightning_invariant.groups import Dihedral, Representation
from lightning_invariant.groups.actions.coordinates import coordinate_matrices
from lightning_invariant.metrics import better_fits, fits_tried


def evidence(true, view=lambda z: z, turn=lambda group, g: g, noise=0.0):
    representation, generator = Representation.parse(true), torch.Generator().manual_seed(0)
    z, g = representation.random(200, generator), representation.group.sample(200, generator)
    moved = representation.transform(z, turn(representation.group, g)) + noise * representation.random(200, generator)
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
        ("D4: 8 regular", "D4: 8 regular", {"turn": other_axis}, "'D4(axis=90): 8 regular'"),
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


@pytest.mark.parametrize(
    ("declared", "true"),
    [
        ("D4: 2 regular", "D4(axis=90): 2 regular"),
        ("D4: 16 trivial", "D4(axis=90): 2 regular"),
        ("D4(axis=90): 2 regular", "D4: 2 regular"),
        ("D4: 2 regular", "D4(axis=45): 2 regular"),
        ("D6: 4x1 + 2x2", "D6(axis=90): 4x1 + 2x2"),
        ("O2: 4x1 + 2x2", "O2(axis=90): 4x1 + 2x2"),
        ("O2(axis=90): 4x1 + 2x2", "O2: 4x1 + 2x2"),
    ],
)
def test_another_axis_of_reflection_is_named_so_that_it_can_be_typed(declared, true):
    # Images are moved as declared; the network does to its latents what it does under its own axis.
    meant, own = Representation.parse(declared), Representation.parse(true)
    generator = torch.Generator().manual_seed(0)
    g, z = meant.group.sample(200, generator), own.random(200, generator)
    plane = coordinate_matrices(meant.group, g)
    if isinstance(own.group, Dihedral):
        every = coordinate_matrices(own.group, own.group.elements())
        done = (plane[:, None] - every).abs().amax(dim=(2, 3)).argmin(dim=1)
        assert torch.allclose(every[done], plane, atol=1e-6)
    else:
        done = g
    best = better_fits(own.transform(z, done), z, declared, g)[0]
    assert best.error < 1e-6
    typed = Representation.parse(best.words.strip("'"))
    assert typed == own
    assert str(own) in fits_tried(declared)[0]


@pytest.mark.parametrize("text", ["C4: 16 regular", "D4: 8 regular", "S9: 9 points x 16", "SO3: 8x0 + 4x1"])
def test_a_right_declaration_has_no_rival(text):
    moved, z, g = evidence(text, noise=0.02)
    assert better_fits(moved, z, text, g) == []


def test_noise_has_no_better_reading():
    _, z, g = evidence("C4: 16 regular")
    assert better_fits(z.roll(1, 0), z, "C4: 16 regular", g) == []


def test_rotations_of_the_plane_have_no_axis_to_try():
    kinds, changes = fits_tried("SO2: 6x1")
    assert kinds == ("SO2: 6x1", "SO2: 12 trivial", "SO2: 6 vectors")
    assert any("turning the other way" in change for change in changes)
    moved, z, g = evidence("SO2: 6x2")
    assert better_fits(moved, z, "SO2: 6x1", g) == []
