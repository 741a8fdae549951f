"""Trees of inputs: the rule of each member, what it does, and what is said where it is not known."""

from __future__ import annotations

import ast
import random
import re

import numpy as np
import pytest
import torch

from lightning_invariant.batch import rows, to_device
from lightning_invariant.errors import ActionError
from lightning_invariant.groups import parse_group
from lightning_invariant.groups.actions import ImageAction, PointAction, check_action, member_action

B = 5


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rand(*shape: int) -> torch.Tensor:
    return torch.randn(B, *shape, generator=seeded(sum(shape)))


def whole(*shape: int) -> torch.Tensor:
    return torch.randint(0, 4, (B, *shape), generator=seeded(sum(shape)))


SYMMETRIC = (rand(6, 6) + rand(6, 6).mT) / 2
KNOWN = [
    ("C8", {"x": rand(1, 16, 16), "y": whole()}, {"x": "image", "y": "left alone"}),
    ("C4", {"x": rand(16, 16)}, {"x": "image"}),
    ("C4", {"x": rand(16, 16, 3)}, {"x": "image channels last"}),
    ("C4", {"x": rand(16, 16, 4)}, {"x": "image channels last"}),
    ("C2", {"x": rand(3, 12, 16)}, {"x": "image"}),
    ("C4", {"pixels": (rand(3, 8, 8) * 40).to(torch.uint8)}, {"pixels": "image"}),
    ("C4", {"x": rand(3, 8, 8), "m": whole(8, 8) > 1}, {"x": "image", "m": "image"}),
    ("C4", {"x": rand(3, 8, 8), "token": whole(8)}, {"x": "image", "token": "left alone"}),
    ("C4", {"video": rand(3, 4, 8, 8)}, {"video": "video"}),
    ("SO2", {"x": rand(1, 8, 8), "t": rand(), "s": rand(1), "cond": rand(64)}, {"x": "image", "t": "left alone"}),
    ("D4", {"pos": rand(9, 2), "x": rand(9, 1)}, {"pos": "vectors", "x": "left alone"}),
    ("O3", {"x": rand(9, 3)}, {"x": "vectors"}),
    ("O3", {"pos": rand(6, 3), "z": whole(6), "t": rand(), "h": rand(6, 16)}, {"pos": "vectors", "z": "left alone"}),
    ("O3", {"pos": rand(3, 6)}, {"pos": "vectors(axis=1)"}),
    ("O3", {"pos": rand(6, 3), "vel": rand(6, 3)}, {"pos": "vectors", "vel": "vectors"}),
    ("O3", {"pos": rand(6, 3), "rgb": rand(6, 3)}, {"pos": "vectors", "rgb": "left alone"}),
    ("O3", {"x": rand(3, 9)}, {"x": "vectors(axis=1)"}),
    (
        "O3",
        {"coors": rand(6, 3), "mask": (rand(6) > 0).float(), "q": rand(6)},
        {"mask": "left alone", "q": "left alone"},
    ),
    ("O3", {"pos": rand(6, 3), "adj": rand(6, 6)}, {"adj": "left alone"}),
    ("SO3", {"x": rand(1, 8, 8, 8)}, {"x": "volume"}),
    ("Cube", {"x": rand(8, 8, 8)}, {"x": "volume"}),
    ("HFlip", {"x": rand(3, 8, 12)}, {"x": "image"}),
    ("D4(axis=90)", {"x": rand(3, 8, 8)}, {"x": "image"}),
    ("S6", {"pos": rand(6, 3), "z": whole(6), "y": rand()}, {"pos": "nodes", "z": "nodes", "y": "left alone"}),
    ("S6", {"x": rand(6, 2), "pad": whole(6) > 1}, {"x": "nodes", "pad": "mask"}),
    ("S6", {"x": rand(6, 2), "adj": rand(6, 6)}, {"x": "nodes", "adj": "adjacency"}),
    ("S6", {"x": rand(6, 2), "w": SYMMETRIC}, {"x": "nodes", "w": "adjacency"}),
    ("S6", {"x": rand(3, 6)}, {"x": "nodes(axis=2)"}),
    ("S6", {"x": rand(6, 2), "edge_index": whole(2, 9)}, {"x": "nodes", "edge_index": "edge list"}),
    ("S6 x O3", {"pos": rand(6, 3), "z": whole(6)}, {"pos": "nodes and vectors", "z": "nodes"}),
    ("T16", {"x": rand(3, 16)}, {"x": "signal(axis=2)"}),
    ("T16", {"x": rand(16, 3)}, {"x": "signal(axis=1)"}),
    ("T8 x T12", {"x": rand(3, 8, 12)}, {"x": "signal(axis=2) and signal(axis=3)"}),
    ("T8 x T8", {"x": rand(3, 8, 8)}, {"x": "signal(axis=2) and signal(axis=3)"}),
    ("Z2^4", {"x": rand(6, 4)}, {"x": "eigenvectors"}),
]


