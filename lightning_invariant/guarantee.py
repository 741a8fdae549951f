"""What a projection promises: a frozen, comparable, JSON-able value that composition can only weaken."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from enum import IntEnum
from typing import Any, Literal

Invariance = Literal["exact", "estimated", "sampled"]
_WEAKER = ("exact", "estimated", "sampled")


class Separation(IntEnum):
    """How well a map tells different orbits apart; each word implies those before it.

    Attributes:
        LOSSY: Latents in general position share their features with other orbits.
        PAIRWISE: A latent in general position is told apart from any other fixed latent, for almost all templates. As
            the templates depend on the pair, whatever they are, it may share its features with some.
        GENERIC: A latent in general position is told apart from all others at once (where the note says so, from all
            but finitely many orbits). Latents that are not have measure zero.
        INJECTIVE: All different orbits are told apart, for almost all templates where there are any.
        BILIPSCHITZ: Distances of features are bounded by multiples of the orbit distance on both sides.
        ISOMETRIC: Distances of features are orbit distances.
    """

    LOSSY = 0
    PAIRWISE = 1
    GENERIC = 2
    INJECTIVE = 3
    BILIPSCHITZ = 4
    ISOMETRIC = 5

    @property
    def words(self) -> str:
        """The field's term, for tables and sentences."""
        return "bi-Lipschitz" if self is Separation.BILIPSCHITZ else self.name.lower()


@dataclass(frozen=True)
class Guarantee:
    """What holds for the features of a projection.

    Distances between features are compared with the orbit distance min_g ||z - rho(g) z'||.

    Args:
        group: The group, as a string such as "C8".
        separation: How well different orbits are told apart.
        invariance: "exact", "estimated" when it holds for an action that was estimated from latents, or "sampled" when
            only sampled transforms were averaged.
        lipschitz: Upper bound on feature distance over orbit distance; None if there is none or it is not known.
        distortion: Upper bound on the largest over the smallest such ratio, at least 1; None if not known.
        continuous: Whether nearby latents always have nearby features.
        differentiable: Where it is differentiable, in words.
        source: Author, year and identifier of the statement.
        note: When the statement fails, or what it needs.

    Raises:
        ValueError: A bound is below 1, or an isometric map claims another distortion than 1.
    """

    group: str
    separation: Separation
    invariance: Invariance = "exact"
    lipschitz: float | None = None
    distortion: float | None = None
    continuous: bool = True
    differentiable: str = "everywhere"
    source: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "separation", Separation(self.separation))
        if self.invariance not in _WEAKER:
            raise ValueError(f"Expected invariance 'exact', 'estimated' or 'sampled' but got {self.invariance!r}.")
        if self.distortion is not None and self.distortion < 1:
            raise ValueError(f"Expected a distortion bound of at least 1 but got {self.distortion}.")
        if self.separation is Separation.ISOMETRIC and self.distortion not in (None, 1.0):
            raise ValueError(f"Expected distortion 1 for an isometric map but got {self.distortion}.")

    def then(self, other: Guarantee) -> Guarantee:
        """The guarantee of this map followed by another: each promise is the weaker of the two.

        Isometries and bi-Lipschitz maps multiply their bounds; an unknown bound makes the product unknown.
        """
        separation = min(self.separation, other.separation)
        return replace(
            self,
            separation=separation,
            invariance=weakest([self.invariance, other.invariance]),
            lipschitz=_product(self.lipschitz, other.lipschitz),
            distortion=_product(self.distortion, other.distortion),
            continuous=self.continuous and other.continuous,
            differentiable=self.differentiable if other.differentiable == "everywhere" else other.differentiable,
            source="; ".join(dict.fromkeys(s for s in (self.source, other.source) if s)),
            note=" ".join(dict.fromkeys(s for s in (self.note, other.note) if s)),
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form; `from_dict` reads it back to an equal value."""
        return asdict(self) | {"separation": self.separation.name.lower()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Guarantee:
        """Read what `to_dict` wrote.

        Raises:
            ValueError: A key is unknown or missing, or a value is not allowed.
        """
        known = {field.name for field in fields(cls)}
        if unknown := set(data) - known:
            raise ValueError(f"Expected guarantee keys among {sorted(known)} but got {sorted(unknown)}.")
        try:
            return cls(**{**data, "separation": Separation[str(data["separation"]).upper()]})
        except (KeyError, TypeError) as error:
            raise ValueError(f"Expected a guarantee with group and separation but got {dict(data)!r}.") from error

    def __str__(self) -> str:
        bound = f", distortion at most {self.distortion:.4g}" if self.distortion not in (None, 1.0) else ""
        how = {
            "exact": "invariant",
            "estimated": "invariant, as far as the action was estimated,",
            "sampled": "approximately invariant (sampled)",
        }[self.invariance]
        smooth = "" if self.continuous else ", not continuous"
        return f"{how} under {self.group}, {self.separation.words}{bound}{smooth}"


def weakest(kinds: Iterable[Invariance]) -> Invariance:
    """Return the kind of invariance that several maps have together.

    Example:
        >>> weakest(["exact", "estimated"])
        'estimated'
    """
    return max(kinds, key=_WEAKER.index)


def _product(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a * b
