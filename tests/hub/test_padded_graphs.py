"""An encoder of graphs of unlike size: what stands at points that do not exist, and at their pairs, is hidden."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lightning_invariant.encoder import ExportOptions, InvariantEncoder, export_encoder
from lightning_invariant.projections import PairSort
from tests.hub.padded import sets

if TYPE_CHECKING:
    from pathlib import Path


class Affinity(nn.Module):
    """Features of points, and of pairs their products, with garbage where there is no point."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        hidden = ~(mask[:, :, None] & mask[:, None, :])
        pairs = x @ x.transpose(1, 2) + 9.0 * hidden
        return torch.cat([(x + 7.0 * ~mask[..., None]).flatten(1), pairs.flatten(1)], dim=1)


def test_points_and_their_pairs_are_hidden(tmp_path: Path) -> None:
    made = PairSort("S6: 6 points x 2 + 1 pairs", ragged=True, marks=1)
    x, mask = sets(5)
    export_encoder(tmp_path / "folder", Affinity().eval(), made, (x, mask), options=ExportOptions(mask=1))
    encoder = InvariantEncoder.from_pretrained(tmp_path / "folder")
    pairs = encoder.latent(x, mask)[:, 12:].reshape(5, 6, 6)
    seen = mask[:, :, None] & mask[:, None, :]
    assert not pairs[~seen].any()
    assert pairs[seen].any()
    order = torch.randperm(6, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(encoder(x[:, order], mask[:, order]), encoder(x, mask))
    assert not torch.allclose(encoder(x, mask), encoder(x), atol=1e-2)
