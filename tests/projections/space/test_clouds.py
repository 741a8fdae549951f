"""Points that carry vectors, under orders and rotations together: GramRows, PointFrames and Joined."""

import math

import pytest
import torch

from lightning_invariant import quotient
from lightning_invariant.errors import GroupError, LatentError
from lightning_invariant.groups import Representation
from lightning_invariant.groups.harmonics import spherical_harmonics
from lightning_invariant.guarantee import Separation
from lightning_invariant.metrics import distance_spearman, distortion
from lightning_invariant.probes import knn_predict
from lightning_invariant.projections import GramRoot, GramRows, Joined, PointFrames, PointSort, Projection, Sort, choose
from lightning_invariant.projections.space.point_frames import symmetric_product
from tests.projections.exact_distances import HOMOMETRIC, KITE, TRAPEZOID


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def three_body(sign):
    """Neighbours of the origin with equal distances and angles, Pozdnyakov et al. 2020, figure 1; Joshi et al. 2023."""
    return torch.tensor([[0, 0, 0], [5, 0, 5], [5, 5, 5], [-5, -5, 5], [0, sign * 5, 5]], dtype=torch.float64)


GOLDEN = (1 + math.sqrt(5)) / 2
RECTANGLE = [(0, 1, GOLDEN), (0, 1, -GOLDEN), (0, -1, GOLDEN), (0, -1, -GOLDEN)]
ICOSAHEDRON = tuple(
    torch.tensor([*RECTANGLE, point, tuple(-c for c in point)], dtype=torch.float64)
    for point in ((1, GOLDEN, 0), (GOLDEN, 0, 1))
)
"""Six corners of an icosahedron, two sets whose distances no colour refinement (1-WL) tells apart; corners of regular
solids are where Li et al. 2023 (2302.05743) and Pozdnyakov and Ceriotti 2022 (2201.07136) find such sets."""
HAND = torch.tensor([[1.0, 0, 0], [0, 2, 0], [0, 0, 3], [1, 1, 1]], dtype=torch.float64)


def refined_colours(points):
    """Colours of points by repeated hashing of the distances to all colours: 1-WL."""
    distances = torch.cdist(points, points).mul(1e6).round().long().tolist()
    colours = [0] * len(points)
    for _ in points:
        colours = [
            hash((own, *sorted(zip(row, colours, strict=True)))) for own, row in zip(colours, distances, strict=True)
        ]
    return sorted(colours)


def ring(places):
    angles = 2 * math.pi / 8 * torch.tensor(places, dtype=torch.float64)
    return torch.stack([angles.cos(), angles.sin()], dim=1)


