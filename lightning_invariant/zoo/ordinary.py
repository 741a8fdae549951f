"""Two ordinary image encoders that know nothing of symmetry: a small CNN and a small vision transformer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

SIDE, PATCH = 28, 4


class SmallCNN(nn.Sequential):
    """Three convolutions of 3 x 3, each halving the image, and a linear layer.

    Args:
        size: Numbers in a latent.
        width: Channels of the first convolution; the second has twice, the third four times as many.

    Example:
        >>> SmallCNN(size=64)(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 64])
    """

    def __init__(self, size: int = 64, width: int = 16) -> None:
        layers, channels = [], 1
        for out in (width, 2 * width, 4 * width):
            layers += [nn.Conv2d(channels, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU(), nn.MaxPool2d(2)]
            channels = out
        super().__init__(*layers, nn.Flatten(), nn.Linear(9 * channels, size))


class SmallViT(nn.Module):
    """A vision transformer on 49 patches of 4 x 4 pixels; the latent is the mean of the tokens.

    Args:
        size: Numbers in a latent, and in a token.
        depth: Blocks.
        heads: Of the attention; they divide the size.

    Source:
        Dosovitskiy et al. 2021 (arXiv 2010.11929); the mean over tokens after Zhai et al. 2022 (arXiv 2106.04560).

    Example:
        >>> SmallViT(size=64, depth=1)(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 64])
    """

    def __init__(self, size: int = 64, depth: int = 3, heads: int = 4) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, size, PATCH, stride=PATCH)
        self.positions = nn.Parameter(0.02 * torch.randn((SIDE // PATCH) ** 2, size))
        self.blocks = nn.Sequential(*(_Block(size, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(size)

    def forward(self, x: Float[Tensor, "B 1 28 28"]) -> Float[Tensor, "B D"]:
        """Latents."""
        tokens = self.patches(x).flatten(2).mT + self.positions
        return self.norm(self.blocks(tokens)).mean(dim=1)


class _Block(nn.Module):
    """Attention and an MLP, each on normalised tokens and added to them."""

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        if size % heads:
            raise ValueError(f"Expected heads that divide the size but got {heads} and {size}.")
        self.heads = heads
        self.before, self.after = nn.LayerNorm(size), nn.LayerNorm(size)
        self.qkv, self.out = nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.mlp = nn.Sequential(nn.Linear(size, 2 * size), nn.GELU(), nn.Linear(2 * size, size))

    def forward(self, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        q, k, v = self.qkv(self.before(x)).unflatten(-1, (3, self.heads, -1)).movedim(2, 0).transpose(2, 3)
        attended = F.scaled_dot_product_attention(q, k, v)
        x = x + self.out(attended.transpose(1, 2).flatten(2))
        return x + self.mlp(self.after(x))
