"""A slot sees every call, and nothing else sees the slot."""

import copy
import io
import pickle

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from lightning_invariant.callback.capture.frames import ATTRIBUTE, put_in, take_out, watching


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)

    def forward(self, x, scale=1.0):
        return self.linear(x) * scale


class Lit(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.inner = Small()

    def forward(self, x):
        return self.inner(x)


def recording(into):
    def watch(module, call, args, kwargs):
        output = call(*args, **kwargs)
        into.append((module, args, kwargs, output))
        return output

    return watch


def test_arguments_and_output_are_seen_while_the_block_runs_only():
    module, seen, x = Small(), [], torch.ones(1, 3)
    with watching({module: recording(seen)}):
        output = module(x, scale=2.0)
    module(x)
    assert len(seen) == 1
    assert seen[0][0] is module
    assert seen[0][1] == (x,)
    assert seen[0][2] == {"scale": 2.0}
    assert seen[0][3] is output
    assert ATTRIBUTE not in module.__dict__


def test_it_is_taken_out_after_an_exception():
    module = Small()
    with pytest.raises(RuntimeError), watching({module: recording([])}):
        module(torch.ones(1, 4))
    assert ATTRIBUTE not in module.__dict__


@pytest.mark.parametrize("kind", [Small, Lit])
@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), "save"], ids=["deep copy", "pickle", "save"]
)
def test_copies_and_pickles_carry_nothing(kind, copied):
    module, seen, x = kind(), [], torch.ones(1, 3)
    with watching({part: recording(seen) for part in module.modules()}):
        if copied == "save":
            torch.save(module, buffer := io.BytesIO())
            buffer.seek(0)
            other = torch.load(buffer, weights_only=False)
        else:
            other = copied(module)
    assert all(part.__dict__.get(ATTRIBUTE) is None for part in other.modules())
    expected = other(x)
    assert not seen
    assert torch.equal(module(x), expected)


def test_scripting_tracing_and_exporting_in_the_middle_of_a_batch():
    module, seen, x = nn.Sequential(nn.Linear(3, 2), nn.ReLU()).eval(), [], torch.ones(2, 3)
    with watching({part: recording(seen) for part in module.modules()}):
        scripted = torch.jit.script(module)
        traced = torch.jit.trace(module, x)
        exported = torch.export.export(module, (x,)).module()
    expected = module(x)
    for other in (scripted, traced, exported):
        assert torch.equal(other(x), expected)


def test_a_compiled_module_is_seen_and_stays_compiled():
    module, seen, x = Small(), [], torch.ones(1, 3)
    module.compile(backend="eager")
    before = module.__dict__[ATTRIBUTE]
    with watching({module: recording(seen)}):
        module(x)
    assert len(seen) == 1
    assert module.__dict__[ATTRIBUTE] is before


def test_the_fused_path_of_attention_is_left_on():
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).eval()
    x, seen = torch.randn(4, 5, 16), []
    with torch.no_grad():
        expected = layer(x)
        with watching({layer: recording(seen), layer.linear1: recording([])}):
            found = layer(x)
        hooked = layer.register_forward_hook(lambda *given: None)
        inner = layer.linear1.register_forward_hook(lambda *given: None)
        other = layer(x)
    hooked.remove()
    inner.remove()
    assert torch.equal(found, expected)  # to the bit
    assert not torch.equal(other, expected) or torch.allclose(other, expected, atol=1e-5)
    assert torch.equal(seen[0][3], expected)


def test_users_hooks_run_inside():
    module, seen, hooked = Small(), [], []
    module.register_forward_hook(lambda m, given, output: hooked.append(output) or output * 3)
    with watching({module: recording(seen)}):
        output = module(torch.ones(1, 3))
    assert seen[0][3] is output
    assert torch.equal(output, hooked[0] * 3)


def test_several_watches_are_undone_in_one_call():
    module = nn.Sequential(Small(), Small())
    slots = put_in(dict.fromkeys(module.modules(), recording([])))
    assert all(ATTRIBUTE in part.__dict__ for part in module.modules())
    take_out(slots)
    assert not any(ATTRIBUTE in part.__dict__ for part in module.modules())
    take_out(slots)