@pytest.mark.parametrize(("group", "tree", "rules"), KNOWN, ids=lambda v: v if isinstance(v, str) else "")
def test_names_and_shapes_tell_the_rule(group, tree, rules):
    action = member_action(parse_group(group), tree)
    assert not action.unknown, action.question
    assert {path: action.rules[path] for path in rules} == rules
    g = parse_group(group).sample(B, seeded())
    before = {path: x.clone() for path, x in tree.items()}
    moved = action.transform(tree, g)
    for path, x in tree.items():
        assert torch.equal(x, before[path])  # inputs are never written to
        assert moved[path].dtype == x.dtype
        assert moved[path].stride() == x.stride()
        assert torch.equal(moved[path], x) == (action.rules[path] == "left alone")
    exact = action.is_exact(g)
    assert (action.round_trip(tree, g)[exact] < 1e-6).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(("group", "tree", "rules"), KNOWN, ids=lambda v: v if isinstance(v, str) else "")
def test_rules_work_where_the_tensors_are(group, tree, rules):
    parsed = parse_group(group)
    g = parsed.sample(B, seeded())
    expected = member_action(parsed, tree).transform(tree, g)
    there = to_device(tree, "cuda")
    action = member_action(parsed, there)
    assert dict(action.rules) == dict(member_action(parsed, tree).rules)
    for elements in (g, g.cuda()):
        moved = action.transform(there, elements)
        for path, x in expected.items():
            assert moved[path].is_cuda
            assert torch.allclose(moved[path].cpu().double(), x.double(), atol=1e-4)
        assert len(action.round_trip(there, elements)) == B
        assert action.is_exact(elements).shape == (B,)


AMBIGUOUS = [
    ("C4", {"x": rand(10)}),
    ("C4", {"x": rand(64)}),
    ("C4", {"t": rand()}),
    ("O3", {"tokens": whole(7)}),
    ("S6 x O3", {"z": whole(6)}),
    ("C4", {"x": torch.complex(rand(8, 8), rand(8, 8)), "v": rand(3, 8, 8, 8)}),
    ("C4", {"x": rand(3, 8, 8, 8)}),
    ("C4", {"x": rand(3, 8, 12)}),
    ("C4", {"x": rand(4, 4, 4)}),
    ("C4", {"x": rand(3, 8, 8), "boxes": rand(7, 4)}),
    ("O3", {"x": rand(3, 8, 8)}),
    ("O3", {"pos": rand(6, 3), "h": rand(6, 6)}),
    ("O3", {"a": rand(6, 3), "b": rand(6, 3)}),
    ("O3", {"x": rand(1, 8, 8, 6)}),
    ("S6", {"x": rand(6, 6)}),
    ("S6", {"x": rand(6, 3), "c": rand(3, 6)}),
    ("S6", {"x": rand(7, 3)}),
    ("S6", {"x": rand(6, 3), "e": whole(2, 9)}),
    ("S6", {"x": rand(6, 3), "edge_index": whole(2, 9) + 9}),
    ("T16", {"x": rand(16, 16)}),
    ("T16", {"x": rand(3, 32)}),
    ("T8 x T8", {"x": rand(8, 8, 8)}),
    ("T8 x T8", {"x": rand(3, 16, 16)}),
    ("Z2^4", {"a": rand(6, 4), "b": rand(6, 4)}),
    ("Z2^4", {"x": rand(4, 4)}),
    ("S6 x O3", {"pos": rand(6, 3), "h": rand(6, 6)}),
]


