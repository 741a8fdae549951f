"""Which projection to use: an isometric cross section where there is one, otherwise the best map that is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning_invariant.errors import GroupError
from lightning_invariant.groups import Representation, Sampled
from lightning_invariant.groups.centring import linear_part
from lightning_invariant.groups.finite_blocks import Points
from lightning_invariant.groups.group import LISTING_LIMIT
from lightning_invariant.guarantee import Separation
from lightning_invariant.projections.base.completeness import measured_distortion, uneven_directions
from lightning_invariant.projections.base.joined import Joined
from lightning_invariant.projections.base.reduced import Identity, Mixed, Reduced, image, moves_nothing, with_copies
from lightning_invariant.projections.base.sampled import SampledMean
from lightning_invariant.projections.finite.chamber import Chamber
from lightning_invariant.projections.finite.cone import Cone
from lightning_invariant.projections.finite.max_filter import MaxFilter
from lightning_invariant.projections.finite.unfolded import Unfolded, unfolded
from lightning_invariant.projections.sets.fsw import FSW
from lightning_invariant.projections.sets.pairs import PairSort
from lightning_invariant.projections.sets.sort import PointSort, Sort
from lightning_invariant.projections.signs.absolute import Absolute
from lightning_invariant.projections.signs.sign_outer import SignOuter
from lightning_invariant.projections.space.centred import Centred
from lightning_invariant.projections.space.circle_filter import CircleMaxFilter
from lightning_invariant.projections.space.gram import GramRoot
from lightning_invariant.projections.space.gram_rows import MIRRORED, GramRows
from lightning_invariant.projections.space.hermitian import HermitianRoot
from lightning_invariant.projections.space.phases import PhaseInvariants, PhaseOuter
from lightning_invariant.projections.space.point_frames import PointFrames
from lightning_invariant.projections.space.polar import Norm, SingularValues, SortedEigenvalues
from lightning_invariant.projections.space.spherical import SphericalBispectrum
from lightning_invariant.projections.space.spread import Spread, spread
from lightning_invariant.projections.space.vector_sums import VectorSums

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lightning_invariant.projections.base.projection import Projection

LARGE, LARGE_SIZE = 256, 512
"""Latents of more numbers than the first are given the second as size, unless another is wished."""

ISOMETRIC: tuple[tuple[type[Projection], str], ...] = (
    (Sort, "sorting is an isometric cross section of one number a point"),
    (Absolute, "absolute values are an isometric cross section of independent signs"),
    (Norm, "the norm is an isometric cross section of one vector that rotations move everywhere"),
    (SortedEigenvalues, "sorted eigenvalues are an isometric cross section of one symmetric matrix"),
    (SingularValues, "singular values are an isometric cross section of one matrix that is turned from both sides"),
    (Chamber, "reflections generate the action, so the chamber map is an isometric cross section"),
)

MIXABLE: tuple[tuple[type[Projection], str], ...] = (
    (SignOuter, "no isometric map exists for numbers that share a sign, and the outer product comes next"),
    (PhaseOuter, "no isometric map exists for numbers that share a phase, and the outer product comes next"),
    (GramRoot, "no isometric map exists for several vectors, and the root of their Gram matrix comes next"),
    (
        HermitianRoot,
        "no isometric map exists for several complex vectors, and the root of their Gram matrix comes next",
    ),
)
"""Maps whose size the number of channels fixes: where it exceeds the wished one, channels are mixed to fewer."""

SIZED: tuple[tuple[type[Projection], str], ...] = (
    (Cone, "no isometric map exists for a plane that is turned, and the cone comes next"),
    (PointSort, "no isometric map exists for points with several numbers, and sorted random combinations come next"),
    (FSW, "no isometric map exists for points with several numbers, and Fourier sliced quantiles come next"),
    (CircleMaxFilter, "no isometric map exists for planar irreps, and a max filter over all rotations comes next"),
    (PairSort, "no bi-Lipschitz map is known for pairs of many points, and sorted colour refinement comes next"),
    (SphericalBispectrum, "no bi-Lipschitz map is known for spherical irreps, and products of channels come next"),
    (GramRows, "no bi-Lipschitz map is known for points that rotations turn, and rows of their Gram root come next"),
)
"""Each refuses what it is not made for; of those that fit the strongest is taken, the first of equals."""
LAST = (PhaseInvariants, "frequencies are too high for a max filter, and norms with relative phases come next")
MEASURABLE = 2**29
"""Most entries of Jacobian times group element that measuring a distortion may take."""
FEW = 720
"""Most orders of points, those of six, for which a max filter is affordable where pairs carry numbers."""
TEMPLATES = 2**22
"""Most numbers in the templates of a max filter; of larger latents, channels are mixed to fewer first."""
MOST_COLUMNS = 4
"""Sorted columns that are taken for each number of a point where fewer are not bi-Lipschitz."""
FRAMED = 1000
"""Most frames that are looked from beside rows of a Gram root that tell generic sets apart without them."""


def choose(representation: Representation | str, size: int | None = None) -> Projection:
    """Return the best projection known for a representation; its `reason` says why.

    First the action is reduced to its image: what acts as the identity is divided out. Then, in this order: the latent
    itself where nothing moves; an isometric cross section; the map with the strongest guarantee of the wished size,
    for all blocks together.

    Args:
        representation: What acts on the latents.
        size: Wished number of features, for maps that are not isometric. If None, each map's own choice up to 256
            numbers in the latent, which is twice the latent's size for the max filter, and 512 features beyond. With
            fewer than about twice the latent's size no map keeps all orbits apart; `guarantee` says what is known.

    Raises:
        GroupError: Nothing is known; the message names what is.
        ValueError: The size is below 1, or leaves no room for the map.

    References:
        Hansen, Calissano and Feragen 2024 (2401.12588) for the principle.

    Example:
        >>> choose("S9: 9 points").reason
        'S9: sorting is an isometric cross section of one number a point, so no distance between orbits is lost.'
    """
    representation = Representation.parse(representation)
    if size is not None and size < 1:
        raise ValueError(f"Expected a size of at least 1 feature but got {size}.")
    projection, why = _chosen(representation, size)
    projection.reason = f"{representation.group}: {why}."
    return projection


def _chosen(representation: Representation, size: int | None) -> tuple[Projection, str]:
    if isinstance(representation.group, Sampled):
        return SampledMean(representation), (
            "transforms are known by samples only, so latents (B, K, D) of K transforms are averaged; read the residual"
        )
    if moves_nothing(representation):
        return Identity(representation), "nothing moves, so the latent itself is kept"
    if linear_part(representation) != representation:
        projection, why = _chosen(Centred.target(representation), size)
        moved = any(block.translated for block in representation)
        first = "positions lose their mean, which translations move" if moved else "translations move nothing"
        return Centred(representation, projection), f"{first}; {why}"
    wide = spread(representation)
    if wide != representation:
        projection = Spread(representation, _chosen(wide, size)[0])
        return projection, "what belongs to all points is given to each, and the best map of such clouds comes next"
    if (fields := _without_positions(representation)) is not None:
        size = LARGE_SIZE if size is None and representation.size > LARGE else size
        projection, why = _chosen(fields, size)
        return Unfolded(representation, projection), f"pixels and channels move as in '{_short(fields)}'; {why}"
    reduced, order = image(representation)
    if len(reduced) == len(representation) and (found := _isometric(representation)) is not None:
        return found
    if reduced == representation and order is None:
        return _best_known(representation, size)
    projection, why = _isometric(reduced) or _best_known(reduced, size)
    return Reduced(representation, projection), f"the action has the same orbits as '{_short(reduced)}'; {why}"


def _without_positions(representation: Representation) -> Representation | None:
    """What feature maps are read as; None where there are none, or fields are turned in a basis of their own."""
    try:
        fields = unfolded(representation)
    except GroupError:
        return None
    return None if fields == representation else fields


def _short(representation: Representation) -> str:
    text = str(representation)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _isometric(representation: Representation) -> tuple[Projection, str] | None:
    for kind, why in ISOMETRIC:
        if (projection := _build(kind, representation)) is not None:
            return projection, f"{why}, so no distance between orbits is lost"
    return None


def _best_known(representation: Representation, size: int | None) -> tuple[Projection, str]:
    if size is None and representation.size > LARGE:
        size = LARGE_SIZE
    if (cloud := _cloud(representation, size)) is not None:
        return cloud
    candidates = list(_candidates(representation, size))
    if candidates:
        projection, why = max(candidates, key=lambda candidate: candidate[0].guarantee.separation)
        return projection, f"{why}; this one is {projection.guarantee.separation.words}{_stated(projection)}"
    if _listed(representation):
        return _max_filter(representation, size)
    raise GroupError(
        f"Expected a representation for which a projection is known but got '{representation}': known are finite "
        f"groups of at most {LISTING_LIMIT} elements, S_n on points and pairs, sign flips, O(d), U(n) and SU(2) on "
        "vectors, irreps of SO(2), O(2), SO(3) and O(3), S_n x O(d) on points with vectors or irreps, and Sampled."
    )


def _candidates(representation: Representation, size: int | None) -> Iterator[tuple[Projection, str]]:
    for kind, why in MIXABLE:
        projection = _build(kind, representation) if size is None else _within(kind, representation, size)
        if projection is not None:
            yield projection, why + ("; channels are mixed to fewer" if isinstance(projection, Mixed) else "")
    few = representation.group.order is not None and representation.group.order <= FEW
    for kind, why in SIZED:
        if kind is PairSort and few:
            continue
        wished = _enough_columns(representation) if size is None and kind is PointSort else size
        projection = _build(kind, representation, **({"out_features": wished} if wished and kind is not Cone else {}))
        if projection is not None:
            yield projection, why
    projection = _build(LAST[0], representation) if size is None else _within(LAST[0], representation, size)
    if projection is not None:
        yield projection, LAST[1]


def _enough_columns(representation: Representation) -> int | None:
    """Size from which sorted columns are bi-Lipschitz, where that is not much more than their usual one."""
    points = [block for block in representation if isinstance(block, Points)]
    copies = sum(block.copies for block in points)
    if copies < 2:
        return None
    n = points[0].dim
    columns = n * (copies - 1) + 1
    rest = representation.size - n * copies
    return columns * n + rest if columns <= MOST_COLUMNS * copies else None


def _within(kind: type[Projection], representation: Representation, size: int) -> Projection | None:
    """The map on as many channels as give at most `size` features, mixed where these are not all."""
    top = max(block.copies for block in representation)

    def built(scale: int) -> Projection | None:
        copies = [min(block.copies, -(-block.copies * scale // top)) for block in representation]
        projection = _build(kind, with_copies(representation, copies))
        return projection if projection is not None and projection.out_features <= size else None

    low, high, best = 0, 1, None
    while high <= top and (found := built(high)) is not None:
        low, high, best = high, min(2 * high, top) if high < top else top + 1, found
    while high - low > 1:
        middle = (low + high) // 2
        if (found := built(middle)) is None:
            high = middle
        else:
            low, best = middle, found
    if best is None or best.representation == representation:
        return best
    return Mixed(representation, best)


def _cloud(representation: Representation, size: int | None) -> tuple[Projection, str] | None:
    """Rows of the Gram root, which keep distances, beside what sees the sets that the rows merge."""
    rows = _build(GramRows, representation)
    if not isinstance(rows, GramRows):
        return None
    frames, sums = _build(PointFrames, representation), _build(VectorSums, representation)
    lossy = rows.guarantee.separation is Separation.LOSSY
    handed = isinstance(sums, VectorSums) and rows.space.special and lossy
    lossy = lossy and not (handed and rows.merges == MIRRORED)
    seen = isinstance(frames, PointFrames) and (lossy or rows.n**rows.space.d <= FRAMED)
    if not (handed or seen) or (size is not None and size < (sums.out_features + 8 if handed and sums else 8)):
        return None
    beside: list[Projection] = [sums] if handed and sums is not None else []
    if seen and isinstance(frames, PointFrames):
        if size is not None:
            frames = PointFrames(representation, max(size // 4, frames.out_features - frames.kept + 1))
        if size is None or size - sum(p.out_features for p in [*beside, frames]) > rows.fixed_size:
            beside.append(frames)
    if size is not None:
        left = size - sum(projection.out_features for projection in beside)
        rows = GramRows(representation, max(left, rows.fixed_size + 1))
    joined = Joined(representation, [rows, *beside])
    sees = [
        "weighted sums of vectors tell mirror images apart" if handed else "",
        "views from frames of points tell the rest apart" if len(beside) > handed else "",
    ]
    return joined, (
        "no bi-Lipschitz map is known for points that rotations turn; rows of their Gram root keep distances, and "
        f"{' and '.join(filter(None, sees))}; together {joined.guarantee.separation.words}"
    )


def _build(kind: type[Projection], representation: Representation, **settings: int) -> Projection | None:
    try:
        return kind(representation, **settings)
    except GroupError:
        return None


def _listed(representation: Representation) -> bool:
    return representation.group.order is not None and representation.group.order <= LISTING_LIMIT


def _max_filter(representation: Representation, size: int | None) -> tuple[Projection, str]:
    width = 2 * representation.size if size is None else size
    if width * representation.size > TEMPLATES:
        return _mixed_filter(representation, width)
    projection = MaxFilter(representation, size)
    claim = {
        Separation.BILIPSCHITZ: f"is bi-Lipschitz for almost all templates{_stated(projection)}",
        Separation.GENERIC: "tells almost every latent apart from all others for almost all templates",
        Separation.PAIRWISE: "tells any two fixed orbits apart for almost all templates",
    }[projection.guarantee.separation]
    if projection.guarantee.separation is not Separation.BILIPSCHITZ:
        claim += f" (all at once, and bi-Lipschitz, from {2 * representation.size} on)"
    return projection, (
        "reflections do not generate the action, so no isometric map exists; a max filter bank of "
        f"{projection.out_features} templates on the joint latent {claim}"
    )


def _mixed_filter(representation: Representation, size: int) -> tuple[Projection, str]:
    """A max filter of as many combinations of channels as the bound on the templates allows."""
    share = TEMPLATES / (sum(block.copies**2 for block in representation) + size * representation.size)
    copies = [max(1, min(block.copies, int(block.copies * share))) for block in representation]
    projection = Mixed(representation, MaxFilter(with_copies(representation, copies), size))
    return projection, (
        "reflections do not generate the action, so no isometric map exists; random combinations of channels to fewer, "
        f"and a max filter bank of {size} templates on these, tell any two fixed orbits apart for almost all draws"
    )


def _stated(projection: Projection) -> str:
    """What is known of the distortion, or was measured of a bi-Lipschitz map that has no bound."""
    held = projection.guarantee
    if held.separation is not Separation.BILIPSCHITZ:
        return ""
    if held.distortion is not None:
        return f" with distortion at most {held.distortion:.3g}"
    order, size = projection.representation.group.order, projection.representation.size
    listed = order if order is not None and isinstance(projection, MaxFilter) else 1
    if listed * size * projection.out_features**2 > MEASURABLE:
        if order is None:
            return ""
        return f" (distortion of at least {uneven_directions(projection):.3g}, measured along random directions)"
    return f" (distortion of at least {measured_distortion(projection):.3g}, measured at random latents)"
