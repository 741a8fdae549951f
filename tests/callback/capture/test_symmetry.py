"""Where the representation comes from, and what is said where nothing tells it."""

import sys
from tempfile import mkdtemp

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

from lightning_invariant import InvariantCallback, Representation, choose
from lightning_invariant.callback.capture.latent import Symmetry
from lightning_invariant.errors import LatentError
from lightning_invariant.groups.agreement import admitted, contradicts


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """What a training run writes beside itself stays out of the repository."""
    monkeypatch.chdir(tmp_path)


class Module(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.encoder = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 8))

    def training_step(self, batch, _):
        return self.encoder(batch[0]).square().mean()

    validation_step = training_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def fit(callback, **settings):
    loader = DataLoader(TensorDataset(torch.randn(16, 1, 4, 4)), 8)
    module, off = Module(), {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    before = [parameter.clone() for parameter in module.parameters()]
    trainer = pl.Trainer(
        max_epochs=1, callbacks=[callback], accelerator="cpu", default_root_dir=mkdtemp(), **off, **settings
    )
    try:
        trainer.fit(module, loader, loader)
    finally:
        unchanged = all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))
        callback.unchanged = unchanged


def test_what_nothing_says_is_an_error_with_what_fits():
    callback = InvariantCallback("encoder")
    with pytest.raises(LatentError, match=r"output \(8, 8\) says it; give representation=, such as 'C4: 2 regular'"):
        fit(callback)
    assert callback.unchanged


def test_without_a_sanity_check_it_is_known_before_the_first_step(monkeypatch):
    monkeypatch.delitem(sys.modules, "escnn.nn", raising=False)  # otherwise a layer may yet give what is of escnn
    callback = InvariantCallback("encoder")
    with pytest.raises(LatentError, match="the layer does not say it; give representation="):
        fit(callback, num_sanity_val_steps=0)
    assert callback.unchanged


def test_a_projection_says_its_representation():
    callback = InvariantCallback("encoder", projection=choose("C4: 2 regular"), figures=None)
    assert callback.representation == Representation.parse("C4: 2 regular")
    fit(callback)
    assert not callback.unchanged


@pytest.mark.parametrize("shape", [(64,), (9, 16), (16, 4), (32, 7, 7), (10, 3), (13,), (1, 8)])
def test_all_that_is_admitted_can_be_typed_and_fits(shape):
    assert admitted(shape)
    for text in admitted(shape):
        words, pooled = text.removesuffix(" (with pool='mean')"), text.endswith("'mean')")
        representation = Representation.parse(words)
        representation.flatten(torch.zeros(2, *(shape[:1] if pooled else shape)))


def test_what_fits_nothing_is_to_be_made_rows_of_numbers():
    symmetry = Symmetry("encoder", None)
    symmetry.see(torch.zeros(2, 3, 5, 7))
    assert admitted((3, 5, 7)) == []
    with pytest.raises(LatentError, match="and rows of numbers by pick= or pool="):
        symmetry.representation  # noqa: B018


@pytest.mark.parametrize(
    ("declared", "read", "expected"),
    [
        ("D4: 2 regular", "D4: 2 regular", False),
        ("C4: 4 regular", "D4(axis=90): 2 regular", False),
        ("D4: 2 regular", "D4(axis=90): 2 regular", True),
        ("C2: 16 trivial", "D4: 2 regular", True),
        ("O2: 4x1", "O2(axis=90): 4x1", True),
        ("SO2: 4x1", "O2(axis=90): 4x1", False),
        ("C4: 4x1", "SO2: 4x1", False),
        ("C4: 8 trivial", "SO2: 4x1", True),
        ("O3: 2x0e + 2x1o", "O3: 2x0e + 2x1o", False),
        ("SO3: 2x0 + 2x1", "O3: 2x0e + 2x1o", False),
        ("O3: 2x1o + 2x0e", "O3: 2x0e + 2x1o", True),
        ("S8: 8 points", "C4: 2 regular", False),  # not to be told
        ("C4: 3 regular", "C4: 2 regular", True),
        ("C4: 4 regular", "C4: 2 regular", False),  # the latent's shape decides
    ],
)
def test_what_contradicts(declared, read, expected):
    assert contradicts(Representation.parse(declared), Representation.parse(read)) == expected


def test_what_was_read_is_forgotten_with_the_run():
    symmetry = Symmetry("encoder", None)
    symmetry.see(torch.zeros(4, 8))
    with pytest.raises(LatentError, match=r"\(4, 8\)"):
        symmetry.representation  # noqa: B018
    symmetry.begin()
    with pytest.raises(LatentError, match="the layer does not say it"):
        symmetry.representation  # noqa: B018
