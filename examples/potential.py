"""Atoms of a pretrained potential: SevenNet's 7net-0, which comes inside its package, looked at without training.

Each atom has a latent of its own: 128 numbers that rotations leave, and 96 vectors and tensors that they turn. All of
it is projected, atom by atom, and summed to a molecule.

Run: python examples/potential.py [folder]
"""

import sys

import pytorch_lightning as pl
import sevenn._keys as keys
import sevenn.util
import torch
from ase.build import molecule
from sevenn.atom_graph_data import AtomGraphData
from sevenn.train.dataload import unlabeled_atoms_to_graph
from torch_geometric.loader import DataLoader

from lightning_invariant import InvariantCallback

NAMES = ("CH3CH2OH", "CH3OH", "CH4", "C6H6", "C2H4", "NH3", "H2O", "CO2")


class Potential(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net, config = sevenn.util.model_from_checkpoint("7net-0")
        self.net.set_is_batch_data(True)
        self.cutoff = config["cutoff"]

    def validation_step(self, batch, batch_idx):
        with torch.enable_grad():  # forces are gradients
            energy = self.net(batch)[keys.PRED_TOTAL_ENERGY]
        self.log("energy", energy.mean(), batch_size=batch.num_graphs)


def molecules(count: int, cutoff: float) -> list[AtomGraphData]:
    """Small molecules, shaken a little; the label is which one it is."""
    generator, graphs = torch.Generator().manual_seed(0), []
    for number in range(count):
        atoms = molecule(NAMES[number % len(NAMES)])
        atoms.positions += 0.1 * torch.randn(atoms.positions.shape, generator=generator).numpy()
        graphs.append(AtomGraphData.from_numpy_dict(unlabeled_atoms_to_graph(atoms, cutoff)))
        graphs[-1].y = torch.tensor([number % len(NAMES)])
    return graphs


def main(output: str) -> None:
    potential = Potential()
    latent = {"representation": "SO3: 128x0 + 64x1 + 32x2", "pick": "x", "pool": "readout sum"}
    callback = InvariantCallback("net.2_equivariant_gate", **latent)
    trainer = pl.Trainer(callbacks=[callback], default_root_dir=output, accelerator="cpu", inference_mode=False)
    trainer.validate(potential, DataLoader(molecules(160, potential.cutoff), 16))
    for name in ("equivariance_error", "error_raw", "error", "knn_raw", "knn"):
        print(f"{name:20} {trainer.callback_metrics[f'invariance/{name}']:.3g}")


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["runs/potential"]))
