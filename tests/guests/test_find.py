"""Representations found from networks of other libraries, with fields in random channel order."""

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from lightning_invariant.evaluation import find_representation
from lightning_invariant.groups import parse_group
from lightning_invariant.groups.actions import ImageAction
from lightning_invariant.metrics import equivariance_error, invariance_error
from lightning_invariant.projections import choose

SIZE, SAMPLES = 21, 400


@pytest.fixture(scope="module")
def digits():
    images = torch.from_numpy(load_digits().images).float()[:SAMPLES, None] / 16
    return nn.functional.pad(nn.functional.interpolate(images, size=(15, 15), mode="bicubic"), (3, 3, 3, 3))


def escnn_encoder(space, types, fourier: bool):
    """A steerable network with a wide filter, its channels in random order."""
    escnn = pytest.importorskip("escnn.nn", reason="escnn is not installed")
    torch.manual_seed(0)
    given = escnn.FieldType(space, [space.trivial_repr])
    if fourier:
        activation = escnn.FourierELU(space, 8, irreps=space.fibergroup.bl_irreps(2), N=16)
        wide = escnn.R2Conv(given, activation.in_type, SIZE, rings=[0, 2, 4, 6, 8], frequencies_cutoff=lambda r: 2)
    else:
        activation = escnn.ReLU(escnn.FieldType(space, 8 * [space.regular_repr]))
        wide = escnn.R2Conv(given, activation.in_type, SIZE)
    out = escnn.FieldType(space, types(space))
    mixing = escnn.R2Conv(activation.out_type, out, 1)
    order = torch.randperm(out.size)

    def encode(x):
        hidden = activation(wide(escnn.GeometricTensor(x, given)))
        return mixing(hidden).tensor.flatten(1)[:, order]

    return encode


CASES = {
    "mixed": (
        "C4",
        lambda g: 4 * [g.regular_repr] + 3 * [g.trivial_repr] + 2 * [g.irrep(1)],
        "C4: 3 trivial + 4 regular + 2x1",
    ),
    "reflections": (
        "D4(axis=90)",
        lambda g: 3 * [g.regular_repr] + 2 * [g.trivial_repr] + 2 * [g.irrep(1, 1)],
        "D4(axis=90): 2 trivial + 3 regular + 2x1",
    ),
    "eighths": ("C8", lambda g: 3 * [g.regular_repr] + 2 * [g.trivial_repr], "C8: 2 trivial + 3 regular"),
    "frequencies": (
        "SO2",
        lambda g: 4 * [g.trivial_repr] + 3 * [g.irrep(1)] + 2 * [g.irrep(2)],
        "SO2: 4x0 + 3x1 + 2x2",
    ),
    "frequencies with reflections": (
        "O2(axis=90)",
        lambda g: 3 * [g.trivial_repr] + 2 * [g.irrep(1, 0)] + 2 * [g.irrep(1, 1)] + [g.irrep(1, 2)],
        "O2(axis=90): 3x0 + 2 det + 2x1 + 1x2",
    ),
    "quotient": (
        "C4",
        lambda g: 4 * [g.quotient_repr(2)] + 3 * [g.trivial_repr],
        "C4: 3 trivial + 4 regular/C2",
    ),
    "quotient of reflections": (
        "D4(axis=90)",
        lambda g: 2 * [g.quotient_repr((0, 2))] + 3 * [g.trivial_repr] + 2 * [g.irrep(1, 1)],
        "D4(axis=90): 3 trivial + 2 regular/D2 + 2x1",
    ),
}


def space_of(name):
    spaces = pytest.importorskip("escnn.gspaces", reason="escnn is not installed")
    return {
        "C4": lambda: spaces.rot2dOnR2(4),
        "C8": lambda: spaces.rot2dOnR2(8),
        "D4(axis=90)": lambda: spaces.flipRot2dOnR2(4),
        "SO2": lambda: spaces.rot2dOnR2(-1),
        "O2(axis=90)": lambda: spaces.flipRot2dOnR2(-1),
    }[name]()


@pytest.mark.parametrize("case", CASES)
def test_escnn_fields_in_random_channel_order_are_found(digits, case):
    name, types, standard = CASES[case]
    encode = escnn_encoder(space_of(name), types, fourier=name.startswith(("SO2", "O2")))
    found = find_representation(encode, digits, name)
    assert found.representation is not None, str(found)
    assert str(found.representation) == standard
    assert found.order is not None
    group = parse_group(name)
    g = group.sample(SAMPLES, torch.Generator().manual_seed(7))
    with torch.no_grad():
        z, w = encode(digits), encode(ImageAction(group).transform(digits, g))
    projection = choose(found.representation)
    error = invariance_error(projection(found.to_standard(w)), projection(found.to_standard(z)))
    layer = equivariance_error(found.to_standard(w), found.to_standard(z), standard, g)
    assert layer < (1e-4 if name in ("C4", "D4(axis=90)") else 0.15)
    assert error <= 3 * max(layer, 1e-6)


def test_shuffled_irreps_of_e3nn_are_found():
    o3 = pytest.importorskip("e3nn.o3", reason="e3nn is not installed")
    torch.manual_seed(0)
    harmonics, hidden = o3.Irreps("0e + 1o + 2e"), o3.Irreps("8x0e + 8x1o + 8x2e")
    irreps = o3.Irreps("3x1o + 4x0e + 2x2e + 2x1o + 2x0e + 2x1e")
    product = o3.FullyConnectedTensorProduct(hidden, hidden, irreps)
    order = torch.randperm(irreps.dim)

    def encode(points):
        radial = torch.exp(-points.norm(dim=-1, keepdim=True) * torch.linspace(0.2, 2.0, 8))
        directions = o3.spherical_harmonics(harmonics, points, normalize=True)
        parts = [(radial[..., None] * directions[..., None, where]).sum(dim=1) for where in harmonics.slices()]
        z = torch.cat([part.flatten(1) for part in parts], dim=1)
        return product(z, z)[:, order]

    points = torch.randn(SAMPLES, 6, 3)
    found = find_representation(encode, points, "O3")
    assert str(found.representation) == "O3: 6x0e + 2x1e + 5x1o + 2x2e"
    assert found.order is not None
    assert found.errors.found < 1e-5
    # The channels of one copy stand as e3nn has them.
    names = [(i, k, m) for i, (mul, ir) in enumerate(irreps) for k in range(mul) for m in range(ir.dim)]
    shuffled = [names[channel] for channel in order[found.order].tolist()]
    vectors = shuffled[6:27]
    assert all([m for _, _, m in vectors[i : i + 3]] == [0, 1, 2] for i in range(0, 21, 3))
    assert all(len({(i, k) for i, k, _ in vectors[j : j + 3]}) == 1 for j in range(0, 21, 3))
