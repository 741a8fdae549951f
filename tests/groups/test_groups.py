"""Every group against the axioms, and its string against itself."""

import math

import pytest
import torch

from lightning_invariant.errors import GroupError, ParseError
from lightning_invariant.groups import (
    Cyclic,
    Dihedral,
    Matrices,
    Product,
    Sampled,
    Symmetric,
    parse_group,
)

FINITE = ["C1", "C8", "D1", "D4", "D5", "S1", "S4", "Z2", "Z2^3", "T6", "C4 x Z2", "S3 x C2 x Z2"]
FINITE += ["D4(axis=90)", "D3(axis=22.5)", "Cube", "FullCube"]
FINITE += ["Matrices[[[0,-1],[1,0]],[[1,0],[0,-1]]]"]
INFINITE = ["SO2", "O2", "O2(axis=90)", "SO3", "O3", "SO5", "U1", "U3", "SU2", "S3 x O3", "E2", "SE3", "S3 x E3"]
ORDERS = {"D4": 8, "S4": 24, "Z2^3": 8, "C4 x Z2": 8, "S3 x C2 x Z2": 24, "Cube": 24, "FullCube": 48, FINITE[-1]: 8}


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return torch.allclose(a.double(), b.double(), atol=1e-12)


@pytest.mark.parametrize("text", FINITE + INFINITE)
def test_axioms(text):
    group, generator = parse_group(text), torch.Generator().manual_seed(0)
    g, h, k = (group.sample(20, generator) for _ in range(3))
    assert g.shape == (20, *group.element_shape)
    assert g.dtype == group.element_dtype == group.identity().dtype
    e = group.identity()
    assert close(group.compose(group.compose(g, h), k), group.compose(g, group.compose(h, k)))
    assert close(group.compose(g, e.expand_as(g)), g)
    assert close(group.compose(group.inverse(g), g), e.expand_as(g))
    assert isinstance(group.label(g[0]), str)


@pytest.mark.parametrize("text", FINITE + INFINITE + ["Sampled(crop)"])
def test_the_string_parses_back(text):
    assert str(parse_group(text)) == text
    assert parse_group(str(parse_group(text))) == parse_group(text)


@pytest.mark.parametrize("text", FINITE)
def test_finite_groups_are_listed_once_identity_first(text):
    group = parse_group(text)
    every = group.elements()
    assert len(every) == group.order == ORDERS.get(text, group.order)
    assert len(every.unique(dim=0)) == group.order
    assert close(every[0], group.identity())


@pytest.mark.parametrize("text", [t for t in FINITE if "x" not in t and not t.startswith(("S", "Z"))])
def test_tables_are_latin_squares(text):
    table = parse_group(text).table()
    numbers = torch.arange(len(table)).expand_as(table)
    assert torch.equal(table.sort(dim=0).values.T, numbers)
    assert torch.equal(table.sort(dim=1).values, numbers)


def test_samples_are_uniform():
    generator = torch.Generator().manual_seed(0)
    counts = torch.bincount(Cyclic(8).sample(8000, generator), minlength=8)
    assert (counts - 1000).abs().max() < 150  # five standard deviations
    first = Symmetric(5).sample(5000, generator)[:, 0]
    assert (torch.bincount(first, minlength=5) - 1000).abs().max() < 150
    rotations = parse_group("SO3").sample(4000, generator)
    assert torch.allclose(torch.linalg.det(rotations), torch.ones(4000, dtype=torch.float64))
    # the trace of a Haar rotation has mean 0 and variance 1
    traces = rotations.diagonal(dim1=1, dim2=2).sum(dim=1)
    assert traces.mean().abs() < 5 / math.sqrt(4000)
    assert (traces.var() - 1).abs() < 0.15
    flips = torch.linalg.det(parse_group("O3").sample(4000, generator)).sign().mean()
    assert flips.abs() < 5 / math.sqrt(4000)


def test_samples_follow_the_generator_and_leave_the_global_state():
    before = torch.random.get_rng_state()
    for text in FINITE + INFINITE:
        one, two = (parse_group(text).sample(4, torch.Generator().manual_seed(7)) for _ in range(2))
        assert torch.equal(one, two)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_large_symmetric_groups_need_no_list():
    group = Symmetric(1000)
    g = group.sample(3, torch.Generator().manual_seed(0))
    assert close(group.compose(group.inverse(g), g), group.identity().expand_as(g))
    with pytest.raises(GroupError, match="at most 100000"):
        group.elements()
    assert len(group.probe_elements(5)) == 5


