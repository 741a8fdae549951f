"""A variational auto-encoder of molecules with one latent number a node, equivariant under the order of the nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn import functional as F

from lightning_invariant.zoo.graph_layers import NodesToPairs, PairsToNodes, PairsToPairs
from lightning_invariant.zoo.molecule_graphs import ATOMS, BONDS, CHANNELS, NODES
from lightning_invariant.zoo.one_cycle import one_cycle

if TYPE_CHECKING:
    from jaxtyping import Float, Int64
    from pytorch_lightning.utilities.types import OptimizerLRScheduler
    from torch import Tensor

FREQUENCIES = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Of the waves that the decoder reads a latent number by: one number has to tell many kinds of nodes apart."""


class PairBody(nn.Module):
    """Equivariant layers from pairs to pairs, each with a shortcut.

    Args:
        width: Channels.
        layers: How many.
    """

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(layers))
        self.layers = nn.ModuleList(PairsToPairs(width, width) for _ in range(layers))

    def forward(self, x: Float[Tensor, "B n n W"]) -> Float[Tensor, "B n n W"]:
        """Pairs of the same width."""
        for norm, layer in zip(self.norms, self.layers, strict=True):
            x = x + layer(F.leaky_relu(norm(x)))
        return x


class GraphEncoder(nn.Module):
    """Graphs to one number a node, for "S9: 9 points".

    Args:
        width: Channels.
        layers: Layers from pairs to pairs.
    """

    def __init__(self, width: int = 32, layers: int = 3) -> None:
        super().__init__()
        self.lift = PairsToPairs(CHANNELS, width)
        self.body = PairBody(width, layers)
        self.pool = PairsToNodes(width, width)
        self.mean, self.log_variance = nn.Linear(width, 1), nn.Linear(width, 1)

    def forward(self, x: Float[Tensor, "B n n C"]) -> Float[Tensor, "B n"]:
        """Means of the latent distribution."""
        return self.mean(self._nodes(x))[..., 0]

    def distribution(self, x: Float[Tensor, "B n n C"]) -> tuple[Float[Tensor, "B n"], Float[Tensor, "B n"]]:
        """Means and logarithms of variances."""
        nodes = self._nodes(x)
        return self.mean(nodes)[..., 0], self.log_variance(nodes)[..., 0].clamp(-12, 4)

    def _nodes(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.pool(F.leaky_relu(self.body(self.lift(x)))))


class GraphDecoder(nn.Module):
    """One number a node to scores of atoms and bonds; nodes stay in the order of the numbers.

    Args:
        width: Channels.
        layers: Layers from pairs to pairs.
    """

    def __init__(self, width: int = 32, layers: int = 3) -> None:
        super().__init__()
        self.lift = nn.Sequential(nn.Linear(1 + 2 * len(FREQUENCIES), width), nn.LeakyReLU(), nn.Linear(width, width))
        self.spread = NodesToPairs(width, width)
        self.body = PairBody(width, layers)
        self.bonds = nn.Linear(width, 1 + len(BONDS))
        self.atoms = PairsToNodes(width, 1 + len(ATOMS))

    def forward(self, z: Float[Tensor, "B n"]) -> tuple[Float[Tensor, "B n A"], Float[Tensor, "B n n E"]]:
        """Scores of no atom and each element, and of no bond and each bond, the latter the same both ways."""
        waves = z[..., None] * z.new_tensor(FREQUENCIES)
        lifted = self.lift(torch.cat([z[..., None], waves.sin(), waves.cos()], dim=-1))
        x = F.leaky_relu(self.body(self.spread(F.leaky_relu(lifted))))
        bonds = self.bonds(x)
        return self.atoms(x), bonds + bonds.transpose(1, 2)


class GraphVae(pl.LightningModule):
    """Encoder, decoder and the evidence lower bound; it knows nothing of invariant projections.

    Args:
        width: Channels of encoder and decoder.
        layers: Layers from pairs to pairs in each.
        kl: Weight of the divergence from the normal distribution.
        lr: Largest learning rate of AdamW; it falls to zero along a cosine.

    Source:
        After Hansen, Calissano and Feragen 2024 (2401.12588) and Kingma and Welling 2014 (1312.6114).
    """

    def __init__(self, width: int = 32, layers: int = 3, kl: float = 5e-4, lr: float = 3e-3) -> None:
        super().__init__()
        self.encoder, self.decoder = GraphEncoder(width, layers), GraphDecoder(width, layers)
        self.kl, self.lr = kl, lr

    def forward(self, x: Float[Tensor, "B n n C"]) -> tuple[Tensor, Tensor]:
        """Scores of atoms and bonds decoded from the mean latent."""
        return self.decoder(self.encoder(x))

    def training_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> Tensor:
        """Cross entropy of atoms and bonds, plus the weighted divergence."""
        mean, log_variance = self.encoder.distribution(batch[0])
        z = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1).mean()
        return reconstruction_loss(batch[0], *self.decoder(z)) + self.kl * divergence

    def validation_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> None:
        """Log the reconstruction from mean latents: loss, and the share of molecules without a single error."""
        x = batch[0]
        atoms, bonds = self(x)
        self.log("val/loss", reconstruction_loss(x, atoms, bonds), batch_size=len(x))
        right = _same(labels_of(x), (atoms.argmax(dim=-1), bonds.argmax(dim=-1)))
        self.log("val/reconstructed", right.float().mean(), prog_bar=True, batch_size=len(x))

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """A rare long step would undo an epoch."""
        nn.utils.clip_grad_norm_(self.parameters(), 1.0)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW with a warm-up and a cosine."""
        return one_cycle(self, self.lr, warm_up=0.1, decay=1e-4)


def labels_of(x: Float[Tensor, "B n n C"]) -> tuple[Int64[Tensor, "B n"], Int64[Tensor, "B n n"]]:
    """Element of each node and bond of each pair, 0 for none."""
    own = x.diagonal(dim1=1, dim2=2).mT[..., : len(ATOMS)]
    between = x[..., len(ATOMS) :]
    return tuple(torch.where(kinds.sum(dim=-1) > 0, kinds.argmax(dim=-1) + 1, 0) for kinds in (own, between))  # type: ignore[return-value]


def reconstruction_loss(
    x: Float[Tensor, "B n n C"], atoms: Float[Tensor, "B n A"], bonds: Float[Tensor, "B n n E"]
) -> Float[Tensor, ""]:
    """Cross entropy a molecule: the sum over its nodes and its pairs of nodes, over the number of nodes."""
    true_atoms, true_bonds = labels_of(x)
    first, second = torch.triu_indices(NODES, NODES, offset=1, device=x.device)
    node = F.cross_entropy(atoms.mT, true_atoms, reduction="sum")
    pair = F.cross_entropy(bonds[:, first, second].mT, true_bonds[:, first, second], reduction="sum")
    return (node + pair) / (len(x) * NODES)


def _same(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> Tensor:
    off = ~torch.eye(NODES, dtype=torch.bool, device=first[0].device)
    atoms = (first[0] == second[0]).all(dim=1)
    return atoms & ((first[1] == second[1]) | ~off).flatten(1).all(dim=1)
