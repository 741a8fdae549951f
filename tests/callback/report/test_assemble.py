"""The latents of one report, put together from a capture: no Trainer, no fit."""

import pytest
import torch
from torch import nn

from lightning_invariant.callback.capture.capture import Sizes
from lightning_invariant.callback.report.assemble import ELEMENTS, Assembler, _least
from lightning_invariant.errors import LatentError
from lightning_invariant.groups import Cyclic, Representation
from lightning_invariant.groups.actions import member_action
from lightning_invariant.zoo.quarter_turns import QuarterTurnEncoder
from tests.callback.loops import data


class Net(nn.Module):
    def __init__(self, encoder=None):
        super().__init__()
        torch.manual_seed(0)
        self.encoder = encoder or QuarterTurnEncoder(1, 4)
        self.eval()

    def forward(self, x):
        return self.encoder(x)

    def validation_step(self, batch, batch_idx):
        return self(batch[0])


class Coupled(Net):
    """The latents of a row depend on the other rows of its batch."""

    def forward(self, x):
        return self.encoder(x - x.mean(0, keepdim=True))


class Noisy(Net):
    """Draws noise on its inputs, in validation too."""

    def forward(self, x):
        return self.encoder(x + 0.5 * torch.randn_like(x))


X, Y = data(90, 1).tensors


def batches(size=16, rows=90):
    return list(zip(X[:rows].split(size), Y[:rows].split(size), strict=True))


def assembled(capture, text="C4: 4 regular", seed=0, **settings):
    """What a report on a capture starts from."""
    group = Representation.parse(text).group
    action = member_action(group, capture.example, None, capture.way.layout)
    return Assembler(capture, group, seed).assemble(0, action, "", **settings)


def rotated(x, elements):
    return torch.stack([row.rot90(int(g), (1, 2)) for row, g in zip(x, elements, strict=True)])


def encode(x, module=None):
    with torch.no_grad():
        return (module or Net()).encoder(x).flatten(1)


def test_queries_are_rows_of_the_bank_and_their_transforms_are_encoded(validated):
    capture = validated(Net(), batches(), sizes=Sizes(64, 32))
    found = assembled(capture)
    latents, places = found.latents, capture.kept[0].bank.keys[:, 1].sort().values
    assert (len(latents.bank), len(latents.queries)) == (64, 32)
    assert (found.queries, found.available) == (32, 32)
    assert torch.allclose(latents.bank, encode(X[places]), atol=1e-6)
    assert torch.equal(latents.labels, Y[places])
    mine = places[latents.queries]
    assert len(mine.unique()) == 32
    assert mine.tolist() != list(range(32))  # no split that follows the data's order
    turned = encode(rotated(X[mine], latents.elements))
    assert torch.allclose(latents.transformed, turned, atol=1e-5)
    assert not torch.allclose(latents.transformed, encode(X[mine]), atol=1e-2)
    assert latents.untransformed is None  # the bank's own rows are compared with
    assert set(latents.elements.tolist()) == {0, 1, 2, 3}


def same(one, other, *, atol=0.0):
    return all(
        torch.allclose(getattr(one.latents, name).double(), getattr(other.latents, name).double(), atol=atol, rtol=0)
        for name in ("bank", "queries", "elements", "transformed")
    )


def test_every_validation_has_the_same_rows_and_elements(validated):
    one, again = (assembled(validated(Net(), batches(), sizes=Sizes(64, 32), runs=runs)) for runs in (1, 3))
    assert same(one, again)
    by_five = assembled(validated(Net(), batches(5), sizes=Sizes(64, 32)))
    assert same(one, by_five, atol=1e-5)
    other = assembled(validated(Net(), batches(), sizes=Sizes(64, 32, seed=1)), seed=1)
    assert not torch.equal(one.latents.queries, other.latents.queries)
    assert not torch.equal(one.latents.elements, other.latents.elements)


