"""A variational auto-encoder of molecules, some numbers a node, equivariant under the order of the nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_invariant.zoo.molecule_graphs import ATOMS, BONDS, NODES, TIES
from lightning_invariant.zoo.one_cycle import one_cycle

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int64
    from pytorch_lightning.utilities.types import OptimizerLRScheduler

FREQUENCIES = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Waves by which the decoder reads a latent number: one number has to tell many kinds of nodes apart."""
HEADS = 4
"""Heads of attention in the decoder."""
HELPERS, FADED = 7, 0.25
"""Latent numbers beside a single one that help at first, and the share of the training in which they fade out."""


class MessageLayer(nn.Module):
    """h + MLP(LN[h, A_1 h, A_2 h, A_3 h, mean h]), A_k the adjacency by bonds of order k.

    Args:
        width: Channels of a node.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        size = (2 + len(BONDS)) * width
        self.update = nn.Sequential(nn.LayerNorm(size), nn.Linear(size, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, h: Float[Tensor, "B n W"], adjacency: Float[Tensor, "B K n n"]) -> Float[Tensor, "B n W"]:
        """Nodes of the same width."""
        heard = (adjacency @ h[:, None]).transpose(1, 2).flatten(2)
        return h + self.update(torch.cat([h, heard, h.mean(dim=1, keepdim=True).expand_as(h)], dim=-1))


class GraphEncoder(nn.Module):
    """Graphs to `size` numbers a node, for "S9: 9 points" or "S9: 9 points x 8", by messages along the bonds.

    Args:
        width: Channels of a node.
        layers: Rounds of messages.
        size: Latent numbers of a node.
        helpers: Numbers beside them that only `distribution` has.
    """

    def __init__(self, width: int = 64, layers: int = 3, size: int = 1, helpers: int = 0) -> None:
        super().__init__()
        self.size = size
        self.lift = nn.Linear(len(ATOMS) + 1, width)
        self.layers = nn.ModuleList(MessageLayer(width) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.mean, self.log_variance = nn.Linear(width, size + helpers), nn.Linear(width, size + helpers)

    def forward(self, x: Float[Tensor, "B n n C"]) -> Float[Tensor, "B n"] | Float[Tensor, "B n d"]:
        """Means of the latent distribution; without the last axis for one number a node."""
        z = self.mean(self._nodes(x))[..., : self.size]
        return z[..., 0] if self.size == 1 else z

    def distribution(self, x: Float[Tensor, "B n n C"]) -> tuple[Float[Tensor, "B n d"], Float[Tensor, "B n d"]]:
        """Means and logarithms of variances, helpers last."""
        nodes = self._nodes(x)
        return self.mean(nodes), self.log_variance(nodes).clamp(-12, 4)

    def _nodes(self, x: Tensor) -> Tensor:
        own = x.diagonal(dim1=1, dim2=2).mT
        h = self.lift(torch.cat([own[..., : len(ATOMS)], own[..., TIES:]], dim=-1))
        adjacency = x[..., len(ATOMS) : TIES].permute(0, 3, 1, 2)
        for layer in self.layers:
            h = layer(h, adjacency)
        return self.norm(h)


class GraphDecoder(nn.Module):
    """Numbers of each node to scores of atoms and bonds, by attention; nodes stay in the order of the numbers.

    Args:
        width: Channels of a node.
        layers: Layers of attention.
        size: Latent numbers of a node; where it is given fewer, the others are taken as 0.
    """

    frequencies: Tensor

    def __init__(self, width: int = 64, layers: int = 3, size: int = 1) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("frequencies", torch.tensor(FREQUENCIES), persistent=False)
        self.lift = nn.Linear(size * (1 + 2 * len(FREQUENCIES)), width)
        settings = {"activation": "gelu", "dropout": 0.0, "batch_first": True, "norm_first": True}
        self.body = nn.Sequential(
            *(nn.TransformerEncoderLayer(width, HEADS, 2 * width, **settings) for _ in range(layers)),
            nn.LayerNorm(width),
        )
        self.atoms = nn.Linear(width, 1 + len(ATOMS))
        self.ends, self.factors = nn.Linear(width, width), nn.Linear(width, width)
        self.bonds = nn.Linear(width, 1 + len(BONDS))

    def forward(
        self, z: Float[Tensor, "B n"] | Float[Tensor, "B n d"]
    ) -> tuple[Float[Tensor, "B n A"], Float[Tensor, "B n n E"]]:
        """Scores of no atom and each element, and of no bond and each bond, the latter the same both ways."""
        z = z[..., None] if z.dim() == 2 else z
        z = F.pad(z, (0, self.size - z.shape[-1]))
        waves = (z[..., None] * self.frequencies).flatten(2)
        h = self.body(self.lift(torch.cat([z, waves.sin(), waves.cos()], dim=-1)))
        p, q = self.ends(h), self.factors(h)
        pairs = p[:, :, None] + p[:, None] + q[:, :, None] * q[:, None]
        return self.atoms(h), self.bonds(F.gelu(pairs))


class GraphVae(pl.LightningModule):
    """Encoder, decoder and the evidence lower bound; it knows nothing of invariant projections.

    With one number a node, training starts with `HELPERS` more; each molecule goes without them with a probability
    that rises to 1.

    Args:
        width: Channels of encoder and decoder.
        layers: Layers of each.
        size: Latent numbers of a node.
        kl: Weight of the divergence from the normal distribution.
        lr: Largest learning rate of AdamW; it falls to zero along a cosine.

    References:
        Hansen, Calissano and Feragen 2024 (2401.12588) for the latents; Kingma and Welling 2014 (1312.6114); Gilmer et
        al. 2017 (1704.01212) for messages; Vaswani et al. 2017 (1706.03762) for attention.
    """

    def __init__(self, width: int = 64, layers: int = 3, size: int = 1, kl: float = 5e-4, lr: float = 2e-3) -> None:
        super().__init__()
        helpers = HELPERS if size == 1 else 0
        self.encoder = GraphEncoder(width, layers, size, helpers)
        self.decoder = GraphDecoder(width, layers, size + helpers)
        self.kl, self.lr = kl, lr

    def forward(self, x: Float[Tensor, "B n n C"]) -> tuple[Tensor, Tensor]:
        """Scores of atoms and bonds decoded from the mean latent."""
        return self.decoder(self.encoder(x))

    def training_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> Tensor:
        """Cross entropy of atoms and bonds, plus the weighted divergence."""
        mean, log_variance = self.encoder.distribution(batch[0])
        z = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)
        if self.decoder.size > self.encoder.size:
            used = torch.ones_like(mean)
            alone = torch.rand(len(mean), 1, 1, device=mean.device) < self.progress() / FADED
            used[..., self.encoder.size :] = (~alone).to(mean.dtype)
            z, divergence = z * used, divergence * used
        return reconstruction_loss(batch[0], *self.decoder(z)) + self.kl * divergence.sum(dim=(1, 2)).mean()

    def progress(self) -> float | Tensor:
        """Share of the training steps that are done."""
        return self.trainer.global_step / max(1.0, float(self.trainer.estimated_stepping_batches))

    def validation_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> None:
        """Log the reconstruction from mean latents: loss, and the share of molecules without a single error."""
        x = batch[0]
        atoms, bonds = self(x)
        self.log("val/loss", reconstruction_loss(x, atoms, bonds), batch_size=len(x))
        rebuilt = is_rebuilt(x, atoms, bonds).float().mean()
        self.log("val/reconstructed", rebuilt, prog_bar=True, batch_size=len(x))

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """A rare long step would undo an epoch."""
        nn.utils.clip_grad_norm_(self.parameters(), 1.0)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW with a warm-up and a cosine."""
        return one_cycle(self, self.lr, warm_up=0.1, decay=1e-4, beta2=0.99)


def labels_of(x: Float[Tensor, "B n n C"]) -> tuple[Int64[Tensor, "B n"], Int64[Tensor, "B n n"]]:
    """Element of each node and bond of each pair, 0 for none."""
    own = x.diagonal(dim1=1, dim2=2).mT[..., : len(ATOMS)]
    between = x[..., len(ATOMS) : TIES]
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


def is_rebuilt(
    x: Float[Tensor, "B n n C"], atoms: Float[Tensor, "B n A"], bonds: Float[Tensor, "B n n E"]
) -> Bool[Tensor, "B"]:
    """Whether every node and every bond of a graph has the highest score."""
    true_atoms, true_bonds = labels_of(x)
    right = (bonds.argmax(dim=-1) == true_bonds) | torch.eye(NODES, dtype=torch.bool, device=x.device)
    return (atoms.argmax(dim=-1) == true_atoms).all(dim=1) & right.flatten(1).all(dim=1)