@pytest.mark.parametrize(
    ("generators", "message"),
    [
        ([], "at least one"),
        ([[[1, 0]]], "square"),
        ([[[1, 0], [0, 1]], [[1]]], "square"),
        ([[[2, 0], [0, 1]]], "orthogonal"),
        ([[[math.nan, 0], [0, 1]]], "orthogonal"),
        ([[[math.cos(1), -math.sin(1)], [math.sin(1), math.cos(1)]]], "at most 4096"),
    ],
)
def test_matrices_that_are_no_finite_group_are_refused(generators, message):
    with pytest.raises(GroupError, match=message):
        Matrices(generators)


def test_the_octahedral_group_is_found_from_its_generators():
    quarter, third = [[0, -1, 0], [1, 0, 0], [0, 0, 1]], [[0, 0, 1], [1, 0, 0], [0, 1, 0]]
    group = Matrices([quarter, third, [[-1, 0, 0], [0, -1, 0], [0, 0, -1]]])
    assert group.order == 48
    products = group.matrices()[5] @ group.matrices()[7]
    assert close(group.matrices()[group.compose(torch.tensor(5), torch.tensor(7))], products)


def test_what_a_matrix_group_gives_away_can_be_changed_in_place():
    group = parse_group(FINITE[-1])
    group.matrices().zero_()
    group.table().zero_()
    assert group.matrices().norm() > 1
    assert group.table().sum() > 1


def test_dihedral_elements_are_a_reflection_then_a_rotation():
    group = Dihedral(4)
    rotation, reflection = torch.tensor(1), torch.tensor(4)
    assert int(group.compose(rotation, reflection)) == 5
    assert int(group.compose(reflection, rotation)) == 7  # m r = r^-1 m


def test_flips_have_names_and_axes_are_angles_of_lines():
    assert parse_group("HFlip") == Dihedral(1, axis=90) == parse_group("D1(axis=270)")
    assert parse_group("VFlip") == Dihedral(1)
    assert str(parse_group("D4( axis = 90 )".replace(" ", ""))) == "D4(axis=90)"
    assert parse_group("D4(axis=0)") == Dihedral(4) != Dihedral(4, axis=90)
    flip = torch.tensor([[-1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    assert parse_group("O2(axis=90)").label(flip) == "0°m"
    assert parse_group("O2").label(flip) == "-180°m"
    for axis in (math.inf, "90", True):
        with pytest.raises(ValueError, match="angle of an axis in degrees"):
            Dihedral(4, axis=axis)


def test_sampled_transforms_have_no_product():
    group = Sampled("crop")
    with pytest.raises(GroupError, match="samples only"):
        group.compose(group.sample(2), group.sample(2))
    with pytest.raises(GroupError, match="samples only"):
        group.inverse(group.sample(2))
    with pytest.raises(GroupError, match="infinitely many"):
        group.elements()
    with pytest.raises(ValueError, match="letters"):
        Sampled("a b")


@pytest.mark.parametrize("kind", [Cyclic, Dihedral, Symmetric])
def test_empty_groups_are_refused(kind):
    with pytest.raises(ValueError, match="at least 1"):
        kind(0)


def test_a_product_needs_two_factors():
    with pytest.raises(ValueError, match="two factors"):
        Product((Cyclic(2),))


@pytest.mark.parametrize(
    ("text", "position"),
    [
        *[("K8", 0), ("C0", 0), ("C4 y C3", 2), ("C4 x", 4), ("", 0), ("C4 x K", 5), ("Matrices[[1", 0)],
        *[("Matrices7", 0), ("C4(axis=90)", 0), ("SO2(axis=90)", 0), ("O3(axis=90)", 0), ("D4(axis=x)", 2)],
        *[("Cubes", 0), ("HFlip2", 0)],
    ],
)
def test_typos_are_pointed_at(text, position):
    with pytest.raises(ParseError) as caught:
        parse_group(text)
    assert caught.value.position == position
    assert str(caught.value).splitlines()[-1].index("^") == position + 4
