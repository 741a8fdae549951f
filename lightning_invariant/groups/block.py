"""Blocks: some copies of one kind of representation, the terms that a representation is a sum of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from lightning_invariant.groups.group import Group

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Block(ABC):
    """Copies of one representation; every copy is moved by the SAME group element.

    Args:
        group: What acts.
        copies: How many copies, at least 1.

    Raises:
        ValueError: Fewer than one copy, or a kind that the group does not have.
    """

    group: Group
    copies: int
    copies_last: ClassVar[bool] = False
    """Whether the layout is (dim, copies) instead of (copies, dim)."""
    permutes: ClassVar[bool] = False
    """Whether elements move numbers to other places and do nothing else to them."""

    @property
    def translated(self) -> bool:
        """Whether elements add something to the block."""
        return False

    def __post_init__(self) -> None:
        if self.copies < 1:
            raise ValueError(f"Expected at least one copy but got {self.copies}.")

    @property
    @abstractmethod
    def dim(self) -> int:
        """Dimension of one copy."""

    @abstractmethod
    def matrices(self, g: Tensor) -> Tensor:
        """The matrix of one copy for each element of a batch, shape (n, dim, dim), float64."""

    def characters(self, g: Tensor) -> Tensor:
        """The traces of `matrices`, shape (n,)."""
        return self.matrices(g).diagonal(dim1=1, dim2=2).sum(dim=1)

    @property
    def shape(self) -> tuple[int, ...]:
        """Layout of the block in a latent."""
        return (self.dim, self.copies) if self.copies_last else (self.copies, self.dim)

    @property
    def axes(self) -> tuple[int, ...]:
        """The layout with every axis by itself, where `shape` flattens some."""
        return self.shape

    @property
    def size(self) -> int:
        """Numbers in the block."""
        return self.copies * self.dim

    def transform(self, z: Tensor, g: Tensor) -> Tensor:
        """Act on a batch.

        Args:
            z: Latents of shape (B, *shape).
            g: One element for each latent, shape (B, *element_shape).

        Returns:
            The moved latents, same shape, dtype and device.
        """
        rho = self.matrices(g).to(z)
        return torch.einsum("bij,bcj->bci", rho, z)

    @abstractmethod
    def __str__(self) -> str: ...


@dataclass(frozen=True)
class Trivial(Block):
    """Numbers that the group leaves alone."""

    permutes: ClassVar[bool] = True

    @property
    def dim(self) -> int:
        """One number."""
        return 1

    def matrices(self, g: Tensor) -> Tensor:
        """Ones."""
        return torch.ones(len(g), 1, 1, dtype=torch.float64, device=g.device)

    def transform(self, z: Tensor, g: Tensor) -> Tensor:
        """Nothing moves."""
        return z

    def __str__(self) -> str:
        return f"{self.copies} trivial"


def joint_matrices(blocks: Sequence[Block], g: Tensor) -> Tensor:
    """The block-diagonal matrices of a sum of blocks, flattened one after another, for a batch of elements, float64."""
    size = sum(block.size for block in blocks)
    out = torch.zeros(len(g), size, size, dtype=torch.float64, device=g.device)
    start = 0
    for block in blocks:
        eye = torch.eye(block.copies, dtype=torch.float64, device=g.device)
        pattern = "nij,kl->nikjl" if block.copies_last else "nij,kl->nkilj"
        where = slice(start, start + block.size)
        out[:, where, where] = torch.einsum(pattern, block.matrices(g), eye).reshape(len(g), block.size, block.size)
        start += block.size
    return out
