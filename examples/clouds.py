"""Point clouds through a network of e3nn: the callback reads off the layer how rotations act on its output.

Run: python examples/clouds.py [folder]
"""

import sys

import pytorch_lightning as pl
import torch
from e3nn import o3
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_invariant import InvariantCallback


def clouds(count: int, seed: int) -> TensorDataset:
    """Clouds (count, 6, 3) of one of eight shapes, each turned or reflected at random."""
    shapes, g = torch.randn(8, 6, 3, generator=torch.Generator().manual_seed(7)), torch.Generator().manual_seed(seed)
    y, turns = torch.randint(8, (count,), generator=g), torch.linalg.qr(torch.randn(count, 3, 3, generator=g))[0]
    x = shapes[y] + 0.2 * torch.randn(count, 6, 3, generator=g)
    return TensorDataset((x - x.mean(1, keepdim=True)) @ turns, y)


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        hidden, self.irreps_out = o3.Irreps("8x0e + 8x1o + 8x2e"), o3.Irreps("4x0e + 4x1o + 4x2e")
        self.radial = nn.Sequential(nn.Linear(1, 32), nn.SiLU(), nn.Linear(32, 24), nn.Unflatten(-1, (3, 8)))
        self.product = o3.FullyConnectedTensorProduct(hidden, hidden, self.irreps_out)

    def forward(self, pos: torch.Tensor) -> torch.Tensor:
        edges = pos[:, :, None] - pos[:, None]
        parts = o3.spherical_harmonics([0, 1, 2], edges, normalize=True).split([1, 3, 5], dim=3)
        pairs = zip(self.radial(edges.norm(dim=3, keepdim=True)).unbind(3), parts, strict=True)
        sums = [torch.einsum("bijc,bijm->bicm", weights, part).flatten(2) for weights, part in pairs]
        return self.product(x := torch.cat(sums, dim=2), x).mean(1)


class Classifier(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.head = Encoder(), nn.Linear(36, 8)

    def training_step(self, batch, batch_idx):
        return nn.functional.cross_entropy(self.head(self.encoder(batch[0])), batch[1])

    validation_step = training_step

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 1e-2)


def main(output: str) -> None:
    callback = InvariantCallback("encoder")
    trainer = pl.Trainer(max_epochs=6, callbacks=callback, default_root_dir=output, accelerator="cpu")
    trainer.fit(Classifier(), DataLoader(clouds(600, 0), 64, True), DataLoader(clouds(400, 1), 64))
    for name in ("equivariance_error", "knn_raw", "knn"):
        print(f"{name:20} {trainer.callback_metrics[f'invariance/{name}']:.3g}")


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["runs/clouds"]))
