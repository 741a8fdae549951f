"""A projection followed by ordinary layers that were fitted on its features: standardising, principal components."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lightning_invariant.guarantee import Guarantee, Separation
from lightning_invariant.projections.base.projection import Projection, full_precision

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.groups import Representation


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

    Args:
        features: Number of features.

    Note:
        Bi-Lipschitz: an invertible affine map. Its distortion is the ratio of the extreme deviations.
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

    Args:
        features: Number of features.
        components: Number of components, from 1 to `features`.

    Raises:
        ValueError: More components than features, or none.

    Note:
        1-Lipschitz; isometric with all components, lossy with fewer.
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


Layer = Standardise | PCA
LAYERS: dict[str, type[Standardise] | type[PCA]] = {"Standardise": Standardise, "PCA": PCA}


class Composition(Projection):
    """Layers after a projection; what acts on features cannot spoil their invariance.

    Args:
        representation: That of the projection.
        projection: The projection, or its `config()`.
        layers: `Standardise` and `PCA` layers in order, or their `config()`.

    Raises:
        ValueError: Another representation than the projection's, an unknown layer, or sizes that do not meet.

    Note:
        The weaker of the projection's and each layer's, promise by promise.

    Example:
        >>> import torch
        >>> from lightning_invariant.projections.sets.sort import Sort
        >>> z = torch.randn(50, 9, generator=torch.Generator().manual_seed(0))
        >>> P = Composition.fit(Sort("S9: 9 points"), z, components=2)
        >>> P(z).shape, torch.allclose(P(z), P(z.flip(1)))
        (torch.Size([50, 2]), True)
    """

    def __init__(
        self,
        representation: Representation | str,
        projection: Projection | Mapping[str, Any],
        layers: Sequence[Layer | Mapping[str, Any]] = (),
    ) -> None:
        super().__init__(representation)
        self.projection = projection if isinstance(projection, Projection) else Projection.from_config(projection)
        if self.projection.representation != self.representation:
            raise ValueError(
                f"Expected the projection's representation '{self.projection.representation}' but got "
                f"'{self.representation}'; give the projection's."
            )
        self.layers = nn.Sequential(*map(_built, layers))
        self.out_features = reduce(_meet, self._layers(), self.projection.out_features)

    @classmethod
    def fit(
        cls,
        projection: Projection,
        z: Float[Tensor, "N *shape"],
        *,
        standardise: bool = True,
        components: int | None = None,
    ) -> Composition:
        """Fit layers on the features of latents.

        Args:
            projection: Shared, not copied.
            z: Latents to fit on, at least two.
            standardise: Whether features are standardised first.
            components: How many principal components to keep; no such layer if None.

        Raises:
            ValueError: Too few or not finite features, or more components than features.
        """
        layers: list[Layer] = []
        with torch.no_grad():
            f = projection(z)
            if standardise:
                layers.append(Standardise.fit(f).to(f.device))
                f = layers[-1](f)
            if components is not None:
                layers.append(PCA.fit(f, components).to(f.device))
        return cls(projection.representation, projection, layers)

    @property
    def guarantee(self) -> Guarantee:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The weaker of all, promise by promise."""
        return reduce(Guarantee.then, (layer.guarantee for layer in self._layers()), self.projection.guarantee)

    @property
    def settings(self) -> dict[str, Any]:
        """Descriptions of the projection and the layers."""
        return {"projection": self.projection.config(), "layers": [layer.config() for layer in self._layers()]}

    def forward(self, z: Float[Tensor, "B *shape"], *beside: Tensor) -> Float[Tensor, "B K"]:
        """Features.

        Args:
            z: Latents as the projection takes them.
            beside: What else the projection takes, such as a mask.
        """
        f = self.projection(z, *beside)
        with full_precision(f.device):
            return self.layers(f)

    def project(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B K"]:
        """Features of flat latents."""
        return self.layers(self.projection.project(z))

    def extra_repr(self) -> str:
        """Sizes and guarantee; the parts print themselves."""
        return f"'{self.representation}', {self.representation.size} -> {self.out_features}, {self.guarantee}"

    def _layers(self) -> list[Layer]:
        return [layer for layer in self.layers if isinstance(layer, (Standardise, PCA))]


def _built(layer: Layer | Mapping[str, Any]) -> Layer:
    if isinstance(layer, (Standardise, PCA)):
        return layer
    settings = dict(layer)
    name = settings.pop("name", None)
    if name not in LAYERS:
        raise ValueError(f"Expected a layer among {sorted(LAYERS)} but got {name!r}.")
    return LAYERS[name](**settings)


def _meet(features: int, layer: Layer) -> int:
    if layer.features != features:
        raise ValueError(f"Expected a layer for {features} features but got one for {layer.features}.")
    return layer.out_features
