"""Every kind of input that a group acts on, through the callback: exact networks are found so, and doubts are asked."""

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from lightning_invariant import InvariantCallback, OrbitLayer
from lightning_invariant.groups import parse_group
from lightning_invariant.groups.actions import ImageAction, ShiftAction, VolumeAction
from tests.callback.loops import trainer


class Inputs(Dataset):
    """Dicts of members, so many of each."""

    def __init__(self, members) -> None:
        self.members = members

    def __len__(self) -> int:
        return len(next(iter(self.members.values())))

    def __getitem__(self, i):
        return {name: value[i] for name, value in self.members.items()}


class Network(pl.LightningModule):
    """Calls an encoder with the members of a batch by name."""

    def __init__(self, encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.bias = nn.Parameter(torch.zeros(()))

    def training_step(self, batch, batch_idx):
        return self.encoder(**batch).flatten(1).square().mean() + self.bias

    def validation_step(self, batch, batch_idx):
        self.encoder(**batch)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1e-3)


def reported(folder, members, encoder, representation, **settings):
    callback = InvariantCallback("encoder", representation, figures=None, **settings)
    loader = DataLoader(Inputs(members), 32)
    trainer([callback], folder, max_epochs=1, limit_train_batches=1).fit(Network(encoder), loader, loader)
    said = " ".join(callback.report.messages)
    return callback.report, said


def drawn(*shape, seed=0):
    return torch.randn(160, *shape, generator=torch.Generator().manual_seed(seed))


def orbit(size, group, action=None):
    """An exactly equivariant network."""
    torch.manual_seed(0)
    acting = parse_group(group)
    return OrbitLayer(nn.Sequential(nn.Flatten(), nn.Linear(size, 3), nn.Tanh()), acting, action)


def about(axis):
    return VolumeAction(parse_group("C4"), about=axis)


EXACT = [
    ("C4: 3 regular", (1, 6, 4, 4), about("depth"), "volume about depth"),
    ("C4: 3 regular", (1, 4, 6, 4), about("height"), "volume about height"),
    ("C4: 3 regular", (1, 4, 4, 6), about("width"), "volume about width"),
    ("D4: 3 regular", (2, 5, 4, 4), ImageAction(parse_group("D4")), "video"),
    ("T8: 3 regular", (2, 8), ShiftAction(parse_group("T8"), 2), None),
    ("T8: 3 regular", (8, 2), ShiftAction(parse_group("T8"), 1), None),
    ("T8: 3 regular", (8, 8), ShiftAction(parse_group("T8"), 1), "signal(axis=1)"),
    ("T8: 3 regular", (2, 16), ShiftAction(parse_group("T8"), 2), "signal(axis=2)"),
    ("C4: 3 regular", (5, 5, 2), ImageAction(parse_group("C4"), axes=(-3, -2)), None),
]


@pytest.mark.parametrize(("representation", "shape", "action", "said"), EXACT)
def test_exact_actions(tmp_path, representation, shape, action, said):
    size = torch.Size(shape).numel()
    encoder = orbit(size, representation.split(":")[0], action)

    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.orbit = encoder

        def forward(self, x):
            return self.orbit(x)

    rules = {} if said is None else {"action": {"x": said}}
    report, text = reported(tmp_path, {"x": drawn(*shape)}, Named(), representation, **rules)
    assert report.scalars["invariance/equivariance_error"] < 1e-4
    assert report.scalars["invariance/error"] < 1e-4 < report.scalars["invariance/error_raw"]
    assert report.scalars["invariance_details/action_error"] == 0
    assert "do not transform" not in text
    if said is not None:
        report, text = reported(tmp_path, {"x": drawn(*shape)}, Named(), representation)
        assert "invariance/equivariance_error" not in report.scalars
        assert f"action={{'x': '{said}'}}" in text


