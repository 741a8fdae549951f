"""A projection followed by ordinary layers that were fitted on its features."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lightning_invariant.guarantee import Guarantee
from lightning_invariant.projections.full_precision import full_precision
from lightning_invariant.projections.linear_layers import PCA, Standardise
from lightning_invariant.projections.projection import Projection

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.groups import Representation

Layer = Standardise | PCA
LAYERS: dict[str, type[Standardise] | type[PCA]] = {"Standardise": Standardise, "PCA": PCA}


class Composition(Projection):
    """Layers after a projection; what acts on features cannot spoil their invariance.

    Guarantee:
        The weaker of the projection's and each layer's, promise by promise.

    Args:
        representation: That of the projection.
        projection: The projection, or its `config()`.
        layers: `Standardise` and `PCA` layers in order, or their `config()`.

    Raises:
        ValueError: Another representation than the projection's, an unknown layer, or sizes that do not meet.

    Example:
        >>> import torch
        >>> from lightning_invariant.projections.sort import Sort
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
