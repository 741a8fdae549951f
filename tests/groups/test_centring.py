"""Translations: what they move, and latents without them."""

import pytest
import torch

from lightning_invariant.errors import ParseError
from lightning_invariant.groups import Representation, parse_group
from lightning_invariant.groups.actions import member_action
from lightning_invariant.groups.centring import centre, linear_part, with_shifts

TEXTS = (
    "E3: 4 positions + 2 vectors + 2 det",
    "SE3: 2 positions + 3 trivial + 2x2",
    "E2: 1 positions + 2x1 + 2 positions",
    "S5 x E3: 2 points*positions + 3 points*0e + 1 trivial*vectors",
    "C4 x SE2: 1 regular*positions",
)


@pytest.mark.parametrize("text", TEXTS)
class TestRepresentations:
    def test_the_string_parses_back(self, text):
        assert str(Representation.parse(text)) == text

    def test_elements_act_one_after_the_other(self, text):
        representation, generator = Representation.parse(text), torch.Generator().manual_seed(0)
        z = representation.random(6, generator).double()
        g, h = (representation.group.sample(6, generator) for _ in range(2))
        both = representation.transform(z, representation.group.compose(g, h))
        assert torch.allclose(both, representation.transform(representation.transform(z, h), g))

    def test_centred_latents_lose_the_translation_alone(self, text):
        representation, generator = Representation.parse(text), torch.Generator().manual_seed(0)
        z, g = representation.random(6, generator).double(), representation.group.sample(6, generator)
        centred, means = centre(representation, z)
        moved, moved_means = centre(representation, representation.transform(z, g))
        linear = linear_part(representation)
        factors = getattr(representation.group, "factors", (representation.group,))
        parts = representation.group.split(g) if len(factors) > 1 else [g]
        turns = [f.rotation(part) if str(f)[-2] == "E" else part for f, part in zip(factors, parts, strict=True)]
        turn = linear.group.join(turns) if len(turns) > 1 else turns[0]
        assert torch.allclose(moved, linear.transform(centred, turn))
        assert not torch.allclose(moved, linear.transform(z, turn))
        assert torch.allclose(with_shifts(representation.group, turn, moved_means, means), g)


def test_hidden_points_do_not_count():
    representation = Representation.parse("S3 x E2: 1 points*positions")
    z = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [9.0, 9.0]]]).flatten(1)
    centred, (mean,) = centre(representation, z, torch.tensor([[True, True, False]]))
    assert mean.tolist() == [[2.0, 3.0]]
    assert centred[0, :4].tolist() == [-1.0, -1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("O3: 2 positions", "group with translations, such as E3"),
        ("Z2 x E3: 1 signs*positions", "positions times what permutes them"),
        ("E3: 2 (1 positions + 1x0e)", "positions as a term of their own"),
        ("E1: 2 positions", "dimension of at least 2"),
    ],
)
def test_what_translations_cannot_move_is_refused(text, message):
    with pytest.raises(ParseError, match=message):
        Representation.parse(text)


def test_inputs_are_translated_where_their_names_say_positions():
    inputs = {"pos": torch.randn(5, 4, 3), "vel": torch.randn(5, 4, 3), "z": torch.randint(9, (5, 4))}
    group = parse_group("S4 x E3")
    action = member_action(group, inputs)
    assert str(action) == "S4 x E3 permutes pos, vel, z; rotates pos (translated), vel"
    shift = group.factors[1].element(torch.eye(3).double(), torch.ones(3).double())
    g = group.join([torch.arange(4), shift]).expand(5, -1)
    moved = action.transform(inputs, g)
    assert torch.allclose(moved["pos"], inputs["pos"] + 1)
    assert torch.equal(moved["vel"], inputs["vel"])
    said = member_action(group, inputs, {"pos": "nodes and vectors", "vel": "nodes and positions", "z": "nodes"})
    assert torch.equal(said.transform(inputs, g)["pos"], inputs["pos"])
    assert torch.allclose(said.transform(inputs, g)["vel"], inputs["vel"] + 1)
