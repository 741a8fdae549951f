"""Which call is made again, shown on the capture alone: no Trainer, no fit."""

import copy

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from lightning_invariant.batch import BatchReader
from lightning_invariant.callback.capture.frames import alike, difference
from lightning_invariant.errors import LatentError, LayerError
from lightning_invariant.zoo.quarter_turns import QuarterTurnEncoder


def images(rows=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(rows, 1, 8, 8, generator=generator), torch.arange(rows) % 3


class Net(pl.LightningModule):
    """`forward` calls the encoder."""

    def __init__(self, encoder=None):
        super().__init__()
        torch.manual_seed(0)
        self.encoder = encoder or QuarterTurnEncoder(1, 4)
        self.head = nn.Linear(16, 3)
        self.eval()

    def forward(self, x):
        return self.head(self.encoder(x).flatten(1))

    def validation_step(self, batch, batch_idx):
        return self(batch[0])


class NoForward(Net):
    def validation_step(self, batch, batch_idx):
        return self.head(self.encoder(batch[0]).flatten(1))


class Normalised(Net):
    """Inputs are normalised in place before they get to the encoder, and zeroed behind it."""

    def validation_step(self, batch, batch_idx):
        x = batch[0].clone()
        x.sub_(0.5)
        self.head(self.encoder(x).flatten(1))
        x.zero_()


class InPlaceBehind(Net):
    def validation_step(self, batch, batch_idx):
        self.encoder(batch[0]).zero_()


class Chained(Net):
    """What goes into the encoder was computed by another layer."""

    def __init__(self):
        super().__init__()
        self.before = nn.Conv2d(1, 1, 1)

    def validation_step(self, batch, batch_idx):
        self.encoder(self.before(batch[0]))


class Scaled(Net):
    def forward(self, x, scale=1.0, names=None):
        return self.encoder(x * scale)

    def validation_step(self, batch, batch_idx):
        self(batch[0], scale=2.0, names=["a", None])


class Dictionary(Net):
    def forward(self, inputs):
        return self.encoder(inputs["image"])

    def validation_step(self, batch, batch_idx):
        self({"image": batch["image"], "meta": {"id": batch["id"]}})


class TwoViews(Net):
    def validation_step(self, batch, batch_idx):
        self(batch[0])
        self(batch[0].flip(-1))


class OtherFirst(Net):
    """The layer runs on something else before it runs on the batch."""

    def validation_step(self, batch, batch_idx):
        self.encoder(torch.ones(2, 1, 8, 8))
        self(batch[0])


class BatchCoupled(Net):
    def forward(self, x):
        return self.encoder(x - x.mean(0))


class Noisy(Net):
    def forward(self, x):
        return self.encoder(x + torch.randn_like(x))


class NumpyNoise(Net):
    def forward(self, x):
        return self.encoder(x * np.random.rand())


class Remembering(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.state = nn.Linear(64, 16), None

    def forward(self, x):
        z = self.linear(x.flatten(1))
        self.state = z.mean(0) if self.state is None else self.state + z.mean(0)
        return z + self.state


class Recurrent(Net):
    def __init__(self):
        torch.manual_seed(0)
        super().__init__(Remembering())


class Closure(Net):
    """A function holds the live encoder, so that a copy of the module calls that one."""

    def __init__(self):
        super().__init__()
        live = self.encoder
        self.call = lambda x: live.body(x).mean((-2, -1))
        self.encoder.forward = self.call


class TimeFirst(Net):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(4, 16))

    def forward(self, x):
        return self.encoder(x.mean(0))

    def validation_step(self, batch, batch_idx):
        self(batch[0])


CASES = {
    "forward": (Net, "the LightningModule's forward, any rows"),
    "no forward": (NoForward, "the call of 'encoder', any rows"),
    "normalised in place": (Normalised, "the call of 'encoder', any rows"),
    "written behind the layer": (InPlaceBehind, "the call of 'encoder', any rows"),
    "hidden feature": (Chained, "the whole validation_step, any rows"),
    "arguments that are no tensors": (Scaled, "the LightningModule's forward, any rows"),
    "two views": (TwoViews, "the LightningModule's forward, any rows"),
    "another call first": (OtherFirst, "the LightningModule's forward, any rows"),
    "coupled by the batch": (BatchCoupled, "the LightningModule's forward, whole batches"),
    "random": (Noisy, "the LightningModule's forward, whole batches"),
    "random by NumPy": (NumpyNoise, "the LightningModule's forward, whole batches"),
}


@pytest.mark.parametrize("name", CASES)
def test_the_call_that_leads_from_inputs_to_the_latent(validated, name):
    kind, expected = CASES[name]
    module, batch = kind(), images()
    capture = validated(module, [batch])
    assert str(capture.way) == expected, capture.reason
    kept = capture.kept[0]
    assert len(kept.bank) == 12
    (part,) = kept.calls.chunks(torch.arange(12))
    with capture.copied.running(0):
        again = capture.run(copy.deepcopy(part.arguments), 0)
    assert capture.way.repeatable == ("random" not in name)
    if capture.way.repeatable:
        assert torch.allclose(again, kept.bank.columns["z"], atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_what_was_recorded_is_the_layers_own_output(validated, name):
    kind, _ = CASES[name]
    module, batch = kind(), images()
    hooked = []
    module.encoder.register_forward_hook(lambda m, given, output: hooked.append(output.clone()))
    torch.manual_seed(1)
    np.random.seed(1)
    capture = validated(module, [batch])
    found = capture.kept[0].bank.columns["z"]
    assert any(torch.equal(found, output.flatten(1)) for output in hooked if len(output) == len(found))


def test_transformed_inputs_go_through_what_stands_before_the_layer(validated):
    """With a hidden feature as input, a quarter turn of it would be exact; of the batch it is not."""
    module, (x, y) = Chained(), images()
    with torch.no_grad():
        module.before.weight.fill_(2.0)
    capture = validated(module, [(x, y)])
    with capture.copied.running(0):
        found = capture.run({"batch": (x.rot90(1, (2, 3)), y), "batch_idx": 0}, 0)
    expected = module.encoder(module.before(x.rot90(1, (2, 3)))).flatten(1)
    assert torch.allclose(found, expected, atol=1e-6)


def test_arguments_are_those_of_the_call(validated):
    module, batch = Scaled(), images()
    (part,) = validated(module, [batch]).kept[0].calls.chunks(torch.arange(12))
    assert set(part.arguments) == {"x", "scale", "names"}
    assert part.arguments["scale"] == 2.0
    assert torch.equal(part.arguments["x"], batch[0])
    assert part.arguments["x"] is not batch[0]


def test_dictionaries_and_other_labels(validated):
    x, y = images()
    batch = {"image": x, "id": torch.arange(12), "label": y}
    capture = validated(Dictionary(), [batch])
    assert str(capture.way) == "the LightningModule's forward, any rows"
    assert torch.equal(capture.kept[0].bank.columns["y"], y)


def test_time_first_arguments_have_their_rows_on_the_second_axis(validated):
    x = torch.randn(5, 12, 4)
    capture = validated(TimeFirst(), [(x, torch.arange(12))])
    assert str(capture.way) == "the LightningModule's forward, any rows"
    assert capture.way.layout.axes == {"x": 1}


def test_a_state_that_changes_the_latents_is_refused_with_the_reason(validated):
    module = Recurrent()
    capture = validated(module, [images(), images(seed=1)])
    assert capture.way is None
    assert "gives other latents when it is made again" in capture.reason
    assert len(capture.kept[0].bank) == 24  # latents are recorded nevertheless
    assert capture.kept[0].calls is None


def test_the_live_state_is_that_of_a_run_without_a_capture(validated):
    watched, bare = Recurrent(), Recurrent()
    with torch.no_grad():
        for number, batch in enumerate([images(), images(seed=1)]):
            bare.validation_step(batch, number)
    validated(watched, [images(), images(seed=1)])
    assert torch.equal(watched.encoder.state, bare.encoder.state)


def test_a_copy_that_would_call_the_live_network_is_known(validated):
    capture = validated(Closure(), [images()])
    assert capture.copied.is_live
    assert "would read the live weights" in capture.said["live copy"]


def test_nan_is_not_like_a_number():
    z = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    broken = z.clone()
    broken[0, 0] = float("nan")
    assert alike(z, z)
    assert not alike(broken, z)
    assert not alike(z, broken)
    assert alike(broken, broken)
    assert not alike(z, z * 1.01)
    assert difference(z[:1], z) == float("inf")
    assert difference(torch.full((2, 2), float("nan")), z) == float("inf")


def test_a_layer_that_never_runs_is_named_with_what_stands_around_it(validated):
    class Fused(Net):
        def __init__(self):
            super().__init__()
            self.encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
            self.eval()

        def validation_step(self, batch, batch_idx):
            self.encoder(torch.randn(3, 4, 8))

    with pytest.raises(LayerError, match=r"'encoder\.linear1' to be called .* 'encoder' may run it"):
        validated(Fused(), [images()], layer="encoder.linear1")


def test_a_layer_inside_of_a_scripted_module_is_refused_before_anything_runs(validated):
    module = Net(torch.jit.script(nn.Sequential(nn.Flatten(), nn.Linear(64, 16))))
    with pytest.raises(LayerError, match="scripted as one; name 'encoder'"):
        validated(module, [], layer="encoder.1")
    capture = validated(module, [images()], representation="C4: 16 trivial")
    assert str(capture.way) == "the LightningModule's forward, any rows"


@pytest.mark.parametrize("compiled", ["in place", "wrapper"])
def test_a_layer_inside_of_compiled_code_is_read_off_an_eager_copy(validated, compiled):
    module = Net()
    if compiled == "in place":
        module.encoder.compile(backend="eager")
    else:
        module.encoder = torch.compile(module.encoder, backend="eager")
    x, y = images()
    capture = validated(module, [(x, y)], layer="encoder.body", pool="mean")
    assert str(capture.way) == "the whole validation_step, any rows"
    assert not capture.way.recorded
    expected = Net().encoder.body(x).mean((-2, -1)).flatten(1)
    assert torch.allclose(capture.kept[0].bank.columns["z"], expected, atol=1e-5)
    whole = validated(module, [(x, y)])
    assert whole.way.recorded
    torch._dynamo.reset()


def test_a_function_of_module_and_batch(validated):
    x, y = images()
    capture = validated(NoForward(), [(x, y), (x + 1, y)], layer=lambda module, batch: module.encoder(batch[0]))
    assert str(capture.way) == "the function given as layer, any rows"
    expected = NoForward().encoder(torch.cat([x, x + 1])).flatten(1)
    assert torch.allclose(capture.kept[0].bank.columns["z"], expected, atol=1e-6)


def test_padded_sets_carry_their_mask(validated):
    class Sets(Net):
        def __init__(self):
            super().__init__(nn.Linear(2, 8))

        def forward(self, x, key_padding_mask):
            return self.encoder(x).masked_fill(key_padding_mask[..., None], 0)

        def validation_step(self, batch, batch_idx):
            self(batch["x"], batch["pad"])

    pad = torch.arange(5) >= torch.arange(1, 7)[:, None].clamp(max=5)
    batch = {"x": torch.randn(6, 5, 2), "pad": pad}
    reader = BatchReader(mask=lambda found: ~found["pad"])
    capture = validated(Sets(), [batch], representation="S5: 5 points x 8", batch=reader)
    assert str(capture.way) == "the LightningModule's forward, any rows"
    packed = capture.kept[0].bank.columns["z"].reshape(6, 5, 9)
    assert torch.equal(packed[..., -1] > 0.5, ~pad)
    assert not packed[..., :-1][pad].any()


def test_views_that_went_through_the_layer_as_one_batch_count_once(validated):
    class Views(Net):
        def validation_step(self, batch, batch_idx):
            (one, other), _ = batch
            self.encoder(torch.cat([one, other]))

    x, y = images()
    capture = validated(Views(), [([x, x.flip(-1)], y)])
    assert len(capture.kept[0].bank) == 12
    assert torch.equal(capture.kept[0].bank.columns["z"], Net().encoder(x).flatten(1))
    assert torch.equal(capture.kept[0].bank.columns["y"], y)


def test_latents_that_do_not_fit_are_an_error(validated):
    with pytest.raises(LatentError, match=r"\(B, 8\) or \(B, 2, 4\) for C4: 2 regular but got \(12, 4, 4\)"):
        validated(Net(), [images()], representation="C4: 2 regular")


def test_the_sample_is_the_same_at_every_validation(validated):
    batches = [images(seed=seed) for seed in range(9)]
    one = validated(Net(), batches)
    two = validated(Net(), batches, runs=2)
    kept = one.kept[0].calls.keys()[:, 1], two.kept[0].calls.keys()[:, 1]
    assert torch.equal(*kept)
    assert len(one.kept[0].bank) == 64
    assert len(kept[0]) >= 32
    assert set(kept[0].tolist()) <= set(one.kept[0].bank.keys[:, 1].tolist()) | set(kept[0].tolist())


def test_nothing_is_left_in_the_network(validated):
    module = Net()
    before = {name: set(part.__dict__) for name, part in module.named_modules()}
    capture = validated(module, [images()])
    capture.release()
    assert {name: set(part.__dict__) for name, part in module.named_modules()} == before
    assert not any(part._forward_hooks for part in module.modules())


def test_a_users_hook_that_keeps_outputs_is_not_fed_by_calls_of_ours(validated):
    module, kept = Net(), []
    module.encoder.register_forward_hook(lambda part, given, output: kept.append(output))
    capture = validated(module, [images()])
    assert str(capture.way) == "the LightningModule's forward, any rows"
    assert not capture.way.hooks
    assert len(kept) == 1


def test_a_users_hook_that_belongs_to_the_computation_stays_on_the_copy(validated):
    module, factor = Net(), 3.0
    module.encoder.body[0].register_forward_hook(lambda part, given, output: output * factor)
    capture = validated(module, [images()])
    assert str(capture.way) == "the LightningModule's forward, any rows"
    assert capture.way.hooks


def test_a_step_that_takes_an_iterator_is_served_by_the_call_within(validated):
    class Iterates(Net):
        def validation_step(self, dataloader_iter, *others):
            self(dataloader_iter[0])

    class Hidden(Chained):
        def validation_step(self, dataloader_iter, *others):
            super().validation_step(dataloader_iter, 0)

    assert str(validated(Iterates(), [images()]).way) == "the LightningModule's forward, any rows"
    capture = validated(Hidden(), [images()])
    assert capture.way is None
    assert "gets what is not in the batch (x)" in capture.reason
