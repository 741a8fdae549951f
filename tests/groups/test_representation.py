"""Representations against their definition: homomorphism, layout, notation."""

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_invariant import Representation
from lightning_invariant.errors import GroupError, LatentError, ParseError
from lightning_invariant.groups import Cyclic, Dihedral
from lightning_invariant.groups import Representation as Rep
from lightning_invariant.groups.standard_form import standard_form

EVERY = [
    "C8: 16 regular",
    "S4: 2 pairs",
    "S3: 3 points x 2 + 1 pairs",
    "C1: 2 regular",
    "D4: 4 trivial + 8 regular",
    "C6: 2x0 + 1x3 + 2x2",
    "D6: 2x0 + 1 det + 2x2",
    "SO2: 4x0 + 8x1 + 4x2",
    "O2: 2x0 + 3 det + 2x3",
    "O2(axis=90): 2x0 + 3 det + 2x1 + 2x3",
    "D4(axis=90): 8 regular + 2x1",
    "D6(axis=22.5): 2x1 + 3 regular",
    "Cube: 2 regular + 3 vectors",
    "FullCube: 2 regular + 3 vectors",
    "SO3: 8x0 + 4x1 + 2x2 + 1x5",
    "O3: 8x0e + 4x1o + 2x3e",
    "O3: 12 vectors",
    "SO5: 2 vectors",
    "U2: 4 vectors + 2 trivial",
    "SU2: 3 vectors",
    "S9: 9 points x 16",
    "S1: 1 points x 2",
    "S4: 2 trivial + 4 points x 1",
    "Z2^5: signs",
    "Z2: 8 signs",
    "T16: 3 regular",
    "S4 x O3: 4 points*vectors + 2 trivial*1o",
    "C4 x Z2: 3 regular*signs",
    "Matrices[[[0,-1],[1,0]],[[1,0],[0,-1]]]: 3 vectors + 2 regular",
    "C4: 8 regular/C2",
    "C6: 2 regular/C3 + 1 regular/C6",
    "D4: 3 regular/C2 + 2 regular/D1 + 1 regular/D2(axis=45)",
    "D4(axis=90): 8 regular/D1(axis=0) + 2 regular/D2 + 1 regular/D4",
    "D3(axis=90): 1 regular/D1 + 1 regular/D1(axis=30)",
    "D4: 4x2 + 3x2o + 2x1 + 1 det",
    "D2: 2x1 + 2x1o",
    "SO2: 6 (1x0 + 1x1 + 1x2)",
    "O2(axis=90): 4 (1x0 + 1 det + 2x1) + 2x3",
    "O3: 2 (2x0e + 1x1o + 1 (1x0o + 1x2e))",
    "C4: 3 (2 trivial + 1 regular/C2)",
    "S4: 2 (4 points x 2 + 1 trivial)",
    "SO2: 2 (1x0 + 1x1) in [[0,1,0],[0,0,1],[1,0,0]]",
]


@pytest.mark.parametrize("text", EVERY)
def test_homomorphism_and_notation(text):
    rep, generator = Representation.parse(text), torch.Generator().manual_seed(0)
    group = rep.group
    assert str(rep) == text
    assert Representation.parse(str(rep)) == rep
    g, h = group.sample(6, generator), group.sample(6, generator)
    rho, eye = rep.matrices(g), torch.eye(rep.size, dtype=torch.float64)
    assert torch.allclose(rep.matrices(group.compose(g, h)), rho @ rep.matrices(h), atol=1e-11)
    assert torch.allclose(rho @ rho.mT, eye.expand_as(rho), atol=1e-11)
    assert torch.allclose(rep.matrices(group.identity()[None])[0], eye, atol=1e-12)
    z = rep.random(6, generator).double()
    assert torch.allclose(rep.transform(z, g), torch.einsum("nij,nj->ni", rho, z), atol=1e-11)


def test_a_broken_action_would_be_seen():
    rep = Representation.parse("D4: 2 regular")
    g, h = rep.group.sample(9, torch.Generator().manual_seed(0)), rep.group.sample(9, torch.Generator().manual_seed(1))
    wrong_order = rep.matrices(h) @ rep.matrices(g)
    assert not torch.allclose(rep.matrices(rep.group.compose(g, h)), wrong_order)