@pytest.mark.parametrize(("group", "tree"), AMBIGUOUS, ids=lambda v: v if isinstance(v, str) else "")
def test_two_readings_are_never_guessed_between_and_every_remedy_works(group, tree):
    parsed = parse_group(group)
    action = member_action(parsed, tree)
    assert action.unknown
    with pytest.raises(ActionError, match="Expected to know how"):
        action.transform(tree, parsed.sample(B))
    followed = 0
    for line in action.question.splitlines()[1:]:
        for typed in re.findall(r"action=(\{.*?\})", line):
            given = ast.literal_eval(typed)
            (name,) = given
            again = member_action(parsed, tree, given)
            assert again.rules[name] != "unknown"
            if not again.unknown:
                try:
                    again.transform(tree, parsed.sample(B, seeded()))
                except ActionError as error:
                    assert "equal sides" in str(error)  # noqa: PT017  (a quarter turn that no rule can do)
            followed += 1
    assert followed


def test_what_is_the_same_for_all_samples_needs_no_rule():
    grid = torch.randn(1, 7, 4, generator=seeded()).expand(B, 7, 4)
    tree = {"x": rand(3, 8, 8), "boxes": grid}
    assert member_action(parse_group("C4"), tree).rules["boxes"] == "left alone"
    assert member_action(parse_group("C4"), tree | {"boxes": rand(7, 4)}).unknown == ("boxes",)


GROUPS = ["C4", "C8", "D4(axis=90)", "SO2", "HFlip", "O3", "SO3", "Cube", "S6", "S4", "S6 x O3", "T8", "T8 x T8"]
GROUPS += ["T6 x T8", "Z2^4", "S6 x Z2", "C4 x T8", "Sampled"]
NAMES = ["x", "pos", "z", "h", "mask", "y", "adj", "edge_index", "video", "lengths", "t", "pe", "rgb", "edge_attr"]


@pytest.mark.parametrize("seed", range(4))
def test_any_inputs_are_transformed_or_asked_about(seed):
    pick, asked, transformed = random.Random(seed), 0, 0
    for _ in range(60):
        group, tree = parse_group(pick.choice(GROUPS)), {}
        for name in pick.sample(NAMES, pick.randint(1, 4)):
            x = rand(*(pick.choice([1, 2, 3, 4, 6, 8, 12]) for _ in range(pick.randint(0, 4))))
            kinds = [x, x, x, (x * 3).long().abs(), x > 0, (x.abs() * 40).to(torch.uint8), torch.complex(x, x)]
            tree[name] = pick.choice(kinds)
        action, g = member_action(group, tree, layout=rows(tree, B)[0]), group.sample(B, seeded(seed))
        if not action.unknown:
            moved, trip = action.transform(tree, g), action.round_trip(tree, g)
            assert all(moved[name].dtype == x.dtype and moved[name].shape == x.shape for name, x in tree.items())
            assert action.actions
            assert (trip[action.is_exact(g)] < 1e-4).all()
            transformed += 1
            continue
        asked += 1
        for typed in re.findall(r"action=(\{.*?\})", action.question):
            given = ast.literal_eval(typed)
            again = member_action(group, tree, given, layout=action.layout)
            assert again.rules[next(iter(given))] != "unknown"
    assert asked > 10
    assert transformed > 2


def test_the_rules_are_told_in_one_line():
    tree = {"pos": rand(6, 3), "z": whole(6), "y": rand()}
    assert str(member_action(parse_group("O3"), tree)) == "O3 rotates pos; leaves z, y"
    assert str(member_action(parse_group("S6 x O3"), tree)) == "S6 x O3 permutes pos, z; rotates pos; leaves y"
    assert str(member_action(parse_group("C4"), {"x": rand(8, 8)})) == "C4 rotates x (image)"


def test_a_mask_of_either_polarity_goes_with_its_nodes():
    group = parse_group("S6")
    x, g = rand(6, 3), group.sample(B, seeded())
    for mask in (whole(6) > 1, ~(whole(6) > 1)):
        moved = member_action(group, {"x": x, "m": mask}).transform({"x": x, "m": mask}, g)
        for row in range(B):
            for i in range(6):
                assert moved["m"][row, g[row, i]] == mask[row, i]
                assert torch.equal(moved["x"][row, g[row, i]], x[row, i])


