"""Features of several projections side by side."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lightning_invariant.guarantee import Guarantee, Separation, weakest
from lightning_invariant.projections.base.projection import Projection

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.groups import Representation


class Joined(Projection):
    """f = (P_1(z), P_2(z), ...) for projections of one representation.

    Args:
        representation: That of the projections.
        projections: The projections, or their `config()`.

    Raises:
        ValueError: None, or one of another representation.

    Note:
        Injective or generic as soon as one of them is, and as invariant, continuous and smooth as the least of them;
        the Lipschitz bounds add up in squares. Bi-Lipschitz if one is and all are Lipschitz. Generic also where one
        merges a single thing of latents in general position, such as mirror images, which another tells apart.

    Example:
        >>> import torch
        >>> from lightning_invariant.projections import Norm, Sort
        >>> P = Joined("S4: 4 points", [Sort("S4: 4 points"), Sort("S4: 4 points")])
        >>> P(torch.rand(5, 4)).shape, round(P.guarantee.lipschitz, 3)
        (torch.Size([5, 8]), 1.414)
    """

    def __init__(
        self, representation: Representation | str, projections: Sequence[Projection | Mapping[str, Any]]
    ) -> None:
        super().__init__(representation)
        built = [p if isinstance(p, Projection) else Projection.from_config(p) for p in projections]
        wrong = [str(p.representation) for p in built if p.representation != self.representation]
        if not built or wrong:
            raise ValueError(f"Expected projections of '{self.representation}' but got {wrong or 'none'}.")
        self.projections = nn.ModuleList(built)
        self.out_features = sum(p.out_features for p in built)
        self.guarantee = _joint([p.guarantee for p in built])
        merged = {p.merges for p in built if p.merges} & {p.tells_apart for p in built}
        if merged and self.guarantee.separation < Separation.GENERIC:
            note = f"Latents in general position are told apart, {', '.join(sorted(merged))} included."
            self.guarantee = replace(self.guarantee, separation=Separation.GENERIC, note=note)

    @property
    def settings(self) -> dict[str, Any]:
        """Descriptions of the projections."""
        return {"projections": [p.config() for p in self._parts()]}

    def forward(self, z: Float[Tensor, "B *shape"], *beside: Tensor) -> Float[Tensor, "B K"]:
        """Features.

        Args:
            z: Latents as the projections take them.
            beside: What else they take, such as a mask.
        """
        return torch.cat([p(z, *beside) for p in self.projections], dim=-1)

    def project(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B K"]:
        """Features of flat latents."""
        return torch.cat([p.project(z) for p in self._parts()], dim=-1)

    def extra_repr(self) -> str:
        """Sizes and guarantee; the parts print themselves."""
        return f"'{self.representation}', {self.representation.size} -> {self.out_features}, {self.guarantee}"

    def _parts(self) -> list[Projection]:
        return [p for p in self.projections if isinstance(p, Projection)]


def _joint(parts: list[Guarantee]) -> Guarantee:
    bounds = [part.lipschitz for part in parts]
    lipschitz = None if None in bounds else sum(b * b for b in bounds if b is not None) ** 0.5
    best = max(part.separation for part in parts)
    # Beside another map an isometry is one no longer, and an unbounded stretch spoils a lower bound's partner.
    limit = Separation.BILIPSCHITZ if lipschitz is not None else Separation.INJECTIVE
    if len(parts) > 1:
        best = min(best, limit)
    return Guarantee(
        group=parts[0].group,
        separation=best,
        invariance=weakest([part.invariance for part in parts]),
        lipschitz=lipschitz,
        distortion=parts[0].distortion if len(parts) == 1 else None,
        continuous=all(part.continuous for part in parts),
        differentiable="; ".join(dict.fromkeys(p.differentiable for p in parts if p.differentiable != "everywhere"))
        or "everywhere",
        source="; ".join(dict.fromkeys(part.source for part in parts if part.source)),
        note=" ".join(dict.fromkeys(p.note for p in parts if p.note and p.separation >= best)),
    )