def test_the_axis_changes_what_reflections_are_and_nothing_else():
    flip_w = torch.tensor([[[-1.0, 0.0], [0.0, 1.0]]], dtype=torch.float64)
    standard = torch.tensor([[[1.0, 0.0], [0.0, -1.0]]], dtype=torch.float64)
    for k in (1, 2, 3):
        assert torch.allclose(Representation.parse(f"O2(axis=90): 1x{k}").matrices(flip_w), standard, atol=1e-15)
        assert torch.allclose(Representation.parse(f"O2: 1x{k}").matrices(standard), standard, atol=1e-15)
        about = torch.tensor([[0.5, math.sqrt(0.75)], [math.sqrt(0.75), -0.5]], dtype=torch.float64)
        assert torch.allclose(Representation.parse(f"O2(axis=30): 1x{k}").matrices(about[None]), standard, atol=1e-12)
    assert not torch.allclose(Representation.parse("O2: 1x1").matrices(flip_w), standard)
    rotation = Representation.parse("SO2: 1x1").group.sample(3, torch.Generator().manual_seed(0))
    for k in (1, 2):
        rotated = [Representation.parse(f"{group}: 1x{k}").matrices(rotation) for group in ("O2", "O2(axis=90)")]
        assert torch.allclose(*rotated, atol=1e-15)
    vectors = Representation.parse("O2(axis=90): 1 vectors").matrices(flip_w)
    assert torch.equal(vectors, flip_w)  # vectors are moved as the plane is
    every = Dihedral(4).elements()
    for kind in ("2 regular", "2x1"):
        same = [Representation.parse(f"{group}: {kind}").matrices(every) for group in ("D4", "D4(axis=90)")]
        assert torch.equal(*same)


def test_regular_fields_of_c_n_are_rolled():
    z = torch.randn(3, 16, 8)
    moved = Representation.parse("C8: 16 regular").transform(z, torch.tensor(3))
    assert torch.equal(moved, z.roll(3, dims=-1))


def test_counts_may_be_left_out():
    for short, full in [
        ("O3: 0e + 1o", "O3: 1x0e + 1x1o"),
        ("SO3: 8x0 + 1", "SO3: 8x0 + 1x1"),
        ("SO2: 6 (0 + 1 + 2)", "SO2: 6 (1x0 + 1x1 + 1x2)"),
        ("C4: regular/C2", "C4: 1 regular/C2"),
        ("SO2: (0 + 1)", "SO2: 1 (1x0 + 1x1)"),
    ]:
        assert Representation.parse(short) == Representation.parse(full)


def test_quotient_fields_are_functions_on_cosets():
    quotient, group = Representation.parse("D4: 1 regular/D1(axis=45)"), Dihedral(4)
    regular = Representation.parse("D4: 1 regular")
    mirror = torch.tensor(1 + 4)  # the reflection about 45 degrees: that about 0, then a quarter turn
    assert torch.equal(group.compose(mirror, mirror), torch.tensor(0))
    cosets = {}
    for g in group.elements():
        cosets.setdefault(min(int(g), int(group.compose(g, mirror))), []).append(int(g))
    spread = torch.zeros(8, 4, dtype=torch.float64)
    for column, first in enumerate(sorted(cosets)):
        spread[cosets[first], column] = 1
    for g in group.elements():
        assert torch.equal(regular.matrices(g[None])[0] @ spread, spread @ quotient.matrices(g[None])[0])
    fixed = quotient.matrices(mirror[None])[0].trace()
    assert fixed == 2
    assert Representation.parse("D4: 1 regular/D1").matrices(mirror[None])[0].trace() == 0  # of another reflection


def test_mixed_fields_stand_field_by_field():
    fields, plain = Representation.parse("SO2: 3 (2x0 + 1x1)"), Representation.parse("SO2: 2x0 + 1x1")
    z, g = torch.randn(5, 3, 4), fields.group.sample(5, torch.Generator().manual_seed(0))
    transformed = fields.transform(z, g)
    for number in range(3):
        assert torch.allclose(transformed[:, number], plain.transform(z[:, number], g))
    assert not torch.allclose(transformed, z)


@pytest.mark.parametrize(
    "text", ["SO2: 3 (2x0 + 1x1) + 1x0", "O3: 2 (1x0e + 1x1o) + 3x0e", "S3: 2 (3 points x 2 + 1 trivial)"]
)
def test_the_standard_form_is_the_same_action_in_another_order(text):
    declared = Representation.parse(text)
    standard = standard_form(declared)
    z, g = declared.random(5).double(), declared.group.sample(5, torch.Generator().manual_seed(0))
    after = standard.representation.transform(standard.change(declared, z), g)
    assert torch.allclose(standard.change(declared, declared.transform(z, g)), after, atol=1e-12)
    assert standard.order is not None
    assert standard_form(standard.representation).order is None


