"""Field types of escnn as representations, against escnn's own matrices."""

import math
from pathlib import Path

import pytest
import torch

pytest.importorskip("escnn", reason="needs escnn (make test-guests)")

import numpy as np
from escnn import group, gspaces
from escnn import nn as enn

from lightning_invariant import Representation
from lightning_invariant.errors import GroupError
from lightning_invariant.groups import Dihedral, Orthogonal
from lightning_invariant.groups.actions.coordinates import coordinate_matrices

C, D = gspaces.rot2dOnR2, gspaces.flipRot2dOnR2
SO2, O2 = C(-1, maximum_frequency=3), D(-1, maximum_frequency=3)
ROTATION = math.radians(30)


def spectral(space, *irreps):
    return space.fibergroup.spectral_regular_representation(*irreps)


def mixed_up(space, reps, seed=0):
    size = sum(rep.size for rep in reps)
    q = np.linalg.qr(np.random.RandomState(seed).randn(size, size))[0]
    return group.directsum(reps, change_of_basis=q, name=f"mixed_up{seed}_{size}")


CASES = {
    "C4: 4 regular": lambda: (C(4), 4 * [C(4).regular_repr]),
    "C8: 2 regular + 3 trivial": lambda: (C(8), 2 * [C(8).regular_repr] + 3 * [C(8).trivial_repr]),
    "C4: 2 trivial + 3 regular + 1x1 + 1x2": lambda: (
        C(4),
        2 * [C(4).trivial_repr] + 3 * [C(4).regular_repr] + [C(4).irrep(1), C(4).irrep(2)],
    ),
    "C4: 8 regular/C2": lambda: (C(4), 8 * [C(4).quotient_repr(2)]),
    "C6: 1 regular/C3 + 2 regular/C2": lambda: (C(6), [C(6).quotient_repr(3)] + 2 * [C(6).quotient_repr(2)]),
    "D4(axis=90): 3 regular": lambda: (D(4), 3 * [D(4).regular_repr]),
    "D4: 3 regular": lambda: (D(4, axis=0.0), 3 * [D(4, axis=0.0).regular_repr]),
    "D3(axis=90): 2 regular + 2x1 + 1 det": lambda: (
        D(3),
        2 * [D(3).regular_repr] + 2 * [D(3).irrep(1, 1)] + [D(3).irrep(1, 0)],
    ),
    "D4(axis=30): 2x1": lambda: (D(4, axis=ROTATION), 2 * [D(4, axis=ROTATION).irrep(1, 1)]),
    "D4(axis=90): 1 trivial + 2 det + 1x1 + 1x2 + 3x2o": lambda: (
        D(4),
        [D(4).irrep(0, 0)] + 2 * [D(4).irrep(1, 0)] + [D(4).irrep(1, 1), D(4).irrep(0, 2)] + 3 * [D(4).irrep(1, 2)],
    ),
    "D4(axis=90): 2 regular/C2 + 1 regular/D1 + 1 regular/D1(axis=135) + 1 regular/D2(axis=135)": lambda: (
        D(4),
        2 * [D(4).quotient_repr((None, 2))] + [D(4).quotient_repr(i) for i in ((0, 1), (1, 1), (1, 2))],
    ),
    "HFlip: 2 regular + 1 det": lambda: (
        gspaces.flip2dOnR2(),
        2 * [gspaces.flip2dOnR2().regular_repr] + [gspaces.flip2dOnR2().irrep(1)],
    ),
    "C1: 5 trivial": lambda: (gspaces.trivialOnR2(), 5 * [gspaces.trivialOnR2().trivial_repr]),
    "SO2: 4x0 + 2x1 + 1x3": lambda: (SO2, 4 * [SO2.irrep(0)] + 2 * [SO2.irrep(1)] + [SO2.irrep(3)]),
    "SO2: 6 (1x0 + 1x1 + 1x2)": lambda: (SO2, 6 * [SO2.fibergroup.bl_regular_representation(2)]),
    "O2(axis=90): 2x0 + 1 det + 3x2": lambda: (O2, 2 * [O2.irrep(0, 0)] + [O2.irrep(1, 0)] + 3 * [O2.irrep(1, 2)]),
    "O2(axis=90): 3 (1x0 + 1 det + 2x1)": lambda: (O2, 3 * [O2.fibergroup.bl_regular_representation(1)]),
    "D4(axis=90): 2 (1 trivial + 1 det + 2x1)": lambda: (D(4), 2 * [spectral(D(4), (0, 0), (1, 0), (1, 1))]),
    "SO2: 2 (1x0 + 1x1) + 1x0": lambda: (
        SO2,
        2 * [group.directsum([SO2.irrep(0), SO2.irrep(1)])] + [SO2.irrep(0)],
    ),
    "C4: 2 (1 regular + 2 trivial)": lambda: (
        C(4),
        2 * [group.directsum([C(4).regular_repr, C(4).trivial_repr, C(4).trivial_repr])],
    ),
}
BASES = {
    "SO2": lambda: (SO2, 2 * [mixed_up(SO2, [SO2.irrep(0), SO2.irrep(1)])]),
    "O2(axis=90)": lambda: (O2, 2 * [mixed_up(O2, [O2.irrep(1, 0), O2.irrep(1, 1), O2.irrep(1, 2)])]),
    "D4(axis=90)": lambda: (D(4), 2 * [mixed_up(D(4), [D(4).regular_repr, D(4).irrep(1, 1)])]),
}