def test_the_round_trip_needs_the_inverse(monkeypatch):
    group = parse_group("C8")
    y, x = torch.meshgrid(torch.arange(32) - 15.5, torch.arange(32) - 15.5, indexing="ij")
    tree = {"x": torch.exp(-((x - 4) ** 2 + (y - 3) ** 2) / 20).expand(8, 1, 32, 32).clone()}
    action, g = member_action(group, tree), group.elements()
    error = action.round_trip(tree, g)
    assert (error[::2] == 0).all()
    assert (error[1::2] > 1e-4).all()
    assert (error < 0.1).all()
    monkeypatch.setattr(type(group), "inverse", lambda self, g: g)
    assert (action.round_trip(tree, g)[1:4] > 0.3).all()


def test_lists_of_samples_of_several_sizes():
    group = parse_group("C4")
    tree = {"images": [torch.rand(3, 8 + i, 8 + i) for i in range(B)], "y": whole()}
    layout = rows(tree, B)[0]
    action, g = member_action(group, tree, layout=layout), group.sample(B, seeded(3))
    moved = action.transform(tree, g)
    for i in range(B):
        assert torch.equal(moved["images"][i], torch.rot90(tree["images"][i], int(g[i]), (-2, -1)))
    assert (action.round_trip(tree, g) == 0).all()


def test_samples_on_the_second_axis():
    group = parse_group("S6")
    tree = {"x": torch.randn(6, B, 3), "pad": whole(6) > 1}
    layout = rows(tree, B)[0]
    action, g = member_action(group, tree, layout=layout), group.sample(B, seeded())
    moved = action.transform(tree, g)
    for row in range(B):
        for i in range(6):
            assert torch.equal(moved["x"][g[row, i], row], tree["x"][i, row])
    assert (action.round_trip(tree, g) == 0).all()


def test_one_tensor_at_two_places_stays_one_unless_its_rules_differ():
    group, w = parse_group("S6"), SYMMETRIC
    g = group.sample(B, seeded())
    alike = member_action(group, {"q": w, "k": w}).transform({"q": w, "k": w}, g)
    assert alike["q"] is alike["k"]
    apart = member_action(group, {"q": w, "k": w}, {"q": "nodes", "k": "adjacency"}).transform({"q": w, "k": w}, g)
    assert not torch.equal(apart["q"], apart["k"])
    assert torch.equal(apart["k"], alike["k"])


def test_what_is_given_is_used():
    group, tree = parse_group("C4"), {"batch": {"x": rand(3, 8, 8), "y": rand(8, 8)}}
    g = group.sample(B, seeded(1))
    for given in (
        {"batch['x']": "image", "y": "left alone", "target": "left alone"},
        {"x": ImageAction(group), "batch['y']": "left alone"},
    ):
        action = member_action(group, tree, given)
        moved = action.transform(tree, g)["batch"]
        assert torch.equal(moved["x"], ImageAction(group).transform(tree["batch"]["x"], g))
        assert moved["y"] is tree["batch"]["y"]
    only = member_action(group, {"x": rand(3, 8, 8), "y": whole()}, ImageAction(group, padding="border"))
    assert only.actions["x"].padding == "border"
    doubled = member_action(group, {"x": rand(3, 8, 8), "y": whole()}, lambda x, g: x * 2)
    assert torch.equal(doubled.transform({"x": rand(3, 8, 8), "y": whole()}, g)["x"], rand(3, 8, 8) * 2)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (3, "an action, a dict of member to rule"),
        ("vectors", "an action, a dict of member to rule"),
        (PointAction, "an action, a dict of member to rule"),
        ({"x": 3}, "'x': 3"),
        ({3: "image"}, "3: 'image'"),
    ],
)
def test_a_wrong_type_is_an_error_before_anything_runs(given, message):
    with pytest.raises(ActionError, match=message):
        check_action(given)


