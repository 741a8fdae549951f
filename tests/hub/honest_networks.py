"""Networks of usual sizes and shapes, written out since no library of them is at hand."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut."""

    def __init__(self, inner: int, width: int, stride: int) -> None:
        super().__init__()
        outer = 4 * width
        self.body = nn.Sequential(
            *(nn.Conv2d(inner, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)),
            *(nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)),
            *(nn.Conv2d(width, outer, 1, bias=False), nn.BatchNorm2d(outer)),
        )
        same = inner == outer and stride == 1
        shortcut = [nn.Conv2d(inner, outer, 1, stride, bias=False), nn.BatchNorm2d(outer)]
        self.shortcut = nn.Identity() if same else nn.Sequential(*shortcut)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


def resnet50(out: int = 64) -> nn.Module:
    """25 million parameters, images of 224 x 224."""
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True)]
    layers.append(nn.MaxPool2d(3, 2, 1))
    inner = 64
    for width, count, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for i in range(count):
            layers.append(Bottleneck(inner, width, stride if i == 0 else 1))
            inner = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inner, out)).eval()


class Attention(nn.Module):
    """Pre-norm attention and MLP of a vision transformer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.norms = heads, nn.ModuleList([nn.LayerNorm(width, eps=1e-6) for _ in range(2)])
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        b, n, d = x.shape
        q, k, v = self.qkv(self.norms[0](x)).reshape(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        attended = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, d)
        x = x + self.project(attended)
        return x + self.mlp(self.norms[1](x))


class ViT(nn.Module):
    """86 million parameters as the base model, images of 224 x 224 in patches of 16."""

    def __init__(self, width: int = 768, depth: int = 12, heads: int = 12, out: int = 64) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 16, 16)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(0.02 * torch.randn(1, 197, width))
        self.blocks = nn.Sequential(*(Attention(width, heads) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width, eps=1e-6), nn.Linear(width, out)

    def forward(self, x: Tensor) -> Tensor:
        z = self.patches(x).flatten(2).transpose(1, 2)
        z = torch.cat([self.token.expand(z.shape[0], -1, -1), z], dim=1) + self.positions
        return self.head(self.norm(self.blocks(z))[:, 0])


class UNet(nn.Module):
    """31 million parameters, images of 256 x 256, latents from its widest feature map."""

    def __init__(self, width: int = 64, depth: int = 4, out: int = 64) -> None:
        super().__init__()
        sizes = [width * 2**i for i in range(depth + 1)]
        self.down = nn.ModuleList([self._double(a, b) for a, b in zip([1, *sizes], sizes, strict=False)])
        pairs = list(zip(sizes[:0:-1], sizes[-2::-1], strict=True))
        self.widen = nn.ModuleList([nn.ConvTranspose2d(a, b, 2, 2) for a, b in pairs])
        self.up = nn.ModuleList([self._double(2 * b, b) for _, b in pairs])
        self.head = nn.Conv2d(width, out, 1)

    @staticmethod
    def _double(inner: int, outer: int) -> nn.Module:
        layers = [nn.Conv2d(inner, outer, 3, padding=1), nn.BatchNorm2d(outer), nn.ReLU(inplace=True)]
        return nn.Sequential(*layers, nn.Conv2d(outer, outer, 3, padding=1), nn.BatchNorm2d(outer), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for i, block in enumerate(self.down):
            x = block(x if i == 0 else nn.functional.max_pool2d(x, 2))
            kept.append(x)
        for widen, block, beside in zip(self.widen, self.up, kept[-2::-1], strict=True):
            x = block(torch.cat([beside, widen(x)], dim=1))
        return self.head(x).mean((2, 3))


def volumes(width: int = 32, out: int = 64) -> nn.Module:
    """Three-dimensional convolutions on volumes of 128 x 128 x 128."""
    layers = [nn.Conv3d(1, width, 3, padding=1), nn.BatchNorm3d(width), nn.ReLU(inplace=True)]
    layers += [nn.Conv3d(width, width, 3, padding=1), nn.ReLU(), nn.MaxPool3d(2), nn.Conv3d(width, out, 3), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool3d(1), nn.Flatten()).eval()


HONEST = {
    "volumes": (volumes, (1, 128, 128, 128)),
    "resnet50": (resnet50, (3, 224, 224)),
    "vit": (lambda: ViT().eval(), (3, 224, 224)),
    "unet": (lambda: UNet().eval(), (1, 256, 256)),
}
"""Name, network and shape of an input."""
