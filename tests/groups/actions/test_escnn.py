"""escnn's networks under its own conventions: the axis of reflection is the same number there and here."""

import subprocess
import sys

import pytest

pytest.importorskip("escnn")

NETWORK = """
import math, torch
from escnn import gspaces, nn
from lightning_invariant.groups import Representation
from lightning_invariant.groups.actions import member_action
from lightning_invariant.groups.planar import planar_matrices

torch.manual_seed(0)
space = {space}
inward = nn.FieldType(space, [space.trivial_repr])
layer = nn.R2Conv(inward, nn.FieldType(space, {fields}), 7, padding=0).eval()
x = torch.randn(64, 1, 7, 7)
place = torch.arange(7.0) - 3
x = x * (place[:, None] ** 2 + place**2 < 9.5)
for text in {texts}:
    representation = Representation.parse(text)
    action = member_action(representation.group, {{"x": x}})
    if representation.group.order:
        g = representation.group.sample(64)
    else:
        g = planar_matrices(torch.randint(4, (64,)).double() * math.pi / 2, torch.randint(2, (64,)))
    assert action.is_exact(g).all()
    inputs = (x, action.transform({{"x": x}}, g)["x"])
    with torch.no_grad():
        z, moved = (layer(nn.GeometricTensor(t, inward)).tensor.flatten(1) for t in inputs)
    print((moved - representation.transform(z, g)).norm().item() / z.norm().item())
"""
REGULAR = "4 * [space.regular_repr]"
CASES = [
    ("gspaces.flipRot2dOnR2(4)", REGULAR, "D4(axis=90): 4 regular", "D4: 4 regular"),
    ("gspaces.flipRot2dOnR2(4)", "4 * [space.irrep(1, 1)]", "D4(axis=90): 4x1", "D4: 4x1"),
    ("gspaces.flipRot2dOnR2(4, axis=0.0)", REGULAR, "D4: 4 regular", "D4(axis=90): 4 regular"),
    ("gspaces.flipRot2dOnR2(4, axis=math.pi / 4)", REGULAR, "D4(axis=45): 4 regular", "D4(axis=90): 4 regular"),
    ("gspaces.flip2dOnR2()", REGULAR, "HFlip: 4 regular", "VFlip: 4 regular"),
    (
        "gspaces.flipRot2dOnR2(-1, maximum_frequency=3)",
        "4 * [space.irrep(1, 1)] + 4 * [space.irrep(1, 2)]",
        "O2(axis=90): 4x1 + 4x2",
        "O2: 4x1 + 4x2",
    ),
]


@pytest.mark.parametrize(("space", "fields", "right", "wrong"), CASES, ids=[case[2] for case in CASES])
def test_the_axis_is_that_of_escnn(space, fields, right, wrong):
    # escnn keeps kernels of one axis for all in a process, so each case has its own.
    code = NETWORK.format(space=space, fields=fields, texts=[right, wrong])
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    good, bad = (float(line) for line in done.stdout.split()[-2:])
    assert good < 1e-5
    assert bad > 0.1


VOLUMES = """
import torch
from escnn import gspaces, nn
from lightning_invariant.groups import Representation
from lightning_invariant.groups.actions import VolumeAction, member_action

torch.manual_seed(0)
space = {space}
inward = nn.FieldType(space, [space.trivial_repr])
layer = nn.R3Conv(inward, nn.FieldType(space, {fields}), 5, padding=0).eval()
x, place = torch.randn(24, 1, 5, 5, 5), torch.arange(5.0) - 2
x = x * (place[:, None, None] ** 2 + place[:, None] ** 2 + place**2 < 5)
group = Representation.parse("{text}").group
g = Representation.parse("Cube: 1 regular").group.matrices()
for action in (member_action(group, {{"x": x}}), VolumeAction(group, coordinates=("W", "-H", "D"))):
    moved = action.transform({{"x": x}}, g)["x"] if not isinstance(action, VolumeAction) else action.transform(x, g)
    with torch.no_grad():
        z, after = (layer(nn.GeometricTensor(t, inward)).tensor.flatten(1) for t in (x, moved))
    print((after - Representation.parse("{text}").transform(z, g)).norm().item() / z.norm().item())
"""


@pytest.mark.parametrize(
    ("space", "fields", "text"),
    [
        ("gspaces.rot3dOnR3(maximum_frequency=2)", "3 * [space.irrep(1)] + 2 * [space.irrep(2)]", "SO3: 3x1 + 2x2"),
        (
            "gspaces.flipRot3dOnR3(maximum_frequency=2)",
            "3 * [space.irrep(1, 1)] + 2 * [space.irrep(0, 2)]",
            "O3: 3x1o + 2x2e",
        ),
    ],
    ids=["SO3", "O3"],
)
def test_volumes_have_the_coordinates_of_escnn(space, fields, text):
    code = VOLUMES.format(space=space, fields=fields, text=text)
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    good, bad = (float(line) for line in done.stdout.split()[-2:])
    assert good < 1e-5
    assert bad > 0.1
