"""Irreps of e3nn as representations, against e3nn's own matrices."""

import re
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

from lightning_invariant import InvariantCallback, InvariantEncoder, Representation
from lightning_invariant.errors import GroupError, LayerError

o3 = pytest.importorskip("e3nn.o3", reason="needs e3nn")


@pytest.mark.parametrize("text", ["8x0e+4x1o", "0e+1o", "2x1o+1x0o+3x2e+2x1o", "4x0e+0x1o+1x3o"])
def test_irreps_are_read_in_their_order(text):
    irreps = o3.Irreps(text)
    representation = Representation.of(irreps)
    assert Representation.parse(irreps) == representation
    g = representation.group.sample(6, torch.Generator().manual_seed(0))
    theirs = irreps.D_from_matrix(g).double()
    assert torch.allclose(representation.matrices(g), theirs, atol=2e-5)
    if len(representation) > 1:
        turned = Representation(representation.group, representation.blocks[::-1])
        assert not torch.allclose(turned.matrices(g), theirs, atol=0.1)


def test_layers_state_what_they_give():
    layer = o3.Linear("4x0e + 2x1o", "3x0e + 1x1o")
    assert str(Representation.of(layer)) == "O3: 3x0e + 1x1o"
    assert str(Representation.of(torch.nn.Sequential(torch.nn.Identity(), layer))) == "O3: 3x0e + 1x1o"
    with pytest.raises(GroupError, match="irreps_out"):
        Representation.of(torch.nn.Sequential(layer, torch.nn.Linear(6, 6)))


class Cloud(torch.nn.Module):
    """Pooled products of the spherical harmonics of points."""

    def __init__(self, irreps):
        super().__init__()
        self.harmonics, self.irreps_out = o3.Irreps("0e+1o+2e"), o3.Irreps(irreps)
        self.product = o3.FullyConnectedTensorProduct(self.harmonics, self.harmonics, irreps)
        self.mix = o3.FullyConnectedTensorProduct("0e+1o+2e", irreps, irreps)

    def forward(self, pos):
        around = o3.spherical_harmonics(self.harmonics, pos, True, "component") * pos.norm(dim=-1, keepdim=True)
        summed = around.mean(1)
        return self.mix(summed, self.product(summed, around[:, 0]))


class Module(pl.LightningModule):
    def __init__(self, irreps):
        super().__init__()
        self.encoder = Cloud(irreps)
        self.head = torch.nn.Linear(self.encoder.irreps_out.dim, 3)

    def forward(self, pos):
        return self.head(self.encoder(pos))

    def training_step(self, batch, _):
        return torch.nn.functional.cross_entropy(self(batch[0]), batch[1])

    validation_step = training_step

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 1e-3)


def fitted(module, callback):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(320, 6, 3, generator=generator)
    y = (x[:, 0].norm(dim=-1) * 2).long() % 3
    train, val = (DataLoader(TensorDataset(x[i::2], y[i::2]), 40) for i in range(2))
    settings = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    settings["default_root_dir"] = tempfile.mkdtemp()
    trainer = pl.Trainer(max_epochs=1, callbacks=[callback], accelerator="cpu", enable_model_summary=False, **settings)
    trainer.fit(module, train, val)
    return x[1::2]


@pytest.mark.parametrize("irreps", ["4x0e+3x1o+2x2e", "8x0e", "2x1o+4x0e+1x1o"])
def test_one_line_is_enough(irreps, tmp_path):
    torch.manual_seed(0)
    module = Module(irreps)
    callback = InvariantCallback("encoder", max_overhead=None, figures=None, export=tmp_path / "folder")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        x = fitted(module, callback)
    assert [str(w.message) for w in caught if "lightning-invariant:" in str(w.message)] == []
    assert callback.representation == Representation.parse(o3.Irreps(irreps))
    numbers = callback.report.scalars
    assert numbers["invariance/equivariance_error"] < 1e-4
    assert numbers["invariance/error"] < 1e-4
    assert (numbers["invariance/error_raw"] > 0.1) == (irreps != "8x0e")
    with torch.no_grad():
        live = callback.projection(module.eval().encoder(x))
        pulled = InvariantEncoder.from_pretrained(tmp_path / "folder")(x)
    assert torch.allclose(pulled, live, atol=1e-4 * float(live.abs().max()))


@pytest.mark.parametrize("declared", ["O3: 8 trivial", "SO3: 8 trivial"])
def test_scalars_may_be_declared_in_any_words(declared):
    torch.manual_seed(0)
    callback = InvariantCallback("encoder", declared, max_overhead=None, figures=None)
    fitted(Module("8x0e"), callback)
    assert callback.report.scalars["invariance/equivariance_error"] < 1e-4


def test_what_contradicts_the_layer_is_an_error():
    with pytest.raises(LayerError, match="'O3: 2x0e \\+ 2x1o', but 'O3: 2x1o \\+ 2x0e' was declared"):
        fitted(Module("2x0e+2x1o"), InvariantCallback("encoder", "O3: 2x1o + 2x0e"))


def test_the_documentation_reads_irreps():
    text = (Path(__file__).parents[2] / "docs" / "inputs.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```py\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    done = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [line[2:] for line in block.splitlines() if line.startswith("# ")]
