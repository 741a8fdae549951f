"""A pretrained potential, SevenNet's 7net-0, and molecules as it takes them; nothing of it is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch

from lightning_invariant.zoo.qm7 import Qm7

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

MODEL = "7net-0"
"""The potential that comes inside the package sevenn."""
NEEDED = "The potential comes inside the package sevenn: pip install sevenn."


class Potential(pl.LightningModule):
    """7net-0 as a LightningModule, for `validate`: its layers `net.0_equivariant_gate` and so on give atoms' latents.

    Raises:
        ImportError: sevenn is not installed.

    References:
        Park, Kim, Hwang and Han 2024 (2402.03789).
    """

    def __init__(self) -> None:
        super().__init__()
        self.net, self.cutoff = load_potential()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Log the mean energy in eV, which 7net-0 counts in another way than QM7."""
        with torch.enable_grad():  # forces are gradients
            energy = self.net(batch)["inferred_total_energy"]
        self.log("val/energy", energy.detach().mean(), batch_size=batch.num_graphs)


class PotentialQm7(Qm7):
    """QM7 as graphs of sevenn, with atomisation energies as `y`; for validation only."""

    def val_dataloader(self) -> Any:
        """Batches in a fixed order."""
        from torch_geometric.loader import DataLoader

        atoms, energies = self.validation.tensors
        cutoff = load_potential()[1]
        graphs = [potential_graph(row, cutoff) for row in atoms]
        for graph, energy in zip(graphs, energies, strict=True):
            graph.y = energy[None]
        return DataLoader(graphs, self.batch_size)


def load_potential() -> tuple[Any, float]:
    """The potential in eval mode for batches of molecules, and its cutoff in angstrom.

    Raises:
        ImportError: sevenn is not installed.
    """
    try:
        from sevenn.util import model_from_checkpoint
    except ImportError as error:
        raise ImportError(NEEDED) from error
    model, config = model_from_checkpoint(MODEL)
    model.set_is_batch_data(True)
    return model.eval(), config["cutoff"]


def potential_graph(atoms: Float[Tensor, "n 4"], cutoff: float) -> Any:
    """One molecule, rows of charge and position, as the potential takes it; empty rows are left out."""
    from ase import Atoms
    from sevenn.atom_graph_data import AtomGraphData
    from sevenn.train.dataload import unlabeled_atoms_to_graph

    there = atoms[atoms[:, 0] > 0]
    molecule = Atoms(numbers=there[:, 0].int().numpy(), positions=there[:, 1:].numpy())
    return AtomGraphData.from_numpy_dict(unlabeled_atoms_to_graph(molecule, cutoff))


def layer_latents(model: Any, graphs: list[Any], layers: int) -> list[Float[Tensor, "A D"]]:
    """Latents of all atoms of some molecules in the first layers, without energies and forces."""
    from torch_geometric.data import Batch

    data, found = model._preprocess(Batch.from_data_list(graphs)), []
    with torch.no_grad():
        for name, module in model.named_children():
            data = module(data)
            if name.endswith("_equivariant_gate"):
                found.append(data["x"])
            if len(found) == layers:
                break
    return found