def test_a_limit_takes_some_of_the_same_queries(validated):
    capture = validated(Net(), batches(), sizes=Sizes(64, 32))
    all_of_them, few = assembled(capture), assembled(capture, limit=10)
    assert (few.queries, few.available, len(few.latents.transformed)) == (10, 32, 10)
    assert set(few.latents.queries.tolist()) < set(all_of_them.latents.queries.tolist())
    assert torch.equal(few.latents.bank, all_of_them.latents.bank)
    assert assembled(capture, limit=1000).queries == 32


@pytest.mark.parametrize("processes", [1, 2, 3, 7])
def test_the_choice_of_rows_is_the_same_for_any_number_of_processes(processes):
    generator = torch.Generator().manual_seed(0)
    keys = torch.stack([torch.randint(2**62, (50,), generator=generator), torch.randperm(50, generator=generator)], 1)
    owned = [keys[rank::processes] for rank in range(processes)]
    twice = [*owned[:-1], torch.cat([owned[-1], owned[0][:3]])]  # a sampler repeats rows so that all have as many
    for parts in (owned, twice):
        chosen = _least(parts, 20)
        assert len(chosen) == processes
        assert all(torch.equal(part, part.sort().values) for part in chosen)
        expected = keys[keys[:, 0].argsort()[:20], 1]
        assert sorted(torch.cat(chosen).tolist()) == sorted(expected.tolist())
        owners = [set(part[:, 1].tolist()) for part in parts]
        assert all(set(part.tolist()) <= owner for part, owner in zip(chosen, owners, strict=True))
    assert sorted(torch.cat(_least(owned, 99)).tolist()) == list(range(50))


def test_no_row_from_a_process_without_any():
    assert [part.tolist() for part in _least([torch.empty(0, 2).long(), torch.tensor([[5, 1], [3, 0]])], 1)] == [
        [],
        [0],
    ]