PUBLISHED = {
    "kite": ("O2", KITE.double(), TRAPEZOID.double()),
    "ring": ("O2", *(ring(places) for places in HOMOMETRIC)),
    "three-body": ("O3", three_body(1), three_body(-1)),
    "icosahedron": ("O3", *ICOSAHEDRON),
    "left and right hand": ("SO3", HAND, HAND * torch.tensor([1, 1, -1])),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_pairs_with_equal_low_order_invariants_are_separated(name):
    space, x, y = PUBLISHED[name]
    text = f"S{len(x)} x {space}: 1 points*vectors"
    x, y = x.reshape(1, -1), y.reshape(1, -1)
    distance = quotient.distance(x, y, text).item()
    assert distance > 0.5
    for projection in (GramRows(text), PointFrames(text), choose(text)):
        gap = (projection(x) - projection(y)).norm().item()
        assert (gap > 1e-3 * distance) == (projection.guarantee.separation is not Separation.LOSSY)


def test_colour_refinement_merges_the_corners_of_the_icosahedron_and_not_others():
    assert refined_colours(ICOSAHEDRON[0]) == refined_colours(ICOSAHEDRON[1])
    assert refined_colours(three_body(1)) != refined_colours(three_body(-1))


def test_angles_at_the_origin_are_what_the_three_body_pair_shares():
    x, y = three_body(1), three_body(-1)
    assert torch.equal((x @ x.mT).flatten().sort().values, (y @ y.mT).flatten().sort().values)


def test_an_order_or_a_rotation_alone_is_not_enough():
    text = "S6 x O3: 1 points*vectors"
    representation = Representation.parse(text)
    z, g = representation.random(8, generator()).double(), representation.group.sample(8, generator(1))
    moved, projection = representation.transform(z, g), choose(text)
    assert torch.allclose(projection(z), projection(moved), atol=1e-9)
    apart = [GramRoot("O3: 6 vectors"), PointSort("S6: 6 points x 3")]
    assert all((p(z) - p(moved)).norm(dim=1).min() > 0.1 for p in apart)


@pytest.mark.parametrize("text", ["S6 x O3: 1 points*vectors", "S9 x O2: 1 points*vectors", "S5 x O3: 3 points*1o"])
def test_rows_keep_distances_and_never_stretch_beyond_their_bound(text):
    z = Representation.parse(text).random(30, generator()).double()
    exact, features = quotient.distance(z, z, text, pairwise=True), GramRows(text)(z)
    assert distortion(features, exact).percentiles < 2.5
    assert distance_spearman(features, exact) > 0.45
    near = z + 1e-3 * Representation.parse(text).random(30, generator(1))
    ratios = (GramRows(text)(near) - features).norm(dim=1) / quotient.distance(near, z, text)
    assert ratios.max() <= 2**0.5 + 1e-6
    assert ratios.min() > 0.1


@pytest.mark.parametrize("kind", [GramRows, PointFrames])
def test_hidden_points_do_not_matter_and_are_not_points_at_the_origin(kind):
    text = "S5 x O3: 1 points*vectors + 2 points*0e"
    representation, projection = Representation.parse(text), kind(text, ragged=True)
    z, mask = representation.random(4, generator()).double(), torch.arange(5) < torch.tensor([[5], [4], [2], [1]])
    features = projection(z, mask)
    vectors, numbers = representation.split(z)
    hidden = torch.cat([vectors.unflatten(2, (5, 3)), numbers.unflatten(2, (5, 1)).mT.mT.expand(-1, -1, -1, 3)], dim=1)
    changed = torch.where(mask[:, None, :, None], hidden, 7.0)
    other = torch.cat([changed[:, :1].flatten(1), changed[:, 1:, :, 0].flatten(1)], dim=1)
    assert torch.equal(projection(other, mask), features)
    order = torch.tensor([3, 1, 4, 0, 2])
    moved = representation.transform(z, representation.group.join([order, torch.eye(3, dtype=torch.float64)]))
    assert torch.allclose(projection(moved, mask[:, order.argsort()]), features, atol=1e-9)
    zeroed = torch.where(mask[:, None, :, None], hidden, 0.0)
    origin = torch.cat([zeroed[:, :1].flatten(1), zeroed[:, 1:, :, 0].flatten(1)], dim=1)
    assert ((projection(origin) - features).norm(dim=1) > 1e-3).tolist() == [False, True, True, True]
    with pytest.raises(LatentError, match=r"none in \[1\]"):
        projection(z, mask & (torch.arange(4) != 1)[:, None])
    with pytest.raises(ValueError, match="ragged=True"):
        kind(text)(z, mask)


@pytest.mark.parametrize("kind", [GramRows, PointFrames])
def test_export_with_a_mask_and_a_free_batch(kind):
    projection = kind("S5 x O3: 1 points*vectors", ragged=True)
    z, mask = torch.randn(4, 15, generator=generator()), torch.arange(5) < torch.tensor([[5], [4], [2], [1]])
    shapes = {"z": {0: torch.export.Dim("batch")}, "mask": {0: torch.export.Dim("batch")}}
    graph = torch.export.export(projection, (z, mask), dynamic_shapes=shapes, strict=False).module()
    assert torch.allclose(graph(z[:3], mask[:3]), projection(z[:3], mask[:3]), atol=1e-5)
    nobody = graph(z[:2], torch.zeros(2, 5, dtype=torch.bool))
    assert nobody.isnan().all()


def molecules(count, noise, generator):
    """A centre with four different neighbours, turned, reordered and, in half of the cases, mirrored."""
    corners = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / 3**0.5
    x = corners * torch.tensor([1.09, 1.36, 1.77, 1.94])[:, None] + noise * torch.randn(
        count, 4, 3, generator=generator
    )
    hand = torch.randint(2, (count,), generator=generator)
    x[hand == 1] *= torch.tensor([1.0, 1.0, -1.0])
    x = torch.cat([torch.zeros(count, 1, 3), x], dim=1)
    representation = Representation.parse("S5 x SO3: 5 points*0 + 1 points*vectors")
    z = torch.cat([torch.eye(5).flatten().expand(count, -1), x.flatten(1)], dim=1)
    return representation.transform(z, representation.group.sample(count, generator)), hand


@pytest.mark.parametrize(("noise", "least"), [(0.05, 0.99), (0.2, 0.65)])
def test_handedness_of_molecules_is_seen(noise, least):
    bank, queries = (molecules(300, noise, torch.Generator().manual_seed(seed)) for seed in (0, 1))
    projection = choose("S5 x SO3: 5 points*0 + 1 points*vectors")
    assert projection.guarantee.separation >= Separation.GENERIC
    found = knn_predict(projection(bank[0]), bank[1], projection(queries[0]), k=5)
    assert (found == queries[1]).double().mean() >= least
    without = GramRows("S5 x SO3: 5 points*0 + 1 points*vectors")
    blind = knn_predict(without(bank[0]), bank[1], without(queries[0]), k=5)
    assert (blind == queries[1]).double().mean() < 0.6


def peroxides(count, noise, generator):
    """Four atoms in a twisted chain, HOOH: an axis of symmetry goes through it, and sums of vectors lie in a plane."""
    angle = torch.tensor(1.94)
    chain = torch.tensor([[0.9, -0.7, 0.0], [0.0, -0.7, 0.0], [0.0, 0.7, 0.0], [0.9 * angle.cos(), 0.7, 0.0]])
    chain[3, 2] = 0.9 * angle.sin()
    x = chain - chain.mean(dim=0) + noise * torch.randn(count, 4, 3, generator=generator)
    hand = torch.randint(2, (count,), generator=generator)
    x[hand == 1] *= torch.tensor([1.0, 1.0, -1.0])
    representation = Representation.parse("S4 x SO3: 2 points*0 + 1 points*vectors")
    kinds = torch.tensor([1.0, 0, 0, 1, 0, 1, 1, 0]).expand(count, -1)
    z = torch.cat([kinds, x.flatten(1)], dim=1)
    return representation.transform(z, representation.group.sample(count, generator)), hand


def test_handedness_of_molecules_with_an_axis_is_seen():
    bank, queries = (peroxides(200, 0.05, torch.Generator().manual_seed(seed)) for seed in (0, 1))
    projection = choose("S4 x SO3: 2 points*0 + 1 points*vectors")
    found = knn_predict(projection(bank[0]), bank[1], projection(queries[0]), k=5)
    assert (found == queries[1]).double().mean() >= 0.99


def test_rows_and_sums_together_are_generic_and_stay_so_when_rebuilt():
    joined = choose("S40 x SO3: 1 points*vectors")
    assert [type(p).__name__ for p in joined.projections] == ["GramRows", "VectorSums"]
    assert joined.guarantee.separation is Separation.GENERIC
    assert Projection.from_config(joined.config()).guarantee == joined.guarantee
    only = Joined("S40 x SO3: 1 points*vectors", [GramRows("S40 x SO3: 1 points*vectors")])
    assert only.guarantee.separation is Separation.LOSSY


def test_marked_by_what_they_see():
    assert PointFrames("S4 x O3: 1 points*vectors").guarantee.separation is Separation.INJECTIVE
    assert PointFrames("S4 x O3: 1 points*vectors", hidden=8).guarantee.separation is Separation.PAIRWISE
    assert PointFrames("S4 x O3: 2 points*vectors").guarantee.separation is Separation.PAIRWISE
    assert GramRows("S4 x O3: 1 points*vectors").guarantee.separation is Separation.GENERIC
    assert GramRows("S4 x SO3: 1 points*vectors").guarantee.separation is Separation.LOSSY
    assert GramRows("S2 x SO3: 1 points*vectors").guarantee.separation is Separation.GENERIC
    assert GramRows("S4 x O3: 2 points*2e").guarantee.separation is Separation.LOSSY


@pytest.mark.parametrize(
    "text", ["S5: 5 points x 3", "O3: 4 vectors", "S4 x O3: 4 points*trivial", "C4 x O3: 1 regular*1o"]
)
@pytest.mark.parametrize("kind", [GramRows, PointFrames])
def test_other_groups_are_refused(kind, text):
    with pytest.raises(GroupError, match="Expected points"):
        kind(text)


def test_frames_refuse_what_they_cannot_show_and_sizes_without_room():
    with pytest.raises(GroupError, match="use GramRows"):
        PointFrames("S4 x O3: 1 points*1o + 1 points*3o")
    for kind, settings in (
        (PointFrames, {"out_features": 1}),
        (PointFrames, {"hidden": 0}),
        (GramRows, {"out_features": 0}),
    ):
        with pytest.raises(ValueError, match="Expected at least"):
            kind("S4 x O3: 1 points*vectors", **settings)


def test_blocks_give_the_same_features(monkeypatch):
    from lightning_invariant.projections.space import point_frames

    projection = PointFrames("S4 x O3: 2 points*vectors")
    z = projection.representation.random(20, generator()).double()
    whole = projection(z)
    monkeypatch.setitem(point_frames.NUMBERS, "cpu", 3 * 4**3 * projection.hidden)
    assert torch.allclose(projection(z), whole, atol=1e-12)


def test_symmetric_products_are_harmonics_of_degree_two_on_the_diagonal():
    v = torch.randn(20, 3, generator=generator(), dtype=torch.float64)
    v = v / v.norm(dim=1, keepdim=True)
    harmonics = spherical_harmonics(2, v)
    assert torch.allclose(symmetric_product(v, v), harmonics * (4 * math.pi / 5) ** 0.5, atol=1e-12)


def test_one_point_and_zero_vectors():
    text = "S1 x O3: 1 points*vectors"
    z = torch.tensor([[3.0, 0.0, 4.0], [0.0, 5.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    for projection in (GramRows(text), PointFrames(text)):
        features = projection(z)
        assert torch.allclose(features[0], features[1], atol=1e-9)
        assert torch.equal(features[2], torch.zeros_like(features[2]))


def test_joining_keeps_the_strongest_separation_and_adds_bounds_in_squares():
    sort = Sort("S4: 4 points")
    assert Joined("S4: 4 points", [sort]).guarantee.separation is Separation.ISOMETRIC
    joined = Joined("S4: 4 points", [sort, PointSort("S4: 4 points")])
    assert joined.guarantee.separation is Separation.BILIPSCHITZ
    assert joined.guarantee.lipschitz == pytest.approx(2**0.5)
    assert joined.guarantee.distortion is None
    text = "S4 x O3: 1 points*vectors"
    unbounded = Joined(text, [GramRows(text), PointFrames(text)]).guarantee
    assert (unbounded.separation, unbounded.lipschitz) == (Separation.INJECTIVE, None)


def test_joining_refuses_other_representations_and_nothing():
    with pytest.raises(ValueError, match="Expected projections of 'S4: 4 points x 1' but got"):
        Joined("S4: 4 points", [Sort("S5: 5 points")])
    with pytest.raises(ValueError, match="none"):
        Joined("S4: 4 points", [])