def test_the_standard_form_undoes_a_basis():
    q = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0]
    declared = Representation.parse(f"SO2: 2 (1x0 + 1x1) in {json.dumps(q.tolist())}")
    standard = standard_form(declared)
    z, g = declared.random(5).double(), declared.group.sample(5, torch.Generator().manual_seed(0))
    after = standard.representation.transform(standard.change(declared, z), g)
    assert torch.allclose(standard.change(declared, declared.transform(z, g)), after, atol=1e-12)
    plain = Representation.parse("SO2: 2 (1x0 + 1x1)")
    assert not torch.allclose(plain.transform(z, g), declared.transform(z, g))


def test_rows_of_points_are_permuted_as_their_matrices_say():
    p, z = torch.tensor([2, 0, 1]), torch.arange(6.0).reshape(1, 3, 2)
    moved = Representation.parse("S3: 3 points x 2").transform(z, p)
    assert torch.equal(moved[0, p], z[0])


def test_irreps_are_those_of_e3nn():
    o3 = pytest.importorskip("e3nn.o3")
    g = Representation.parse("O3: 1x1o").group.sample(5, torch.Generator().manual_seed(0))
    ours = Representation.parse("O3: 2x0e + 1x1o + 2x2e + 1x3o + 1x4o").matrices(g)
    theirs = o3.Irreps("2x0e + 1x1o + 2x2e + 1x3o + 1x4o").D_from_matrix(g)
    assert torch.allclose(ours.float(), theirs.float(), atol=2e-5)


@pytest.mark.parametrize(
    "text",
    [
        "S3: 3 points x 3",
        "C4: 4 regular",
        "S4 x O3: 3 points*vectors",
        "S3 x O3: 2 points*1o + 3 points*2e + 1 points*trivial",
        "C3 x Z2: 2 regular*signs + 3 regular*trivial",
        "Z2^3 x S3: 3 signs*points",
    ],
)
def test_moving_is_multiplying_with_the_matrices(text):
    rep = Representation.parse(text)
    z, g = (
        rep.random(5, torch.Generator().manual_seed(0)).double(),
        rep.group.sample(5, torch.Generator().manual_seed(1)),
    )
    assert torch.allclose(rep.transform(z, g), torch.einsum("nij,nj->ni", rep.matrices(g), z), atol=1e-12)
    assert not torch.allclose(rep.transform(z, g), z)
    assert rep.transform(z[:0], g[:0]).shape == (0, rep.size)


def test_large_symmetric_groups_move_without_matrices():
    rep = Representation.parse("S1000: 1000 points x 4")
    g = rep.group.sample(2, torch.Generator().manual_seed(0))
    z = torch.randn(2, 1000, 4)
    assert torch.equal(rep.transform(rep.transform(z, g), rep.group.inverse(g)), z)


@pytest.mark.parametrize("shape", [(5, 128), (5, 16, 8), (5, 128, 1, 1), (5, 16, 8, 1), (0, 128), (1, 1, 16, 8)])
def test_layouts_that_fit(shape):
    rep, z = Representation.parse("C8: 16 regular"), torch.randn(shape)
    assert rep.flatten(z).shape == (shape[0], 128)
    assert rep.transform(z, torch.tensor(3)).shape == shape


@pytest.mark.parametrize(
    ("shape", "remedy"),
    [
        ((5, 8, 16), "swapped"),
        ((5, 128, 4, 4), "pool"),
        ((5, 64), "'C8: 8 regular'"),
        ((5, 4, 32), "reshape"),
        ((5, 127), "representation of the tapped layer"),
        ((5,), "representation of the tapped layer"),
        ((), "Expected latents"),
    ],
)
def test_layouts_that_do_not_fit_say_why(shape, remedy):
    with pytest.raises(LatentError, match="Expected latents of shape") as caught:
        Representation.parse("C8: 16 regular").flatten(torch.zeros(shape))
    assert remedy in str(caught.value)
    assert str(tuple(shape)) in str(caught.value)