def test_whole_calls_where_rows_depend_on_each_other(validated):
    module = Coupled()
    capture = validated(module, batches(rows=48), sizes=Sizes(64, 20))
    assert not capture.way.by_rows
    found = assembled(capture).latents
    mine = found.queries  # the bank holds every row
    elements = dict(zip(mine.tolist(), found.elements.tolist(), strict=True))
    expected = {}
    for start in set((mine // 16 * 16).tolist()):
        rows = range(start, start + 16)
        if set(rows) <= elements.keys():  # every row of the call was transformed
            turned = rotated(X[start : start + 16], [elements[row] for row in rows])
            expected |= dict(zip(rows, encode(turned - turned.mean(0), module), strict=True))
    assert len(expected) >= 16
    for row, z in zip(mine.tolist(), found.transformed, strict=True):
        if row in expected:
            assert torch.allclose(z, expected[row], atol=1e-5)
    alone = encode(rotated(X[mine], found.elements) - X[:16].mean(0), module)
    assert not torch.allclose(found.transformed, alone, atol=1e-3)


def test_both_sides_from_the_copy_with_the_same_random_numbers_where_the_forward_is_random(validated):
    capture = validated(Noisy(), batches(rows=32), sizes=Sizes(64, 32))
    assert not capture.way.repeatable
    state = torch.get_rng_state()
    found = assembled(capture).latents
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.allclose(found.untransformed, found.bank[found.queries], atol=1e-2)
    identity = found.elements == 0
    assert identity.any()
    assert torch.equal(found.transformed[identity], found.untransformed[identity])
    again = assembled(capture).latents
    assert torch.equal(found.transformed, again.transformed)
    assert torch.equal(found.untransformed, again.untransformed)


def change(x, there, back):
    """What transforming an image there and back changes."""
    action = member_action(Cyclic(8), {"x": x})
    after = action.transform(action.transform({"x": x}, there), back)["x"]
    return (after - x).double().flatten(1).norm(dim=1) / x.double().flatten(1).norm(dim=1)


class Pooled(Net):
    def __init__(self):
        super().__init__(nn.Sequential(nn.Flatten(), nn.Linear(64, 16)))


def test_a_round_trip_goes_back_by_the_inverse(validated):
    group = Cyclic(8)
    capture = validated(Pooled(), batches(), "encoder", "C8: 2 regular")
    found = assembled(capture, "C8: 2 regular").latents
    x, g = X[capture.kept[0].bank.keys[:, 1].sort().values[found.queries]], found.elements
    exact = g % 2 == 0
    assert torch.equal(found.round_trip[exact], torch.zeros(int(exact.sum())))
    expected = change(x, g, group.inverse(g))
    assert torch.allclose(found.round_trip[~exact].double(), expected[~exact], atol=1e-5)
    assert (expected[~exact] > 1e-3).all()
    wrong = change(x, g, g)
    assert (wrong[~exact] > found.round_trip[~exact] + 0.1).all()


def test_with_the_element_in_place_of_its_inverse_a_round_trip_would_be_seen_to_be_longer(validated, monkeypatch):
    capture = validated(Pooled(), batches(), "encoder", "C8: 2 regular")
    right = assembled(capture, "C8: 2 regular").latents.round_trip
    monkeypatch.setattr(Cyclic, "inverse", lambda self, g: g)
    assert assembled(capture, "C8: 2 regular").latents.round_trip.max() > right.max() + 0.1


def test_round_trips_are_measured_on_some_inputs_only(validated, monkeypatch):
    from lightning_invariant.callback.report import assemble

    capture = validated(Pooled(), batches(), "encoder", "C8: 2 regular", sizes=Sizes(90, 90))
    everything = assembled(capture, "C8: 2 regular").latents
    assert not everything.round_trip.isnan().any()
    monkeypatch.setattr(assemble, "RETURNED", 10)
    few = assembled(capture, "C8: 2 regular").latents
    known = ~few.round_trip.isnan()
    inexact = few.elements % 2 == 1
    assert known[inexact].nonzero()[:, 0].tolist() == [
        i for i, place in enumerate(inexact.nonzero()[:, 0].tolist()) if place % 9 == 0
    ]
    assert torch.equal(few.round_trip[known], everything.round_trip[known])


def test_without_an_action_there_are_latents_and_the_reason(validated):
    capture = validated(Net(), batches())
    latents = Assembler(capture, Cyclic(4), 0).assemble(0, None, "nobody knows how").latents
    assert len(latents.bank) == 64
    assert (latents.transformed, latents.elements, latents.reason) == (None, None, "nobody knows how")


def test_other_weights_encode_both_sides(validated):
    capture = validated(Net(), batches(), sizes=Sizes(64, 32))
    module = Net()
    with torch.no_grad():
        module.encoder.body[0].weight.mul_(-1.5)
    ours = assembled(capture).latents
    found = assembled(capture, copied=capture.copy_of(module)).latents
    places = capture.kept[0].bank.keys[:, 1].sort().values[ours.queries]
    assert torch.equal(found.queries, torch.arange(32))
    assert torch.allclose(found.bank, encode(X[places], module), atol=1e-6)
    assert torch.allclose(found.transformed, encode(rotated(X[places], found.elements), module), atol=1e-5)
    assert torch.equal(found.labels, Y[places])


def test_no_latents_at_all_are_an_error(validated):
    capture = validated(Net(), batches())
    with pytest.raises(LatentError, match="got none from loader 3"):
        Assembler(capture, Cyclic(4), 0).assemble(3, None, "")


def test_elements_do_not_follow_the_numbers_of_small_seeds(validated):
    drawn = Assembler(validated(Net(), batches()), Cyclic(4), 0).elements(64)
    assert torch.equal(drawn, Cyclic(4).sample(64, torch.Generator().manual_seed(ELEMENTS)))
    assert not torch.equal(drawn, Cyclic(4).sample(64, torch.Generator().manual_seed(0)))
