"""Networks that must survive the trip through a graph; one row enrols a network in every test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable


class Apply(nn.Module):
    """A function with the layers that it uses."""

    def __init__(self, function: Callable[..., Any], *layers: nn.Module) -> None:
        super().__init__()
        self.function, self.layers = function, nn.ModuleList(layers)

    def forward(self, *x: Tensor) -> Any:
        return self.function(*self.layers, *x)


class SecretViT(nn.Module):
    """A small vision transformer whose class must not be named by its graph."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 16, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.register_buffer("position", torch.randn(1, 5, 16), persistent=False)
        self.blocks = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, activation="gelu"), 2, enable_nested_tensor=False
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.position
        return self.blocks(x)[:, 0]


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.relu(self.first(x)))


def _assign(x: Tensor) -> Tensor:
    y = x.clone()
    y[:, 0] = 3.0
    y[:, [2, 3]] += 1.0
    return y


def _gram(x: Tensor) -> Tensor:
    return torch.einsum("bchw,bchv->bwv", x, x) @ x[:, 0]


def _orders(x: Tensor) -> Tensor:
    parts = (x.sort(-1).values, x.topk(2, -1).values, x.gather(-1, x.argsort(-1)), x.std(-1, keepdim=True))
    return torch.cat([*parts, x.norm(dim=-1, keepdim=True), x.amin(-1, keepdim=True)], -1)


def _spectrum(x: Tensor) -> Tensor:
    return torch.fft.rfft(x).abs() + torch.fft.irfft(torch.fft.rfft(x), n=8)[..., :5] + torch.fft.fft(x).abs()[..., :5]


def _turns(x: Tensor) -> Tensor:
    turned = [x.roll(1, -1), x.rot90(1, (2, 3)), x.flip(2), torch.cat([x[:, :, :4], x[:, :, 4:]], 2)]
    return torch.stack(turned, 1).amax(1)


def _sample(x: Tensor) -> Tensor:
    grid = F.affine_grid(torch.eye(2, 3, device=x.device).expand(x.shape[0], 2, 3), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)


def _resize(x: Tensor) -> Tensor:
    wide = F.interpolate(F.pad(x, (1, 1, 1, 1), mode="circular"), scale_factor=2, mode="bilinear")
    return wide.mean((2, 3)) + F.interpolate(F.pad(x, (1, 1)), size=(5, 5), mode="nearest").sum((2, 3))


def _batch_sizes(x: Tensor) -> Tensor:
    folded = x.reshape(x.shape[0] * 2, -1).sum(1).reshape(x.shape[0], 2) / x.shape[0]
    return (
        folded + torch.arange(2, device=x.device) + torch.zeros(x.shape[0] - 1 + 1, 2, device=x.device, dtype=x.dtype)
    )


def _masks(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.0).masked_fill(x < -1, float("-inf")).logsumexp(1)


def _booleans(x: Tensor) -> Tensor:
    low, high = x > -0.5, x < 0.5
    mask = (low & high) | (~low ^ high)
    mask &= high
    mask |= low
    mask ^= low & True
    odd = (x.long() & 1) | (2 & x.long()) ^ ~x.long()
    return torch.where(mask | (False | low).logical_not() & mask[:, :1], x, 0.0) + odd


def _pieces(x: Tensor) -> Tensor:
    chosen = x.index_select(1, torch.tensor([0, 2])).repeat(1, 4)
    return torch.cat([a * b for a, b in zip(x.chunk(2, 1), x.split([4, 4], 1), strict=True)], 1) + chosen


def _casts(x: Tensor) -> Tensor:
    return (x.to(torch.float64) * 2).float() + F.one_hot(x.argmax(1), 8).float()


def _rotate(x: Tensor) -> Tensor:
    z = torch.view_as_complex(x.reshape(x.shape[0], -1, 2)) * torch.exp(1j * torch.arange(4))
    return torch.view_as_real(z).flatten(1)


def _linear_algebra(x: Tensor) -> Tensor:
    return torch.cat(
        [torch.linalg.eigvalsh(x.mT @ x), torch.linalg.svdvals(x), torch.cdist(x, x).amax((1, 2))[:, None]], 1
    )


def _statistics(x: Tensor) -> Tensor:
    spread, mean = torch.var_mean(x, dim=1, keepdim=True)
    binned = torch.bucketize(x, torch.linspace(-1, 1, 5)).float()
    parts = (spread, mean, x.quantile(0.25, dim=1, keepdim=True), x.nanmean(1, keepdim=True), torch.logaddexp(x, -x))
    return torch.cat([*parts, binned, torch.linalg.norm(x, dim=1, keepdim=True), torch.special.i0(x)], 1)


