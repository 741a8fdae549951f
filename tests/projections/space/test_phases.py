import itertools
import math

import pytest
import torch

from lightning_invariant import Representation
from lightning_invariant.errors import GroupError
from lightning_invariant.guarantee import Separation
from lightning_invariant.projections import PhaseInvariants
from lightning_invariant.projections.base.completeness import jacobian_rank


def generator():
    return torch.Generator().manual_seed(0)


def latents(text, count=20):
    representation = Representation.parse(text)
    return representation, representation.random(count, generator()).double()


@pytest.mark.parametrize(
    "text",
    [
        "SO2: 3x1",
        "SO2: 1x2 + 1x3",
        "SO2: 2x0 + 3x1 + 2x2 + 1x5",
        "O2: 3x1",
        "O2: 1x1 + 2x2 + 2 det",
        "O2: 2 vectors + 1x2",
    ],
)
def test_only_the_angle_is_lost(text):
    representation, z = latents(text)
    projection = PhaseInvariants(text)
    moved = representation.transform(z, representation.group.sample(len(z), generator()))
    assert torch.allclose(projection(z), projection(moved), atol=1e-12)
    assert jacobian_rank(projection.project, z[0]) == representation.size - 1
    assert projection.guarantee.separation is Separation.GENERIC


@pytest.mark.parametrize("text", ["SO2: 3x1", "SO2: 2x1 + 2x2", "O2: 3x1", "O2: 2x1 + 2x2"])
def test_fields_turned_by_angles_of_their_own_are_separated(text):
    _, z = latents(text)
    projection, angle = PhaseInvariants(text), torch.tensor(1.0)
    turn = torch.tensor([[angle.cos(), -angle.sin()], [angle.sin(), angle.cos()]], dtype=torch.float64)
    scrambled = torch.cat([z[:, :2] @ turn.mT, z[:, 2:]], dim=1)
    assert ((projection(z) - projection(scrambled)).norm(dim=1) > 1e-3).all()


@pytest.mark.parametrize("fields", ["3x1", "2x1 + 1x2", "1x1 + 1x2 + 1x3"])
def test_mirror_images_are_merged_by_reflections_only(fields):
    _, z = latents(f"SO2: {fields}")
    mirrored = z * torch.tensor([1.0, -1.0]).double().repeat(z.shape[1] // 2)
    one = torch.cat([z[:, :2], mirrored[:, 2:]], dim=1)
    both, rotations = PhaseInvariants(f"O2: {fields}"), PhaseInvariants(f"SO2: {fields}")
    assert torch.allclose(both(z), both(mirrored), atol=1e-12)
    assert ((rotations(z) - rotations(mirrored)).norm(dim=1) > 1e-3).all()
    # Real parts alone would merge a latent with one that has a single field reflected.
    assert ((both(z) - both(one)).norm(dim=1) > 1e-3).all()


def test_numbers_that_change_their_sign_keep_their_sense_of_rotation():
    representation, z = latents("O2: 2x1 + 1 det")
    projection = PhaseInvariants(representation)
    flipped = z * torch.tensor([1.0, 1, 1, 1, -1]).double()
    assert ((projection(z) - projection(flipped)).norm(dim=1) > 1e-3).all()


def test_pairs_of_frequencies_generate_all_relations():
    """With frequencies 6, 10 and 15 no one frequency divides the others, so relations to one of them do not suffice."""
    n, frequencies = 30, (6, 10, 15)
    projection = PhaseInvariants("SO2: 1x6 + 1x10 + 1x15")
    z = torch.randn(1, 3, 2, generator=generator(), dtype=torch.float64)
    turns = torch.tensor(list(itertools.product(range(n), repeat=3)), dtype=torch.float64) * 2 * math.pi / n
    c, s = turns.cos(), turns.sin()
    moved = torch.stack([c * z[..., 0] - s * z[..., 1], s * z[..., 0] + c * z[..., 1]], dim=-1)
    merged = (projection(moved.flatten(1)) - projection(z.flatten(1))).norm(dim=1) < 1e-9
    fine = range(n * n)
    orbit = {tuple(k * t // n % n for k in frequencies) for t in fine if all(k * t % n == 0 for k in frequencies)}
    assert int(merged.sum()) == len(orbit)


def test_powers_and_products_scale_like_the_latent():
    _, z = latents("SO2: 2x1 + 1x7")
    projection = PhaseInvariants("SO2: 2x1 + 1x7")
    assert torch.allclose(projection(1000 * z), 1000 * projection(z))


def test_a_field_near_zero_changes_features_little():
    _, z = latents("SO2: 1x1 + 2x3")
    projection, small = PhaseInvariants("SO2: 1x1 + 2x3"), 1e-6 * torch.randn(20, 2, generator=generator())
    zero = torch.cat([torch.zeros(20, 2).double(), z[:, 2:]], dim=1)
    near = torch.cat([small.double(), z[:, 2:]], dim=1)
    assert ((projection(near) - projection(zero)).norm(dim=1) < 1e-4).all()


def test_other_groups_are_refused():
    for text in ("SO3: 4x1", "O2: 3x0", "C4: 2x1"):
        with pytest.raises(GroupError, match="irreps of SO2 or O2"):
            PhaseInvariants(text)
