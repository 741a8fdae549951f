"""Which projection to use: an isometric cross section where there is one, otherwise the best map that is known."""

from __future__ import annotations

from lightning_invariant.errors import GroupError
from lightning_invariant.groups import Representation, Sampled
from lightning_invariant.groups.group import LISTING_LIMIT
from lightning_invariant.guarantee import Separation
from lightning_invariant.projections.absolute import Absolute
from lightning_invariant.projections.chamber import Chamber
from lightning_invariant.projections.fsw import FSW
from lightning_invariant.projections.gram_root import GramRoot
from lightning_invariant.projections.gram_rows import GramRows
from lightning_invariant.projections.joined import Joined
from lightning_invariant.projections.max_filter import MaxFilter
from lightning_invariant.projections.norm import Norm
from lightning_invariant.projections.phases import PhaseInvariants
from lightning_invariant.projections.point_frames import PointFrames
from lightning_invariant.projections.point_sort import PointSort
from lightning_invariant.projections.projection import Projection
from lightning_invariant.projections.sampled import SampledMean
from lightning_invariant.projections.sign_outer import SignOuter
from lightning_invariant.projections.sort import Sort
from lightning_invariant.projections.spherical_bispectrum import SphericalBispectrum

ISOMETRIC: tuple[tuple[type[Projection], str], ...] = (
    (Sort, "sorting is an isometric cross section of one number a point"),
    (Absolute, "absolute values are an isometric cross section of independent signs"),
    (Norm, "the norm is an isometric cross section of one vector that rotations move everywhere"),
    (Chamber, "reflections generate the action, so the chamber map is an isometric cross section"),
)

KNOWN: tuple[tuple[type[Projection], str], ...] = (
    (PointSort, "no isometric map exists for points with several numbers, and sorted random combinations come next"),
    (FSW, "no isometric map exists for points with several numbers, and Fourier sliced quantiles come next"),
    (SignOuter, "no isometric map exists for numbers that share a sign, and the outer product comes next"),
    (GramRoot, "no isometric map exists for several vectors, and the root of their Gram matrix comes next"),
    (PhaseInvariants, "no bi-Lipschitz map is known for planar irreps, and norms with relative phases come next"),
    (SphericalBispectrum, "no bi-Lipschitz map is known for spherical irreps, and the bispectrum comes next"),
    (GramRows, "no bi-Lipschitz map is known for points that rotations turn, and rows of their Gram root come next"),
)
"""Each refuses what it is not made for; of those that fit the strongest is taken, the first of equals."""
FRAMED = 4096
"""Most frames that are looked from beside rows of a Gram root that tell generic sets apart without them."""
SIZED = (PointSort, FSW, SphericalBispectrum, GramRows)


def choose(representation: Representation | str, size: int | None = None) -> Projection:
    """The best projection known for a representation; its `reason` says why.

    In this order: an isometric cross section; a bi-Lipschitz or generically separating random map of the wished size
    on the JOINT latent; the best that is known for the group. All blocks are treated together.

    Args:
        representation: What acts on the latents.
        size: Wished number of features, for maps whose size is free; each map's own choice if None, which is twice the
            latent's size for the max filter.

    Raises:
        GroupError: Nothing is known; the message names what is.

    Source:
        Hansen, Calissano and Feragen 2024 (2401.12588) for the principle.

    Example:
        >>> choose("S9: 9 points").reason
        'S9: sorting is an isometric cross section of one number a point, so no distance between orbits is lost.'
    """
    representation = Representation.parse(representation)
    projection, why = _isometric(representation) or _best_known(representation, size)
    projection.reason = f"{representation.group}: {why}."
    return projection


def _isometric(representation: Representation) -> tuple[Projection, str] | None:
    for kind, why in ISOMETRIC:
        if (projection := _build(kind, representation)) is not None:
            return projection, f"{why}, so no distance between orbits is lost"
    return None


def _best_known(representation: Representation, size: int | None) -> tuple[Projection, str]:
    if isinstance(representation.group, Sampled):
        return SampledMean(representation), (
            "transforms are known by samples only, so latents (B, K, D) of K transforms are averaged; read the residual"
        )
    if (cloud := _cloud(representation, size)) is not None:
        return cloud
    candidates: list[tuple[Projection, str]] = []
    for kind, why in KNOWN:
        projection = _build(kind, representation, **({"out_features": size} if size and kind in SIZED else {}))
        if projection is not None and not (_listed(representation) and size and projection.out_features > size):
            candidates.append((projection, f"{why}; this one is {projection.guarantee.separation.words}"))
    if candidates:
        return max(candidates, key=lambda candidate: candidate[0].guarantee.separation)
    if _listed(representation):
        return _max_filter(representation, size)
    raise GroupError(
        f"Expected a representation for which a projection is known but got '{representation}': known are finite "
        f"groups of at most {LISTING_LIMIT} elements, S_n on points, sign flips, O(d) on vectors, irreps of SO(2), "
        "O(2), SO(3) and O(3), S_n x O(d) on points with vectors or irreps, and Sampled."
    )


def _cloud(representation: Representation, size: int | None) -> tuple[Projection, str] | None:
    """Rows of the Gram root, which keep distances, beside frames, which see what the rows merge."""
    rows = _build(GramRows, representation)
    frames = _build(PointFrames, representation)
    if not isinstance(rows, GramRows) or not isinstance(frames, PointFrames):
        return None
    lossy = rows.guarantee.separation is Separation.LOSSY
    if (size is not None and size < 8) or (rows.n**rows.space.d > FRAMED and not lossy):
        return None
    if size is not None:
        frames = PointFrames(representation, max(size // 4, frames.out_features - frames.kept + 1))
        rows = GramRows(representation, max(size - frames.out_features, rows.fixed_size + 1))
    joined = Joined(representation, [rows, frames])
    return joined, (
        "no bi-Lipschitz map is known for points that rotations turn; rows of their Gram root keep distances, and "
        f"views from frames of points tell the rest apart; together {joined.guarantee.separation.words}"
    )


def _build(kind: type[Projection], representation: Representation, **settings: int) -> Projection | None:
    try:
        return kind(representation, **settings)
    except GroupError:
        return None


def _listed(representation: Representation) -> bool:
    return representation.group.order is not None and representation.group.order <= LISTING_LIMIT


def _max_filter(representation: Representation, size: int | None) -> tuple[Projection, str]:
    projection = MaxFilter(representation, size)
    claim = (
        "is bi-Lipschitz for almost all templates"
        if projection.guarantee.separation is Separation.BILIPSCHITZ
        else f"tells any two fixed orbits apart for almost all templates (all from {2 * representation.size} on)"
    )
    return projection, (
        "reflections do not generate the action, so no isometric map exists; a max filter bank of "
        f"{projection.out_features} templates on the joint latent {claim}"
    )