class Rotary(nn.Module):
    """Attention with rotary positions, grouped queries and root-mean-square norms, as in language models."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.queries, self.keys = nn.RMSNorm(16), nn.Linear(16, 32), nn.Linear(16, 16)
        self.register_buffer("speeds", 1 / 100 ** (torch.arange(0, 8, 2) / 8))

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        q, k = (layer(x).unflatten(-1, (-1, 8)).transpose(1, 2) for layer in (self.queries, self.keys))
        angles = torch.outer(torch.arange(x.shape[1], device=x.device).float(), self.speeds).repeat(1, 2)

        def turned(z: Tensor) -> Tensor:
            return z * angles.cos() + torch.cat([-z[..., 4:], z[..., :4]], -1) * angles.sin()

        found = F.scaled_dot_product_attention(turned(q), turned(k), k, enable_gqa=True)
        return found.transpose(1, 2).flatten(1)


class Messages(nn.Module):
    """Messages between points in space, as in an E(n)-equivariant network."""

    def __init__(self) -> None:
        super().__init__()
        self.edge, self.node = nn.Linear(1, 8), nn.Linear(8, 8)

    def forward(self, points: Tensor) -> Tensor:
        gaps = points[:, :, None] - points[:, None]
        messages = F.silu(self.edge(gaps.square().sum(-1, keepdim=True)))
        moved = (gaps * messages.mean(-1, keepdim=True)).sum(2)
        return self.node(messages).sum((1, 2)) + torch.linalg.norm(moved, dim=-1).sum(1, keepdim=True)


IMAGE, ROW, SET = (1, 8, 8), (8,), (5, 16)
TABLE: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "conv": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3),
            nn.AvgPool2d(2),
            nn.Dropout2d(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(16, 4),
        ),
        IMAGE,
    ),
    "group norms": (
        lambda: nn.Sequential(nn.Conv2d(1, 8, 3), nn.GroupNorm(2, 8), nn.ELU(), nn.InstanceNorm2d(8), nn.LeakyReLU()),
        IMAGE,
    ),
    "circular conv": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 4, 3, padding="same", padding_mode="circular"), nn.ConvTranspose2d(4, 2, 2, 2), nn.Softplus()
        ),
        IMAGE,
    ),
    "mlp": (
        lambda: nn.Sequential(
            nn.Linear(8, 16), nn.LayerNorm(16), nn.GELU(), nn.Dropout(), nn.Linear(16, 16), nn.SiLU(), nn.Softmax(-1)
        ),
        ROW,
    ),
    "input in place": (lambda: nn.Sequential(nn.ReLU(inplace=True), nn.Linear(8, 3)), ROW),
    "identity": (lambda: nn.Identity(), ROW),
    "tied": (Tied, (6,)),
    "weight norm": (lambda: nn.utils.parametrizations.weight_norm(nn.Linear(8, 4)), ROW),
    "frozen": (lambda: nn.Linear(8, 4).requires_grad_(False), ROW),
    "vit": (SecretViT, IMAGE),
    "attention": (
        lambda: Apply(lambda layer, x: layer(x, x, x)[0], nn.MultiheadAttention(16, 4, batch_first=True)),
        SET,
    ),
    "rotary": (Rotary, SET),
    "messages": (Messages, (5, 3)),
    "channel shuffle": (
        lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.ChannelShuffle(2), nn.Upsample(scale_factor=2)),
        IMAGE,
    ),
    "sdpa": (lambda: Apply(lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True)), (4, 5, 16)),
    "gru": (lambda: Apply(lambda layer, x: layer(x)[0][:, -1], nn.GRU(16, 8, batch_first=True)), SET),
    "lstm": (lambda: Apply(lambda layer, x: layer(x)[0][:, -1], nn.LSTM(16, 8, batch_first=True)), SET),
    **{
        function.__name__.strip("_"): (lambda function=function: Apply(function), shape)
        for function, shape in [
            (_assign, ROW),
            (_gram, IMAGE),
            (_orders, (5,)),
            (_spectrum, ROW),
            (_turns, IMAGE),
            (_sample, IMAGE),
            (_resize, IMAGE),
            (_batch_sizes, ROW),
            (_masks, ROW),
            (_booleans, ROW),
            (_pieces, ROW),
            (_casts, ROW),
            (_rotate, ROW),
            (_linear_algebra, (8, 3)),
            (_statistics, ROW),
        ]
    },
}


def build(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    """The network of a row in eval mode with seeded weights, and the shape of one input."""
    torch.manual_seed(0)
    make, shape = TABLE[name]
    return make().eval(), shape