@pytest.mark.parametrize(
    ("group", "given", "message"),
    [
        ("C4", {"q": "image"}, "among x, t but got one for 'q'"),
        ("C4", {"x": "imag"}, "did you mean 'image'"),
        ("C4", {"t": "image"}, "to fit the rule 'image'"),
        ("C4", ImageAction(parse_group("C8")), "an action of C4 but got one of C8"),
        ("O3", PointAction(parse_group("O3")), "an input that PointAction.* fits but got x, float32"),
    ],
)
def test_what_does_not_fit_says_what_would(group, given, message):
    with pytest.raises(ValueError, match=message):
        member_action(parse_group(group), {"x": rand(2, 8, 8), "t": rand(1)}, given)


def test_lengths_say_which_nodes_of_a_padded_set_exist():
    group = parse_group("S6")
    lengths = torch.tensor([6, 1, 3, 2, 5])
    tree = {"x": rand(6, 3), "lengths": lengths}
    action, g = member_action(group, tree), group.sample(B, seeded())
    moved, real = action.transform(tree, g), action.realised(tree, g)
    for row, n in enumerate(lengths.tolist()):
        assert torch.equal(moved["x"][row, n:], tree["x"][row, n:])
        assert sorted(real[row, :n].tolist()) == list(range(n))
        for i in range(6):
            assert torch.equal(moved["x"][row, real[row, i]], tree["x"][row, i])
    assert (action.round_trip(tree, g) == 0).all()
    assert torch.equal(real[0], g[0])  # a full set is ordered as g says
    assert not torch.equal(real, g)
    assert torch.equal(member_action(group, {"x": rand(6, 3)}).realised({"x": rand(6, 3)}, g), g)


def test_flat_images_are_unflattened_where_that_is_said():
    group, x = parse_group("C4"), rand(3, 8, 8)
    g = group.sample(B, seeded(1))
    moved = member_action(group, {"x": x.flatten(1)}, {"x": "flat image"}).transform({"x": x.flatten(1)}, g)
    assert torch.equal(moved["x"].reshape(x.shape), ImageAction(group).transform(x, g))
    with pytest.raises(ActionError, match="flat square images of one or three channels"):
        member_action(group, {"x": rand(10)}, {"x": "flat image"})


def test_complex_images_are_interpolated_by_parts():
    group, x = parse_group("C8"), torch.complex(rand(1, 8, 8), rand(1, 8, 8))
    g = group.sample(B, seeded(1))
    moved = member_action(group, {"x": x}).transform({"x": x}, g)["x"]
    assert torch.equal(moved.imag, ImageAction(group).transform(x.imag, g))


def test_functions_take_lists_and_other_layouts_samples_first():
    group, g = parse_group("C4"), parse_group("C4").sample(B)
    tree = {"x": torch.randn(3, B, 2), "n": whole()}
    moved = member_action(group, tree, lambda x, g: x * torch.arange(B)[:, None, None], rows(tree, B)[0])
    assert torch.equal(moved.transform(tree, g)["x"], tree["x"] * torch.arange(B)[:, None])
    images = {"images": [torch.rand(1, 4 + i) for i in range(B)]}
    doubled = member_action(group, images, lambda x, g: [t * 2 for t in x], rows(images, B)[0]).transform(images, g)
    assert torch.equal(doubled["images"][2], images["images"][2] * 2)


def test_an_augmentation_is_any_function_of_one_input():
    group = parse_group("Sampled(crop)")
    x, g = rand(3, 8, 8), group.sample(B, seeded())
    tree = {"x": x, "y": whole()}

    class Remembers(torch.nn.Module):
        seen = None

        def forward(self, x):
            self.seen = torch.rand(()) + float(np.random.rand()) + random.random()
            return (x + self.seen)[None]

    module = Remembers()
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    for augment in (module, lambda x: x + torch.rand(()), lambda x, generator: x + torch.rand((), generator=generator)):
        action = member_action(group, tree, augment)
        moved = action.transform(tree, g)["x"]
        assert torch.equal(moved, action.transform(tree, g)["x"])
        assert not torch.equal(moved - x, (moved - x)[0].expand_as(x))
        assert torch.equal(action.transform(tree, torch.zeros(B, dtype=torch.int64))["x"], x)
        assert action.round_trip(tree, g).isnan().all()
    assert module.seen is None
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert (np.random.get_state()[1] == before[2]).all()
    with pytest.raises(ActionError, match="x: Expected a transform that keeps the shape"):
        member_action(group, tree, lambda x: x[:, :4])