def test_points_before_copies_are_not_reshaped_in_silence():
    cloud = Representation.parse("S9 x O3: 4 points*vectors")
    with pytest.raises(LatentError, match=r"another order: bring them to \(B, 4, 9, 3\)\."):
        cloud.flatten(torch.zeros(2, 9, 4, 3))
    z = torch.randn(2, 4, 9, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(cloud.flatten(z), z.flatten(1))  # copies, points, coordinates
    g = cloud.group.sample(2, torch.Generator().manual_seed(0))
    assert torch.equal(cloud.transform(z, g), cloud.transform(z.flatten(1), g).reshape(z.shape))


def test_a_batch_of_elements_must_fit_the_latents():
    with pytest.raises(LatentError, match="one element"):
        Representation.parse("C8: 2 regular").transform(torch.zeros(5, 16), torch.zeros(3, dtype=torch.int64))


def test_moving_keeps_dtype():
    for dtype in (torch.bfloat16, torch.float64):
        for text in ("C4: 2 regular", "SO3: 1x0 + 1x2", "Z2^3: signs"):
            rep = Representation.parse(text)
            assert rep.transform(rep.random(2).to(dtype), rep.group.sample(2)).dtype == dtype


def test_sums_slices_and_equality():
    rep = Representation.parse("C4: 2 trivial + 3 regular")
    assert rep[0] + rep[1] == rep
    assert rep[:1] == Representation.parse("C4: 2 trivial")
    assert rep.slices == (slice(0, 2), slice(2, 14))
    assert [part.shape for part in rep.split(torch.zeros(5, 14))] == [(5, 2, 1), (5, 3, 4)]
    assert len(rep) == 2
    assert hash(rep) == hash(rep[0] + rep[1])
    assert rep != Representation.parse("C4: 3 regular + 2 trivial")
    with pytest.raises(ValueError, match="each of C4"):
        rep + Representation.parse("C8: 1 regular")
    with pytest.raises(ValueError, match="at least one block"):
        Rep(Cyclic(4), ())


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ("C8 16 regular", 13, "no colon"),
        ("C8: 16 regualr", 4, "did you mean 'regular'"),
        ("C8: 16 something", 4, "known are"),
        ("K8: 3 regular", 0, "Expected a group"),
        ("C8: ", 4, "Expected a term such as '16 regular'"),
        ("C8: 2 regular + ", 16, "Expected a term"),
        ("C8: 4 points", 4, "symmetric group"),
        ("S9: 8 points x 2", 4, "Expected 9 points"),
        ("SO3: 3x1o", 5, "no parity"),
        ("O3: 4x1", 4, "a parity"),
        ("C4: 3x5", 4, "from 0 to 2"),
        ("SO3: 4 regular", 5, "finite group"),
        ("C8: 0 regular", 4, "at least one copy"),
        ("C8: 3 regular x 4", 4, "without 'x 4'"),
        ("C8: 3 signs", 4, "sign group"),
        ("C8: 3 vectors", 4, "group of matrices"),
        ("C8: 3 det", 4, "O\\(d\\)"),
        ("S4: 3x1", 4, "Expected a term that S4 has"),
        ("C4 x Z2: 3 regular*signs*signs", 9, "one kind for each factor"),
        ("C8: 3 regular*regular", 4, "one kind for each factor"),
        ("C8: 3 regular/C3", 4, "rotations divide those of C8"),
        ("C8: 3 regular/D2", 4, "subgroup of rotations"),
        ("D4: 3 regular/D1(axis=30)", 4, "at 0, 45, 90, 135 degrees"),
        ("SO2: 3 regular/C2", 5, "C_n or D_n"),
        ("SO2: 2 (1x0 + 1y1)", 14, "Expected a"),
        ("SO2: 2 (1x0 + 1x1", 5, "Expected a term"),
        ("SO2: 1 (1x1) in [[1,1],[0,1]]", 5, "orthogonal"),
        ("SO2: 1 (1x1) in [[1]]", 5, "2 x 2"),
        ("D4: 2x1o", 4, "odd"),
        ("SO2: " + 70 * "(" + "1x1" + 70 * ")", 70, "at most 64 brackets"),
    ],
)
def test_typos_are_pointed_at(text, position, message):
    with pytest.raises(ParseError, match=message) as caught:
        Representation.parse(text)
    assert caught.value.position == position


@given(st.text(alphabet="CDSOZT2^0123456789: x+regulaptivns*()[]", max_size=30))
def test_any_text_is_read_or_refused_with_our_own_error(text):
    try:
        rep = Representation.parse(text)
    except (ParseError, ValueError):
        return
    assert Representation.parse(str(rep)) == rep


def test_pairs_move_rows_and_columns_together():
    representation = Representation.parse("S4: 2 pairs")
    z, g = torch.randn(3, 4, 4, 2), representation.group.sample(3)
    moved = representation.transform(z, g)
    for before, after, p in zip(z, moved, g.tolist(), strict=True):
        for i in range(4):
            for j in range(4):
                assert torch.equal(after[p[i], p[j]], before[i, j])
    rho = representation.matrices(g).float()
    assert torch.allclose(torch.einsum("bij,bj->bi", rho, z.flatten(1)), moved.flatten(1))
    assert not torch.equal(moved, z)


