"""What was promised beside what was measured, as one value that is logged, stored and printed."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from lightning_invariant.guarantee import Guarantee

PACKAGES = ("lightning-invariant", "torch")
"""Packages whose versions are recorded."""


@dataclass(frozen=True)
class Certificate:
    """A projection's guarantee and measurements of it on real latents.

    Args:
        representation: What acts on the latents, such as "C8: 16 regular".
        projection: Its configuration, as `Projection.config` gives it.
        guarantee: What was declared.
        measured: Name to number, dimensionless unless the name says otherwise; None where it could not be measured.
        samples: Name of a set of samples to how many were measured.
        seed: Seed of every random choice in the measurement.
        versions: Package to version; those of this process if not given.
        missing: Name of a number that could not be measured to the reason.

    Raises:
        ValueError: A number is NaN or infinite, or a count is negative.

    Example:
        >>> from lightning_invariant.projections import Sort
        >>> P = Sort("S3: points")
        >>> made = Certificate("S3: points", P.config(), P.guarantee, {"distortion": 1.0}, {"latents": 300}, seed=0)
        >>> Certificate.from_dict(made.to_dict()) == made
        True
    """

    representation: str
    projection: Mapping[str, Any]
    guarantee: Guarantee
    measured: Mapping[str, float | None]
    samples: Mapping[str, int]
    seed: int
    versions: Mapping[str, str] = field(default_factory=lambda: _versions())
    missing: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("projection", "measured", "samples", "versions", "missing"):
            object.__setattr__(self, name, dict(getattr(self, name)))
        for name, value in self.measured.items():
            if value is not None and not (_is_number(value) and math.isfinite(value)):
                raise ValueError(f"Expected a finite number or None for {name!r} but got {value!r}.")
        for name, count in self.samples.items():
            if not isinstance(count, int) or count < 0:
                raise ValueError(f"Expected a number of samples for {name!r} but got {count!r}.")

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form; `from_dict` reads it back to an equal value."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        copies = {name: dict(value) for name, value in plain.items() if isinstance(value, Mapping)}
        return plain | copies | {"guarantee": self.guarantee.to_dict()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Certificate:
        """Read what `to_dict` wrote.

        Raises:
            ValueError: A key is unknown or missing, or a value is not allowed.
        """
        known = {f.name for f in fields(cls)}
        data = {"missing": {}, **data}  # earlier versions wrote none
        if set(data) != known:
            raise ValueError(f"Expected exactly the certificate keys {sorted(known)} but got {sorted(data)}.")
        wrong = [name for name in known - {"representation", "seed"} if not isinstance(data[name], Mapping)]
        if wrong or not isinstance(data["representation"], str) or not isinstance(data["seed"], int):
            raise ValueError(f"Expected a representation, a seed and mappings but got {wrong or dict(data)!r}.")
        return cls(**{**data, "guarantee": Guarantee.from_dict(data["guarantee"])})

    def table(self) -> str:
        """Declared and measured in two columns of plain text."""
        declared = [
            ("projection", str(self.projection.get("name", "-"))),
            ("representation", self.representation),
            ("declared", str(self.guarantee)),
            *([("source", self.guarantee.source)] if self.guarantee.source else []),
        ]
        measured = [(name, "not measured" if v is None else f"{v:.4g}") for name, v in self.measured.items()]
        measured += [(name, f"not measured: {reason}") for name, reason in self.missing.items()]
        made = [(f"samples: {name}", str(count)) for name, count in self.samples.items()]
        made += [("seed", str(self.seed)), ("versions", ", ".join(f"{k} {v}" for k, v in self.versions.items()))]
        width = max(len(name) for name, _ in declared + measured + made)
        return "\n".join(f"{name:<{width}}  {value}" for name, value in declared + measured + made)


def finite(value: float | None) -> float | None:
    """Return the number, or None if it is NaN or infinite: what a certificate holds."""
    return value if value is not None and math.isfinite(value) else None


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