def theirs(space, field_type, g, ours):
    """escnn's matrix of the element that does to the plane what ours does."""
    wanted = coordinate_matrices(ours, g[None])[0].numpy()
    if isinstance(ours, Orthogonal):
        flip = np.linalg.det(wanted) < 0
        start = np.asarray(space.basespace_action(space.fibergroup.element((1, 0.0)))) if flip else np.eye(2)
        turn = wanted @ start.T
        angle = math.atan2(turn[1, 0], turn[0, 0]) % (2 * math.pi)
        element = space.fibergroup.element(angle if ours.special else (int(flip), angle))
    else:
        element = min(space.fibergroup.elements, key=lambda e: np.abs(space.basespace_action(e) - wanted).max())
    assert np.abs(space.basespace_action(element) - wanted).max() < 1e-6
    return torch.tensor(np.asarray(field_type.representation(element)), dtype=torch.float64)


def difference(space, fields, representation):
    field_type = enn.FieldType(space, fields)
    assert representation.size == field_type.size
    group = representation.group
    elements = group.elements() if group.order else group.sample(20, torch.Generator().manual_seed(1))
    errors = [(representation.matrices(g[None])[0] - theirs(space, field_type, g, group)).abs().max() for g in elements]
    return float(max(errors))


@pytest.mark.parametrize("text", CASES)
def test_field_types_are_read_as_they_stand(text):
    space, fields = CASES[text]()
    representation = Representation.of(enn.FieldType(space, fields))
    assert representation == Representation.parse(text)
    assert difference(space, fields, representation) < 1e-6


@pytest.mark.parametrize("group", BASES)
def test_fields_in_any_orthogonal_basis_are_read(group):
    space, fields = BASES[group]()
    representation = Representation.of(enn.FieldType(space, fields))
    assert str(representation.group) == group
    assert Representation.parse(str(representation)) == representation
    assert difference(space, fields, representation) < 1e-6
    plain = str(representation).split(" in ")[0]
    assert difference(space, fields, Representation.parse(plain)) > 0.1


def test_the_axis_is_no_label():
    space = D(4)
    other = Representation.of(enn.FieldType(space, [space.regular_repr]))
    moved = Representation(Dihedral(4), (Representation.parse("D4: 1 regular").blocks))
    assert difference(space, [space.regular_repr], other) < 1e-6
    assert difference(space, [space.regular_repr], moved) > 0.1


@pytest.mark.parametrize("parity", [False, True])
def test_irreps_of_space_are_those_of_escnn(parity):
    space = gspaces.flipRot3dOnR3(2) if parity else gspaces.rot3dOnR3(2)
    names = [(0, 0), (1, 1), (1, 0), (0, 2)] if parity else [(0,), (1,), (2,)]
    field_type = enn.FieldType(space, [space.irrep(*name) for name in names] + 2 * [space.irrep(*names[1])])
    text = "O3: 1x0e + 1x1o + 1x0o + 1x2e + 2x1o" if parity else "SO3: 1x0 + 1x1 + 1x2 + 2x1"
    assert Representation.of(field_type) == Representation.parse(text)


def test_what_has_no_notation_is_said():
    space = gspaces.octaOnR3()
    with pytest.raises(GroupError, match="say how the symmetry acts"):
        Representation.of(enn.FieldType(space, [space.regular_repr]))
    skew = group.directsum([SO2.irrep(0), SO2.irrep(1)], change_of_basis=np.diag([1.0, 2.0, 3.0]), name="skew")
    with pytest.raises(GroupError, match="orthogonal change of basis"):
        Representation.of(enn.FieldType(SO2, [skew]))


def test_layers_and_tensors_say_their_type():
    space = C(4)
    field_type = enn.FieldType(space, 3 * [space.regular_repr])
    layer = enn.SequentialModule(enn.ReLU(field_type), enn.GroupPooling(field_type))
    assert str(Representation.of(layer)) == "C4: 3 trivial"
    assert str(Representation.of(torch.nn.Sequential(torch.nn.Identity(), layer[0]))) == "C4: 3 regular"
    tensor = enn.GeometricTensor(torch.zeros(2, 12, 1, 1), field_type)
    assert str(Representation.of(tensor)) == "C4: 3 regular"
    with pytest.raises(GroupError, match="but got Linear; write it down"):
        Representation.of(torch.nn.Linear(2, 2))


def test_the_documentation_reads_field_types():
    text = (Path(__file__).parents[2] / "docs" / "inputs.md").read_text(encoding="utf-8")
    for notation, space, reps in [
        ("D4(axis=90): 8 regular", D(4), 8 * [D(4).regular_repr]),
        ("C4: 8 regular/C2", C(4), 8 * [C(4).quotient_repr(2)]),
        ("D4(axis=90): 1 regular/D1(axis=135)", D(4), [D(4).quotient_repr((1, 1))]),
        (
            "D4(axis=90): 1 det + 1x1 + 1x2 + 1x2o",
            D(4),
            [D(4).irrep(*name) for name in ((1, 0), (1, 1), (0, 2), (1, 2))],
        ),
        ("SO2: 6 (1x0 + 1x1 + 1x2)", SO2, 6 * [SO2.fibergroup.bl_regular_representation(2)]),
    ]:
        assert f'`"{notation}"`' in text
        assert str(Representation.of(enn.FieldType(space, reps))) == notation