class Named(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize(("group", "order"), [("Cube", 24), ("FullCube", 48)])
def test_isometries_of_the_cube(tmp_path, group, order):
    acting = parse_group(group)
    encoder = Named(orbit(64, group, VolumeAction(acting)))
    assert acting.order == order
    report, text = reported(tmp_path, {"x": drawn(1, 4, 4, 4)}, encoder, f"{group}: 3 regular")
    assert report.scalars["invariance/equivariance_error"] < 1e-4
    assert report.scalars["invariance/error"] < 1e-4
    assert "do not transform" not in text
    wrong, text = reported(
        tmp_path, {"x": drawn(1, 4, 4, 4)}, Named(lambda x: x[:, 0, 0, 0, :3]), f"{group}: 3 trivial"
    )
    assert wrong.scalars["invariance/equivariance_error"] > 0.3
    assert "do not transform" in text


def test_rotations_of_space_interpolate_and_say_so(tmp_path):
    smooth = nn.functional.interpolate(drawn(1, 3, 3, 3), 12, mode="trilinear")
    places = torch.stack(torch.meshgrid(*[torch.linspace(-1, 1, 12)] * 3, indexing="ij"))
    shells = torch.stack([torch.exp(-20 * (places.norm(dim=0) - r) ** 2) for r in (0.2, 0.5, 0.8)])
    encoder = Named(lambda x: torch.einsum("bcdhw,sdhw->bcs", x, shells).flatten(1))
    report, _ = reported(tmp_path, {"x": smooth}, encoder, "SO3: 3x0")
    assert 0 < report.scalars["invariance_details/action_error"] < 0.6
    assert report.scalars["invariance/equivariance_error"] < 0.2


def test_translations_of_images_in_two_directions(tmp_path):
    torch.manual_seed(0)
    conv = nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular")
    report, text = reported(tmp_path, {"x": drawn(1, 32, 32)}, Named(conv), "T32 x T32: 2 regular*regular")
    assert report.scalars["invariance/equivariance_error"] < 1e-4
    assert report.scalars["invariance/error"] < 1e-4
    assert "do not transform" not in text


class Signed(nn.Module):
    def forward(self, x, pe):
        return torch.einsum("bn,bnk->bk", x[..., 0], pe)


def test_signs_of_eigenvectors(tmp_path):
    members = {"x": drawn(6, 3), "pe": drawn(6, 4, seed=1)}
    report, text = reported(tmp_path, members, Signed(), "Z2^4: signs")
    assert report.scalars["invariance/equivariance_error"] < 1e-4
    assert "pe; leaves x" in text
    assert report.scalars["invariance/error_raw"] > 0.3


class Set(nn.Module):
    """Sums over nodes of a set with mask, or over neighbours by a matrix or a list of edges."""

    def forward(self, x, mask=None, adj=None, edge_index=None):
        h = x.tanh()
        if mask is not None:
            h = h * mask[..., None]
        if adj is not None:
            h = h + adj @ h
        if edge_index is not None:
            source, target = edge_index.unbind(1)
            seen = h.gather(1, source[..., None].expand(-1, -1, h.shape[2]))
            h = h.scatter_add(1, target[..., None].expand_as(seen), seen)
        return h


def graphs():
    generator = torch.Generator().manual_seed(2)
    adj = (torch.rand(160, 6, 6, generator=generator) < 0.4).float().triu(1)
    return {
        "mask": torch.rand(160, 6, generator=generator) < 0.7,
        "adj": adj + adj.mT,
        "edge_index": torch.randint(6, (160, 2, 5), generator=generator),
    }


@pytest.mark.parametrize("beside", [(), ("mask",), ("adj",), ("edge_index",), ("mask", "adj", "edge_index")])
def test_orders_of_nodes(tmp_path, beside):
    members = {"x": drawn(6, 4)} | {name: graphs()[name] for name in beside}
    report, text = reported(tmp_path, members, Set(), "S6: 6 points x 4")
    assert report.scalars["invariance/equivariance_error"] < 1e-4
    assert report.scalars["invariance/error"] < 1e-4 < report.scalars["invariance/error_raw"]
    assert "do not transform" not in text
