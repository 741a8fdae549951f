"""Padded sets go out and come back: the mask is an input of network and projection."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from lightning_invariant.callback.support.masked import default_masked
from lightning_invariant.cli.main import main
from lightning_invariant.encoder import ExportOptions, InvariantEncoder, export_encoder
from lightning_invariant.encoder.masks import most_points
from lightning_invariant.encoder.parity_check import check_parity, write_parity
from lightning_invariant.encoder.verify import verify
from lightning_invariant.errors import ArtifactError, GraphError, LatentError
from lightning_invariant.groups import Representation
from lightning_invariant.projections import Composition, Joined, MaxFilter, PointSort
from tests.hub.padded import POINTS, export, network, projection, sets

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def encoder(tmp_path: Path) -> InvariantEncoder:
    export(tmp_path / "folder")
    return InvariantEncoder.from_pretrained(tmp_path / "folder")


@torch.no_grad()
def test_features_are_those_of_the_live_network_and_projection(encoder: InvariantEncoder) -> None:
    for rows in (1, 2, 9):
        x, mask = sets(rows, seed=rows)
        live = projection()(network()(x, mask), mask)
        for found in (encoder(x, mask), encoder(x, mask=mask)):
            assert torch.equal(found, live)
        assert torch.equal(encoder(x), projection()(network()(x, mask | True), mask | True))


@torch.no_grad()
def test_padding_does_not_matter_and_neither_does_the_order(encoder: InvariantEncoder) -> None:
    x, mask = sets(20)
    order = torch.randperm(6)
    other = torch.where(mask[..., None], x, 7.0)
    assert torch.equal(encoder.latent(x, mask=mask), encoder.latent(other, mask=mask))
    assert (encoder.latent(x, mask).reshape(20, 6, 4)[~mask] == 0).all()
    moved = encoder(x[:, order], mask=mask[:, order])
    assert torch.allclose(moved, encoder(x, mask=mask), atol=1e-5)
    assert not torch.allclose(encoder(x[:, order], mask=mask), encoder(x, mask=mask), atol=1e-2)


def test_wrong_masks_are_told(encoder: InvariantEncoder, tmp_path: Path) -> None:
    x, mask = sets(4)
    with pytest.raises(GraphError, match=r"Expected 1 input\(s\) beside mask= but got 2"):
        encoder(x, mask, mask=mask)
    with pytest.raises(GraphError):
        encoder(x, mask=mask.float())
    with pytest.raises(GraphError):
        encoder(x, mask=mask[:, :5])
    with pytest.raises(LatentError, match="visible point in each set"):
        encoder(x, mask=mask & False)
    plain = export_encoder(
        tmp_path / "plain", torch.nn.Linear(4, 8).eval(), MaxFilter("C8: 1 regular"), torch.ones(2, 4)
    )
    with pytest.raises(GraphError, match="takes none"):
        plain(torch.ones(2, 4), mask=mask)


@pytest.mark.parametrize(
    ("projected", "mask", "message"),
    [
        (lambda: PointSort(POINTS), 1, "ragged=True"),
        (projection, 0, r"booleans \(B, 6\) as input 0"),
        (projection, 2, r"booleans \(B, 6\) as input 2"),
    ],
)
def test_a_mask_that_is_none_is_refused_at_the_export(tmp_path: Path, projected: Any, mask: int, message: str) -> None:
    with pytest.raises((ArtifactError, ValueError, LatentError, IndexError), match=message):
        export_encoder(tmp_path / "folder", network(), projected(), sets(3), options=ExportOptions(mask=mask))
    assert not (tmp_path / "folder").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.update(mask=0),
        lambda c: c.update(mask=5),
        lambda c: c.update(mask=-1),
        lambda c: c.update(mask=True),
        lambda c: c.update(mask="x"),
        lambda c: c["projection"].update(ragged=False),
    ],
)
def test_crafted_masks_are_refused(tmp_path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    export(tmp_path / "folder")
    config = json.loads((tmp_path / "folder" / "config.json").read_text())
    change(config)
    (tmp_path / "folder" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ArtifactError, match="Expected"):
        InvariantEncoder.from_pretrained(tmp_path / "folder")


def test_layers_behind_a_projection_leave_it_its_mask(tmp_path: Path) -> None:
    x, mask = sets(40)
    with torch.no_grad():
        made = Composition.fit(projection(), network()(x, mask | True), components=4)
        encoder = export_encoder(tmp_path / "folder", network(), made, (x, mask), options=ExportOptions(mask=1))
        assert torch.equal(encoder(x, mask=mask), made(network()(x, mask), mask))
        assert encoder(x).shape == (40, 4)


class Clouds(nn.Module):
    """Two numbers and two vectors a point, from padded points in space."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 4))

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        made = self.net(x.norm(dim=2, keepdim=True)) * mask[..., None]
        numbers, vectors = made[..., :2].transpose(1, 2), (made[..., 2:, None] * x[:, :, None]).transpose(1, 2)
        return torch.cat([numbers.flatten(1), vectors.flatten(1)], dim=1)


@torch.no_grad()
def test_points_in_space_with_the_callbacks_own_projection(tmp_path: Path) -> None:
    made = default_masked(Representation.parse("S6 x O3: 2 points*0e + 2 points*1o"))
    assert isinstance(made, Joined)
    torch.manual_seed(0)
    live, x, mask = Clouds().eval(), torch.randn(40, 6, 3), torch.arange(6) < torch.arange(40)[:, None] % 5 + 2
    export_encoder(tmp_path / "folder", live, made, (x, mask), options=ExportOptions(mask=1))
    encoder = InvariantEncoder.from_pretrained(tmp_path / "folder")
    features = encoder(x, mask=mask)
    torch.testing.assert_close(features, made(live(x, mask), mask))
    order, turn = torch.randperm(6), torch.linalg.qr(torch.randn(3, 3)).Q
    moved = encoder((x @ turn)[:, order], mask=mask[:, order])
    torch.testing.assert_close(moved, features, atol=1e-3, rtol=1e-3)
    assert (encoder(x, mask=mask | True) - features).abs().max() > 0.05


