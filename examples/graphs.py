"""Graphs of PyTorch Geometric, of any size: nodes of a GIN as a set whose order means nothing.

Run: python examples/graphs.py [folder]
"""

import sys

import pytorch_lightning as pl
import torch
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader
from torch_geometric.nn import GIN, global_add_pool

from lightning_invariant import InvariantCallback


def graphs(count: int, seed: int) -> list[Data]:
    """Rings, stars, paths and complete graphs of 5 to 9 nodes, with a tenth of noise in the features."""
    generator, made = torch.Generator().manual_seed(seed), []
    for _ in range(count):
        y, n = int(torch.randint(4, (), generator=generator)), int(torch.randint(5, 10, (), generator=generator))
        i = torch.arange(n)
        pairs = [(i, (i + 1) % n), (0 * i[1:], i[1:]), (i[:-1], i[1:]), tuple(torch.triu_indices(n, n, 1))][y]
        edges = torch.stack([torch.cat([pairs[0], pairs[1]]), torch.cat([pairs[1], pairs[0]])])
        order = torch.randperm(n, generator=generator)
        x = 1 + 0.1 * torch.randn(n, 1, generator=generator)
        made.append(Data(x=x, edge_index=order[edges], y=torch.tensor([y])))
    return made


class Classifier(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.gnn, self.head = GIN(1, 32, 2, 8), torch.nn.Linear(8, 4)

    def training_step(self, batch, batch_idx):
        z = global_add_pool(self.gnn(batch.x, batch.edge_index), batch.batch)
        return torch.nn.functional.cross_entropy(self.head(z), batch.y)

    validation_step = training_step

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 1e-2)


def main(output: str) -> None:
    callback = InvariantCallback("gnn", "S9: 9 points x 8", export=f"{output}/encoder")
    trainer = pl.Trainer(max_epochs=3, callbacks=[callback], default_root_dir=output, accelerator="cpu")
    trainer.fit(Classifier(), DataLoader(graphs(600, 0), 64, shuffle=True), DataLoader(graphs(400, 1), 64))
    for name in ("equivariance_error", "knn_raw", "knn"):
        print(f"{name:20} {trainer.callback_metrics[f'invariance/{name}']:.3g}")


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["runs/graphs"]))
