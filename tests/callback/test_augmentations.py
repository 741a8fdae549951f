"""Augmentations as sampled transforms inside the callback."""

import random

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from lightning_invariant import InvariantCallback, InvariantEncoder
from lightning_invariant.callback.export.fitted_head import fitted_head
from lightning_invariant.encoder.verify import verify
from lightning_invariant.errors import ActionError
from lightning_invariant.projections import SampledMax, SampledMean
from tests.callback.loops import fit
from tests.test_orbit_layer import Ordinary

TEXT = "Sampled: 16 trivial"


def turned(x):
    """As torchvision draws: from Python's, NumPy's and torch's global random numbers."""
    x = torch.rot90(x, random.randrange(4), (-2, -1))
    return x + 0.1 * torch.randn_like(x) + 0.0 * float(np.random.rand())


class Turned(nn.Module):
    """As kornia's modules: a batch axis is added, and the module remembers what it drew."""

    def forward(self, x):
        self.angle = int(torch.randint(4, (1,)))
        return torch.rot90(x[None], self.angle, (-2, -1))


def seeded(x, generator):
    return torch.rot90(x, int(torch.randint(4, (1,), generator=generator)), (-2, -1))


def watched(folder, action, projection=None, **settings):
    callback = InvariantCallback("encoder", TEXT, projection, action=action, **{"figures": None, **settings})
    module, _ = fit([callback], folder, Ordinary())
    return callback, module


@pytest.mark.parametrize("action", [turned, Turned(), seeded, {"x": turned}])
def test_any_augmentation_is_measured_and_training_is_untouched(tmp_path, action):
    callback, module = watched(tmp_path, action)
    scalars = callback.report.scalars
    assert scalars["invariance/error"] < scalars["invariance/error_raw"]
    assert scalars["invariance/error"] == scalars["invariance_details/residual_8"]
    assert scalars["invariance_details/residual_8"] < scalars["invariance_details/residual_1"]
    assert scalars["invariance/linear_raw"] < scalars["invariance/linear"]
    assert "invariance/equivariance_error" not in scalars
    assert "known by samples" in callback.report.missing["equivariance_error"]
    plain, _ = fit([], tmp_path, Ordinary())
    for name, value in plain.state_dict().items():
        assert torch.equal(value, module.state_dict()[name])


def test_seeds_reproduce_and_global_random_states_stay(tmp_path):
    first, again = (watched(tmp_path, turned)[0].report.scalars for _ in range(2))
    other = watched(tmp_path, turned, seed=1)[0].report.scalars
    same = [name for name in first if "residual" in name]
    assert len(same) == 4
    assert [first[name] for name in same] == [again[name] for name in same]
    assert [first[name] for name in same] != [other[name] for name in same]
    states = []
    for callbacks in ([], [InvariantCallback("encoder", TEXT, action=turned, figures=None)]):
        pl.seed_everything(3, verbose=False)
        fit(callbacks, tmp_path, Ordinary())
        states.append((random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()))
    assert states[0] == states[1]


def test_the_residual_falls_with_the_number_of_samples(tmp_path):
    def noisy(x):
        return x + 0.5 * torch.randn_like(x)

    class Linear(Ordinary):
        def __init__(self):
            super().__init__()
            self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 16))

    callback = InvariantCallback("encoder", TEXT, SampledMean(TEXT, samples=32), action=noisy, figures=None)
    fit([callback], tmp_path, Linear())
    found = {k: callback.report.scalars[f"invariance_details/residual_{k}"] for k in (1, 2, 4, 8, 16, 32)}
    assert all(found[k] < found[k // 2] for k in (2, 4, 8, 16, 32))
    assert found[2] / found[32] == pytest.approx(4, rel=0.3)
    assert "residual_64" not in " ".join(callback.report.scalars)


def test_a_large_residual_is_told_with_how_many_samples_would_do(tmp_path):
    callback, _ = watched(tmp_path, turned)
    said = " ".join(callback.report.messages)
    assert "features of two draws of 8 transforms of one input lie" in said
    assert "projection=SampledMean('Sampled(augmentation): 16 trivial', samples=" in said
    calm, _ = watched(tmp_path, lambda x: x + 0.001 * torch.randn_like(x))
    assert "draws" not in " ".join(calm.report.messages)


def test_the_exported_encoder_takes_copies_and_says_so(tmp_path):
    projection = SampledMax(TEXT, samples=4)
    _, module = watched(tmp_path, turned, projection, export=tmp_path / "encoder", figures="pca")
    encoder, x = InvariantEncoder.from_pretrained(tmp_path / "encoder"), torch.randn(6, 1, 8, 8)
    copies = torch.stack([torch.rot90(x, k, (-2, -1)) for k in range(4)], dim=1)
    module.eval()
    with torch.no_grad():
        z = torch.stack([module.encoder(copies[:, k]) for k in range(4)], dim=1)
        torch.testing.assert_close(encoder(copies), z.amax(dim=1), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(encoder(x), z[:, 0], rtol=1e-4, atol=1e-5)
        shuffled = copies[:, [2, 0, 3, 1]]
        torch.testing.assert_close(encoder(shuffled), encoder(copies), rtol=1e-4, atol=1e-5)
    assert encoder.projection.samples == 4
    assert "K transformed copies of each input" in (tmp_path / "encoder" / "README.md").read_text()
    checks = {check.name: check for check in verify(encoder, [torch.randn(64, 1, 8, 8)], action=turned)}
    assert checks["invariant/error"].measured < checks["raw/error"].measured


def test_what_is_missing_is_said_before_training(tmp_path):
    with pytest.raises(ValueError, match="action=, a function of one input"):
        InvariantCallback("encoder", TEXT)
    with pytest.raises(ValueError, match="goes with 'Sampled: 16 trivial'"):
        InvariantCallback("encoder", "C4: 4 regular", action=lambda x: x)
    InvariantCallback("encoder", "C4: 4 regular", action=lambda x, g: x)
    with pytest.raises(ValueError, match="at least 1 sampled"):
        SampledMean(TEXT, samples=0)
    cropped = InvariantCallback("encoder", TEXT, action=lambda x: x[..., 1:])
    with pytest.raises(ActionError, match="keeps the shape"):
        fit([cropped], tmp_path, Ordinary())


def test_numbers_that_take_a_group_cannot_be_monitored(tmp_path):
    for name in ("invariance/equivariance_error", "invariance_details/residual_16"):
        checkpoint = pl.callbacks.ModelCheckpoint(tmp_path, monitor=name)
        callback = InvariantCallback("encoder", TEXT, action=turned, figures=None)
        with pytest.raises(Exception, match=r"known by samples|8 transforms are sampled"):
            fit([callback, checkpoint], tmp_path, Ordinary(), enable_checkpointing=True)


def test_a_head_is_fitted_on_averaged_features(tmp_path):
    callback = InvariantCallback("encoder", TEXT, action=turned, figures=None)
    fit([callback], tmp_path, Ordinary())
    head = fitted_head(callback._reporter.evaluation.latents, callback.projection, "linear", None)
    evaluation = callback._reporter.evaluation
    right = head.predict(evaluation.features).labels
    assert len(right) == len(evaluation.features)
