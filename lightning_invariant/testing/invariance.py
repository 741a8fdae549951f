"""Is a module invariant? Measured on random latents."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from lightning_invariant.errors import GroupError, GuaranteeError
from lightning_invariant.evaluation.find.find import evaluating
from lightning_invariant.groups import Representation, Sampled
from lightning_invariant.groups.actions import mean_distance

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

ELEMENTS = 32
"""Group elements tried; all of a smaller group."""


def assert_invariant(
    module: Callable[[Tensor], Tensor],
    representation: Representation | str,
    *,
    tolerance: float = 1e-4,
    z: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> None:
    """Check that features do not change when latents are moved.

    Args:
        module: Any nn.Module or function from latents to features (B, ...); modules are run in eval mode.
        representation: How the group acts on the latents.
        tolerance: Largest mean change of features over their mean distance between different samples.
        z: Latents to measure on; 32 Gaussian latents in the representation's layout if None.
        generator: Source of randomness; seeded with 0 if None.

    Raises:
        GuaranteeError: An element changes the features more, they are not finite, or they are the same for all latents.
        LatentError: The latents do not fit the representation.

    Example:
        >>> assert_invariant(lambda z: z.sort(dim=1).values, "S5: points")
        >>> assert_invariant(lambda z: z[:, :3], "S5: points")
        Traceback (most recent call last):
        ...
        lightning_invariant.errors.GuaranteeError: Expected features that S5 leaves alone...
    """
    representation, generator = Representation.parse(representation), generator or torch.Generator().manual_seed(0)
    if isinstance(representation.group, Sampled):
        raise GroupError(
            f"Expected a group that moves single latents but {representation.group} is known by samples of the input; "
            "use assert_guarantee on a projection of K sampled latents."
        )
    if z is None:
        z = _like(module, representation.random(32, generator)).reshape(-1, *representation.shape)
    elements = representation.group.probe_elements(ELEMENTS, generator)
    with evaluating(module):
        f = module(z).flatten(1).double()
        scale = mean_distance(f)
        if not 8 * torch.finfo(z.dtype).eps * f.norm(dim=1).mean() < scale < float("inf"):
            raise GuaranteeError(
                f"Expected finite features that differ between latents but their mean distance is {scale:.3g}; "
                "a constant says nothing about invariance."
            )
        gaps = [
            (module(representation.transform(z, g)).flatten(1).double() - f).norm(dim=1).mean().item() for g in elements
        ]
    errors = torch.tensor(gaps, dtype=torch.float64).nan_to_num(nan=float("inf")) / scale
    worst = int(errors.argmax())
    if errors[worst] > tolerance:
        raise GuaranteeError(
            f"Expected features that {representation.group} leaves alone, up to {tolerance:.3g} of the distance "
            f"between different samples but got {errors[worst]:.3g} for the element "
            f"{representation.group.label(elements[worst])} and {errors.median():.3g} for the median element "
            f"of {len(elements)}."
        )


def _like(module: object, z: Tensor) -> Tensor:
    if isinstance(module, nn.Module):
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.is_floating_point():
                return z.to(tensor)
    return z