def test_kornia_augments_each_sample_by_its_seed():
    kornia = pytest.importorskip("kornia.augmentation")
    group, x = parse_group("Sampled"), torch.rand(B, 3, 16, 16)
    action = member_action(group, {"x": x}, kornia.RandomAffine(30, p=1.0))
    g = group.sample(B, seeded())
    moved = action.transform({"x": x}, g)["x"]
    assert torch.equal(moved, action.transform({"x": x}, g)["x"])
    assert ((moved - x).flatten(1).norm(dim=1) > 1).all()


def graphs(data):
    generator, made = seeded(), []
    for n in (4, 6, 3, 5, 1):
        edges = torch.randint(0, n, (2, 2 * n), generator=generator)
        extra = {"y": torch.tensor([n]), "edge_attr": torch.randn(2 * n, 16, generator=generator)}
        pos, z = torch.randn(n, 3, generator=generator), torch.randint(0, 9, (n,), generator=generator)
        made.append(data.Data(x=torch.randn(n, 1, generator=generator), pos=pos, z=z, edge_index=edges, **extra))
    return data.Batch.from_data_list(made)


@pytest.mark.parametrize("whole_batch", [True, False])
def test_graphs_of_several_sizes_are_reordered_within_and_rotated(whole_batch):
    batch = graphs(pytest.importorskip("torch_geometric.data"))
    names = ("x", "pos", "z", "edge_index", "edge_attr", "batch")
    tree = {"data": batch} if whole_batch else {name: batch[name] for name in names}
    group = parse_group("S6 x O3")
    layout = rows(tree, B)[0]
    action, g = member_action(group, tree, layout=layout), group.sample(B, seeded(2))
    assert not action.unknown, action.question
    moved = action.transform(tree, g)
    after = moved["data"] if whole_batch else moved
    order, rotation = group.split(action.realised(tree, g))
    start = 0
    for i in range(B):
        n = int((batch.batch == i).sum())
        for k in range(n):
            to = start + int(order[i, k])
            assert torch.equal(after["x"][to], batch.x[start + k])
            assert torch.equal(after["z"][to], batch.z[start + k])
            assert torch.allclose(after["pos"][to], rotation[i].float() @ batch.pos[start + k], atol=1e-5)
        start += n
    assert torch.equal(after["x"][after["edge_index"]], batch.x[batch.edge_index])  # edges still join the same nodes
    assert torch.equal(after["edge_attr"], batch.edge_attr)
    assert torch.equal(after["batch"], batch.batch)
    assert (action.round_trip(tree, g) < 1e-6).all()
    small = member_action(parse_group("S5"), tree, layout=layout)
    with pytest.raises(ActionError, match="graphs of at most 5 nodes for S5 but got one of 6"):
        small.transform(tree, parse_group("S5").sample(B))


def test_functions_that_return_something_else_are_refused():
    group, tree = parse_group("C4"), {"x": rand(2, 8, 8)}
    for function in (lambda x, g: None, lambda x, g: x[:1], lambda x, g: {"q": x}):
        with pytest.raises(ActionError, match="action's function"):
            member_action(group, tree, function).transform(tree, group.sample(B))


def test_thumbnails_are_small_images():
    group = parse_group("C4")
    for x, shape in ((rand(3, 64, 64), (B, 3, 32, 32)), (rand(8, 8), (B, 1, 8, 8)), (rand(8, 8, 3), (B, 3, 8, 8))):
        assert member_action(group, {"x": x}).thumbnails({"x": x}).shape == shape
    flat = member_action(group, {"x": rand(64)}, {"x": "flat image"})
    assert torch.equal(flat.thumbnails({"x": rand(64)}), rand(64).reshape(B, 1, 8, 8))
    video = member_action(group, {"video": rand(3, 4, 8, 8)}).thumbnails({"video": rand(3, 4, 8, 8)})
    assert torch.equal(video, rand(3, 4, 8, 8)[:, :, 2])
    volume = member_action(parse_group("SO3"), {"x": rand(1, 8, 8, 8)}).thumbnails({"x": rand(1, 8, 8, 8)})
    assert volume.shape == (B, 1, 8, 8)
    assert member_action(parse_group("O3"), {"x": rand(9, 3)}).thumbnails({"x": rand(9, 3)}) is None