def test_points_and_pairs_are_joined_from_their_own_layouts():
    representation = Representation.parse("S3: 3 points x 2 + 1 pairs")
    assert str(representation) == "S3: 3 points x 2 + 1 pairs"
    x, a = torch.randn(5, 3, 2), torch.randn(5, 3, 3)
    z = representation.join([x, a])
    points, pairs = representation.split(z)
    assert torch.equal(points, x)
    assert torch.equal(pairs[..., 0].reshape(5, 3, 3), a)
    with pytest.raises(LatentError, match="Expected 2 parts"):
        representation.join([x])
    with pytest.raises(LatentError, match=r"\(B, 3, 3, 2\)"):
        Representation.parse("S3: 2 pairs").flatten(a)


def test_channels_that_stand_first_are_named():
    with pytest.raises(LatentError, match=r"z\.movedim\(1, -1\)"):
        Representation.parse("S4: 3 pairs").flatten(torch.zeros(2, 3, 4, 4))
    assert Representation.parse("S4: 3 pairs").flatten(torch.zeros(2, 3, 4, 4).movedim(1, -1)).shape == (2, 48)


def test_pairs_need_a_symmetric_group():
    with pytest.raises(ParseError, match="symmetric group for pairs"):
        Representation.parse("C4: 2 pairs")
    assert str(Representation.parse("S3 x O2: 1 pairs*vectors")) == "S3 x O2: 1 pairs*vectors"


class TestPointByPoint:
    text = "S7 x O3: 7 points (8x0e + 4x1o + vectors)"

    def test_the_brackets_spell_out_terms_of_points(self):
        representation = Representation.parse(self.text)
        assert str(representation) == "S7 x O3: 8 points*0e + 4 points*1o + 1 points*vectors"
        assert representation.points == (7, 8 + 12 + 3)
        assert Representation.parse("S7 x O3: 7 points (3 trivial) + 1 trivial*vectors").points is None

    @pytest.mark.parametrize("text", [text, "S4 x SO3: 4 points*vectors", "S5: 5 points x 2 + 5 points x 3"])
    def test_transforming_point_by_point_is_transforming_the_flat_latent(self, text):
        representation = Representation.parse(text)
        generator = torch.Generator().manual_seed(0)
        n, width = representation.points
        z = torch.randn(6, n, width, generator=generator)
        g = representation.group.sample(6, generator)
        flat = representation.flatten(z)
        assert torch.equal(representation.by_points(flat), z)
        moved = representation.transform(z, g)
        assert moved.shape == z.shape
        assert torch.equal(representation.flatten(moved), representation.transform(flat, g))
        assert not torch.equal(flat, z.flatten(1))  # a plain reshape would be another latent

    def test_e3nns_matrices_act_on_each_point(self):
        o3 = pytest.importorskip("e3nn.o3", reason="e3nn is the reference")
        representation = Representation.parse("S7 x O3: 7 points (8x0e + 4x1o)")
        generator = torch.Generator().manual_seed(0)
        z = torch.randn(3, 7, 20, generator=generator)
        g = representation.group.sample(3, generator)
        order, rotation = representation.group.split(g)
        turned = z @ o3.Irreps("8x0e + 4x1o").D_from_matrix(rotation.float()).mT
        expected = torch.empty_like(z)
        expected[torch.arange(3)[:, None], order.long()] = turned  # what stands at place i goes to place g[i]
        assert (representation.transform(z, g) - expected).abs().max() < 1e-4
        assert (representation.transform(z.mT.reshape(3, -1), g).reshape(expected.mT.shape) - expected.mT).norm() > 1

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("S7 x O3: 6 points (8x0e)", "7 points for S7 x O3 but got 6"),
            ("O3: 7 points (8x0e)", "a product such as 'S7 x O3'"),
            ("S7 x O3: 7 points (8y)", "terms such as '8x0e'"),
        ],
    )
    def test_what_is_wrong_is_said(self, text, message):
        with pytest.raises(ParseError, match=message):
            Representation.parse(text)


def test_yaml_without_quotes_is_read_too():
    assert Representation.parse({"C4": "2 regular"}) == Representation.parse("C4: 2 regular")
    with pytest.raises(GroupError, match="dict"):
        Representation.parse({"C4": "2 regular", "C8": "1 regular"})
