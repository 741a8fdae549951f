"""Principal components of raw latents beside those of the same latents modulo the group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lightning_invariant import quotient
from lightning_invariant.groups import Representation
from lightning_invariant.quotient.found import hide
from lightning_invariant.tracking.figures import scatter_pair
from lightning_invariant.tracking.labels import plain_values
from lightning_invariant.tracking.rows import spread_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from jaxtyping import Bool, Float
    from matplotlib.figure import Figure
    from torch import Tensor

SHOWN, SEARCHED = 400, 60
"""Most latents that are drawn: where the nearest representative is found fast, and where each takes a search."""


def quotient_pair(
    latents: Float[Tensor, "N *shape"],
    representation: Representation | str,
    labels: Sequence[Any] | Tensor | np.ndarray | None = None,
    *,
    moved: Bool[Tensor, " N"] | None = None,
    mask: Bool[Tensor, "N n"] | None = None,
    title: str | None = None,
) -> Figure:
    """Draw latents by their own principal components, and by those of the quotient (`quotient.pca`), side by side.

    In the right panel each latent is aligned to the Fréchet mean first, so latents of one orbit fall on one point.

    Args:
        latents: Latents of one sample each; those that are not finite are left out.
        representation: What acts.
        labels: Labels, as for `scatter_pair`.
        moved: Which latents come from transformed inputs, (N,); those are drawn as rings.
        mask: Which points exist, as in `quotient.align`.
        title: Heading over both panels.

    Returns:
        A figure 900 pixels wide at its own resolution, of 400 latents at most, or 60 where aligning takes a search.

    Raises:
        LatentError: The latents do not fit the representation.
        ValueError: No latent is finite.
        InvariantError: Matplotlib is not installed.
        ImportError: SciPy is missing where points have to be matched.
    """
    representation = Representation.parse(representation)
    flat = representation.flatten(latents).detach().cpu()
    fine = flat.isfinite().all(dim=1).nonzero()[:, 0]
    if len(fine) == 0:
        raise ValueError(f"Expected finite latents but none of {len(flat)} is.")
    limit = SHOWN if quotient.is_exact(representation) else SEARCHED
    rows = fine[spread_rows(len(fine), limit)]
    chosen, visible = flat[rows], None if mask is None else mask.detach().cpu()[rows]
    centre = quotient.mean(chosen, representation, visible)
    chosen = chosen if visible is None else hide(representation, chosen, visible)
    known = None if labels is None else plain_values(labels)
    return scatter_pair(
        chosen,
        representation.flatten(centre.aligned),
        None if known is None else [known[row] for row in rows.tolist()],
        moved=None if moved is None else moved.detach().cpu()[rows],
        title=title,
        names=("raw latents", f"modulo {representation.group}"),
    )
