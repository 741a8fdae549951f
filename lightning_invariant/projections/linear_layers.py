"""Fitted layers that may follow a projection: standardising and principal components."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lightning_invariant.guarantee import Guarantee, Separation

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

CONSTANT = 1e-6
"""A feature whose deviation is below this share of the largest is taken as constant and not scaled up."""


class _FittedLayer(nn.Module):
    """An affine map of features whose numbers are buffers."""

    mean: Tensor
    out_features: int
    guarantee: Guarantee

    def __init__(self, features: int) -> None:
        super().__init__()
        if features < 1:
            raise ValueError(f"Expected at least 1 feature but got {features}.")
        self.features = features
        self.register_buffer("mean", torch.zeros(features))

    @property
    def settings(self) -> dict[str, Any]:
        """Constructor arguments, JSON-able."""
        return {"features": self.features}

    def config(self) -> dict[str, Any]:
        """Name and constructor arguments."""
        return {"name": type(self).__name__, **self.settings}

    def extra_repr(self) -> str:
        """Sizes."""
        return f"{self.features} -> {self.out_features}"


class Standardise(_FittedLayer):
    """(f - mean) / deviation, feature by feature; constant features keep their scale.

    Guarantee:
        Bi-Lipschitz: an invertible affine map. Its distortion is the ratio of the extreme deviations.

    Args:
        features: Number of features.
    """

    scale: Tensor

    def __init__(self, features: int) -> None:
        super().__init__(features)
        self.out_features = features
        self.register_buffer("scale", torch.ones(features))
        self.guarantee = Guarantee(group="", separation=Separation.BILIPSCHITZ)

    @classmethod
    def fit(cls, f: Float[Tensor, "N K"]) -> Standardise:
        """Mean and deviation of features, at least two of them.

        Raises:
            ValueError: Fewer than two features' rows, or some are not finite.
        """
        exact, layer = _checked(f), cls(f.shape[1])
        deviation = exact.std(dim=0)
        layer.mean.copy_(exact.mean(dim=0))
        layer.scale.copy_(torch.where(deviation > CONSTANT * deviation.max(), deviation, torch.ones_like(deviation)))
        return layer

    def forward(self, f: Float[Tensor, "B K"]) -> Float[Tensor, "B K"]:
        """Standardised features, dtype of f."""
        work = f.to(torch.promote_types(f.dtype, torch.float32))
        return ((work - self.mean.to(work)) / self.scale.to(work)).to(f.dtype)


class PCA(_FittedLayer):
    """Coordinates along the principal components of the features.

    Guarantee:
        1-Lipschitz; isometric with all components, lossy with fewer.

    Args:
        features: Number of features.
        components: Number of components, from 1 to `features`.

    Raises:
        ValueError: More components than features, or none.
    """

    axes: Tensor

    def __init__(self, features: int, components: int) -> None:
        super().__init__(features)
        if not 1 <= components <= features:
            raise ValueError(f"Expected from 1 to {features} components but got {components}.")
        self.out_features = components
        self.register_buffer("axes", torch.eye(components, features))
        whole = components == features
        self.guarantee = Guarantee(
            group="",
            separation=Separation.ISOMETRIC if whole else Separation.LOSSY,
            lipschitz=1.0,
            distortion=1.0 if whole else None,
            note="" if whole else f"Keeps {components} of {features} principal components.",
        )

    @property
    def settings(self) -> dict[str, Any]:
        """Sizes."""
        return {"features": self.features, "components": self.out_features}

    @classmethod
    def fit(cls, f: Float[Tensor, "N K"], components: int) -> PCA:
        """Principal axes of features, largest variance first, each with a positive largest entry.

        Raises:
            ValueError: As the class and `Standardise.fit`.
        """
        exact, layer = _checked(f), cls(f.shape[1], components)
        layer.mean.copy_(exact.mean(dim=0))
        axes = torch.linalg.svd(exact - exact.mean(dim=0), full_matrices=True)[2][:components]
        largest = axes.gather(1, axes.abs().argmax(dim=1, keepdim=True))
        layer.axes.copy_(axes * largest.sign())
        return layer

    def forward(self, f: Float[Tensor, "B K"]) -> Float[Tensor, "B R"]:
        """Coordinates, dtype of f."""
        work = f.to(torch.promote_types(f.dtype, torch.float32))
        return ((work - self.mean.to(work)) @ self.axes.to(work).mT).to(f.dtype)


def _checked(f: Tensor) -> Tensor:
    exact = f.detach().double().cpu()
    if exact.dim() != 2 or len(exact) < 2 or not bool(exact.isfinite().all()):
        what = "" if bool(exact.isfinite().all()) else " with NaN or infinite entries"
        raise ValueError(f"Expected two rows of finite features or more but got shape {tuple(f.shape)}{what}.")
    return exact
