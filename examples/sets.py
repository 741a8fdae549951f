"""Sets of up to twelve points, padded, through a transformer: the order of the points means nothing.

Run: python examples/sets.py [folder]
"""

import sys

import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader

from lightning_invariant import BatchReader, InvariantCallback


def rings(count: int, seed: int) -> list[dict[str, torch.Tensor]]:
    """Six to twelve points on a circle, an ellipse or a figure of eight, then padding."""
    g, made = torch.Generator().manual_seed(seed), []
    for _ in range(count):
        y, n = int(torch.randint(3, (), generator=g)), int(torch.randint(6, 13, (), generator=g))
        t, pad = 6.2832 * torch.rand(12, generator=g), torch.arange(12) >= n
        x = torch.stack([t.cos() * (1, 1.6, 1)[y], (t * (1, 1, 2)[y]).sin()], 1).masked_fill(pad[:, None], 0)
        made.append({"x": x, "pad": pad, "y": y})
    return made


class SetTransformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lift = nn.Linear(2, 16)
        self.layers = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, 0.0, batch_first=True), 2)

    def forward(self, x: torch.Tensor, key_padding_mask: torch.Tensor) -> torch.Tensor:
        return self.layers(self.lift(x), src_key_padding_mask=key_padding_mask)


class Classifier(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.head = SetTransformer(), nn.Linear(16, 3)

    def training_step(self, batch, batch_idx):
        z = self.encoder(batch["x"], batch["pad"]).masked_fill(batch["pad"][..., None], 0).sum(1)
        return nn.functional.cross_entropy(self.head(z), batch["y"])

    validation_step = training_step

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 3e-3)


def main(output: str) -> None:
    reading = {"batch": BatchReader(mask=lambda batch: ~batch["pad"]), "export": f"{output}/encoder"}
    callback = InvariantCallback("encoder", "S12: 12 points x 16", **reading)
    trainer = pl.Trainer(max_epochs=6, callbacks=[callback], default_root_dir=output, accelerator="cpu")
    trainer.fit(Classifier(), DataLoader(rings(600, 0), 64, True), DataLoader(rings(400, 1), 64))
    for name in ("equivariance_error", "knn_raw", "knn"):
        print(f"{name:20} {trainer.callback_metrics[f'invariance/{name}']:.3g}")


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["runs/sets"]))
