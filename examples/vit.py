"""An ordinary ViT of transformers, trained on turned digits: an orbit layer gives it a latent that can be projected.

Run: python examples/vit.py [folder]
"""

import sys

import pytorch_lightning as pl
import torch
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader
from transformers import ViTConfig, ViTForImageClassification

from lightning_invariant import InvariantCallback, OrbitLayer


class Classifier(pl.LightningModule):
    """Trained with augmentation: each training batch is turned by a random number of quarters."""

    def __init__(self) -> None:
        super().__init__()
        sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
        self.net = ViTForImageClassification(
            ViTConfig(image_size=8, patch_size=2, num_channels=1, num_labels=10, **sizes)
        )

    def training_step(self, batch, batch_idx):
        turns = int(torch.randint(4, ()))
        return self.net(batch["pixel_values"].rot90(turns, (2, 3)), labels=batch["labels"]).loss

    def validation_step(self, batch, batch_idx):
        self.log("loss", self.net(**batch).loss)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 3e-3)


def main(output: str) -> None:
    x, y = load_digits(return_X_y=True)
    x = torch.tensor(x, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16
    rows = [{"pixel_values": image, "labels": int(label)} for image, label in zip(x, y, strict=True)]
    # The class token's latent, as it is and under all four turns; neither is invariant by itself.
    token = {"pick": lambda out: out.last_hidden_state[:, 0], "max_overhead": None}
    plain = InvariantCallback("net.vit", "C4: 32 trivial", prefix="plain_", **token)
    orbit = InvariantCallback(OrbitLayer("net.vit", "C4"), "C4: 32 regular", **token)
    trainer = pl.Trainer(max_epochs=6, callbacks=[plain, orbit], default_root_dir=output, accelerator="cpu")
    trainer.fit(Classifier(), DataLoader(rows[:1200], 64, shuffle=True), DataLoader(rows[1200:], 64))
    for name in ("plain_invariance/error", "plain_invariance/knn", "invariance/error", "invariance/knn"):
        print(f"{name:24} {trainer.callback_metrics[name]:.3g}")


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["runs/vit"]))