def test_projections_side_by_side_of_which_one_takes_no_mask_take_none() -> None:
    parts = [PointSort("S6: 6 points x 4", ragged=True), PointSort("S6: 6 points x 4")]
    assert most_points(Joined("S6: 6 points x 4", parts[:1])) == 6
    assert most_points(Joined("S6: 6 points x 4", parts)) is None


def test_an_artefact_without_the_entry_takes_no_mask(tmp_path: Path) -> None:
    export_encoder(tmp_path / "plain", torch.nn.Linear(4, 8).eval(), MaxFilter("C8: 1 regular"), torch.ones(2, 4))
    config = json.loads((tmp_path / "plain" / "config.json").read_text())
    assert config.pop("mask") is None
    (tmp_path / "plain" / "config.json").write_text(json.dumps(config))
    InvariantEncoder.from_pretrained(tmp_path / "plain")(torch.ones(2, 4))


@torch.no_grad()
def test_whole_data_sets_are_encoded(encoder: InvariantEncoder, tmp_path: Path) -> None:
    x, mask = sets(11)
    wanted = encoder(x, mask).numpy()
    named = [{"points": x[i], "label": i, "mask": mask[i]} for i in range(11)]
    np.savez(tmp_path / "data.npz", x=x.numpy(), mask=mask.numpy(), labels=np.arange(11))
    kinds = [(x, mask), (x.numpy(), mask.numpy()), DataLoader(named, 4), named, tmp_path / "data.npz"]
    for data in kinds:
        found = encoder.encode(data, batch_size=4, progress=False)
        assert np.allclose(found, wanted, atol=1e-6), type(data)


def test_the_certificate_is_measured_again_by_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export(tmp_path / "folder", numbers={"invariant/error": 1e-7, "raw/error": 1.0})
    x, mask = sets(60)
    np.savez(tmp_path / "data.npz", x=x.numpy(), mask=mask.numpy())
    checks = {c.name: c for c in verify(InvariantEncoder.from_pretrained(tmp_path / "folder"), [x, mask])}
    assert all(check.holds for check in checks.values())
    assert checks["invariant/error"].measured < 1e-5 < 0.1 < checks["raw/error"].measured
    assert main(["inspect", str(tmp_path / "folder")]) == 0
    assert "bool (batch, 6), the mask" in capsys.readouterr().out
    assert main(["verify", str(tmp_path / "folder"), "--data", str(tmp_path / "data.npz")]) == 0
    assert "holds on 60 inputs" in capsys.readouterr().out
    np.savez(tmp_path / "half.npz", x=x.numpy())
    assert main(["verify", str(tmp_path / "folder"), "--data", str(tmp_path / "half.npz")]) == 2
    assert "array named mask" in capsys.readouterr().err


def test_it_can_be_saved_again_and_the_proof_sees_another_network(encoder: InvariantEncoder, tmp_path: Path) -> None:
    x, mask = sets(5)
    with torch.no_grad():
        encoder.save_pretrained(tmp_path / "again")
        assert torch.equal(InvariantEncoder.from_pretrained(tmp_path / "again")(x, mask), encoder(x, mask))
        moved = x.flip(1), mask.flip(1)
        write_parity(tmp_path / "proof", network(), projection(), [x, mask], moved, 1)
        check_parity(tmp_path / "proof", tmp_path / "again")
        next(encoder.network.parameters()).mul_(1.1)
        encoder.save_pretrained(tmp_path / "other")
    with pytest.raises(ArtifactError, match="live features"):
        check_parity(tmp_path / "proof", tmp_path / "other")


def test_the_cards_snippet_runs(tmp_path: Path) -> None:
    export(tmp_path / "folder")
    card = (tmp_path / "folder" / "README.md").read_text()
    snippet = re.search(r"```python\n(.*?)```", card, re.DOTALL)
    assert snippet is not None
    assert "encoder(x, mask=mask)" in snippet[1]
    code = snippet[1].replace("path/or/repository", str(tmp_path / "folder")) + "\nprint(*features.shape)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == f"2 {projection().out_features}\n", done.stderr


class Attention(nn.Module):
    """A transformer that leaves padding out where that is fast, and gives zeros for it there."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(4, 2, 8, 0.0, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return self.layers(x, src_key_padding_mask=~mask).flatten(1)


@torch.no_grad()
def test_a_transformer_that_drops_padding_is_exported(tmp_path: Path) -> None:
    torch.manual_seed(0)
    live, x = Attention().eval(), torch.randn(9, 6, 4)
    mask = torch.arange(6) < torch.tensor([[2], [3], [5], [4], [2], [5], [3], [2], [1]])
    z = live(x, mask).reshape(9, 6, 4)
    assert (z[~mask] == 0).all()  # otherwise both paths are the same
    export_encoder(
        tmp_path,
        live,
        default_masked(Representation.parse("S6: 6 points x 4")),
        (x, mask),
        options=ExportOptions(mask=1),
    )
    encoder = InvariantEncoder.from_pretrained(tmp_path)
    assert torch.allclose(encoder.latent(x, mask=mask).reshape(9, 6, 4)[mask], z[mask], atol=1e-5)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(encoder(x[:, order], mask=mask[:, order]), encoder(x, mask=mask), atol=1e-4)
