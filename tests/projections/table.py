"""The one table of projections: a row enrols a projection in the whole gauntlet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lightning_invariant import projections as P
from lightning_invariant.groups import Representation


@dataclass(frozen=True)
class Row:
    """One projection to test.

    Args:
        kind: Its class.
        representation: On which it is built.
        settings: Further arguments.
        merged: For lossy maps, makes from latents others in different orbits that get the same features.
        exact64: Largest relative invariance error in float64.
        exact32: The same in float32.
    """

    kind: type[P.Projection]
    representation: str
    settings: dict[str, Any] = field(default_factory=dict)
    merged: Callable[[Representation, Tensor], tuple[Tensor, Tensor]] | None = None
    exact64: float = 1e-12
    exact32: float = 1e-5

    def build(self) -> P.Projection:
        return self.kind(self.representation, **self.settings)

    def __str__(self) -> str:
        settings = ",".join(f"{key}={_short(value)}" for key, value in self.settings.items())
        return f"{self.kind.__name__}[{self.representation}]{settings}".replace(" ", "")


def _short(value: Any) -> str:
    return "+".join(part["name"] for part in value) if isinstance(value, list) else str(value)


def scrambled(representation: Representation, z: Tensor) -> tuple[Tensor, Tensor]:
    """Every copy moved by an element of its own: the hard negatives of channel-wise maps."""
    generator = torch.Generator().manual_seed(7)
    parts = []
    for block, part in zip(representation, representation.split(z), strict=True):
        copies = part.mT if block.copies_last else part
        single = copies.reshape(-1, 1, block.dim)
        g = block.group.sample(len(single), generator)
        moved = block.transform(single.mT, g).mT if block.copies_last else block.transform(single, g)
        moved = moved.reshape(copies.shape)
        parts.append((moved.mT if block.copies_last else moved).flatten(1))
    return z, torch.cat(parts, dim=1)


def opposite(representation: Representation, z: Tensor) -> tuple[Tensor, Tensor]:
    """Latents whose orbits have mean zero, and their negatives."""
    centred = z - torch.stack([representation.transform(z, g) for g in representation.group.elements()]).mean(dim=0)
    return centred, -centred


def blocks_apart(representation: Representation, z: Tensor) -> tuple[Tensor, Tensor]:
    """Every block moved by an element of its own, all copies in it together."""
    generator = torch.Generator().manual_seed(8)
    moved = [part.transform(z[:, where], part.group.sample(1, generator)[0]) for where, part in _blocks(representation)]
    return z, torch.cat(moved, dim=1)


def frequencies_apart(representation: Representation, z: Tensor) -> tuple[Tensor, Tensor]:
    """Every Fourier coefficient of regular fields multiplied by a phase of its own, the same in all channels."""
    spectrum = torch.fft.rfft(z.reshape(len(z), *representation.shape))
    angles = torch.arange(spectrum.shape[-1], dtype=z.dtype) ** 2
    angles[-1] = 0
    phases = torch.polar(torch.ones_like(angles), angles)
    return z, torch.fft.irfft(spectrum * phases, n=representation.shape[-1]).flatten(1)


def mirrored(representation: Representation, z: Tensor) -> tuple[Tensor, Tensor]:
    """Latents and their mirror images, which rotations of space do not reach."""
    return z, -z


def turned_apart(representation: Representation, z: Tensor) -> tuple[Tensor, Tensor]:
    """Every kind of irrep on points turned by a rotation of its own, the points in their order."""
    generator = torch.Generator().manual_seed(9)
    moved = []
    for where, part in _blocks(representation):
        order, _ = part.group.split(part.group.identity())  # type: ignore[attr-defined]
        rotation = part.group.factors[1].sample(1, generator)[0]  # type: ignore[attr-defined]
        moved.append(part.transform(z[:, where], part.group.join([order, rotation])))  # type: ignore[attr-defined]
    return z, torch.cat(moved, dim=1)


def twisted(representation: Representation, z: Tensor) -> tuple[Tensor, Tensor]:
    """Four points in two pairs around one axis, and the same with one pair turned around it."""
    a, p, q = torch.linalg.qr(z.reshape(-1, 4, 3)[:, :3].mT)[0].unbind(dim=2)
    turned = (p + 2 * q) / 5**0.5
    first, other = (torch.stack([a + r, a - r, 2 * a + q, q * -1 - 0.5 * a], dim=1).flatten(1) for r in (p, turned))
    return first, other


def crossed(representation: Representation, z: Tensor) -> tuple[Tensor, Tensor]:
    """Two pairs of opposite points in a plane, and the same at another angle between them."""
    a, p = torch.linalg.qr(z.reshape(-1, 4, 3)[:, :2].mT)[0].unbind(dim=2)
    first, other = (torch.stack([a, -a, 2 * r, -2 * r], dim=1).flatten(1) for r in (p, (a + p) / 2**0.5))
    return first, other


def second_term_reversed(representation: Representation, z: Tensor) -> tuple[Tensor, Tensor]:
    """The second term with its sign reversed."""
    other = z.clone()
    other[:, representation.slices[1]] *= -1
    return z, other


def parts(representation: str, *names: str) -> list[dict[str, Any]]:
    """Descriptions of projections to join."""
    return [{"name": name, "representation": representation} for name in names]


def _blocks(representation: Representation) -> list[tuple[slice, Representation]]:
    return [(where, representation[i]) for i, where in enumerate(representation.slices)]


D4_MATRICES = "Matrices[[[0,-1],[1,0]],[[1,0],[0,-1]]]"
"""The dihedral group of the square, by generators."""

ROWS: list[Row] = [
    Row(P.Sort, "S5: 5 points"),
    Row(P.Sort, "S40: 3 trivial + 40 points"),
    Row(P.Absolute, "Z2^5: signs"),
    Row(P.Absolute, "Z2^4: signs + 2 trivial"),
    Row(P.Norm, "O3: 1 vectors"),
    Row(P.Norm, "SO2: 2x0 + 1x3"),
    Row(P.Norm, "O3: 1x1o"),
    Row(P.Chamber, "D4: 1x1"),
    Row(P.Chamber, "D6: 1x1 + 2 trivial"),
    Row(P.Chamber, "Z2^3 x S3: 1 signs*trivial + 1 trivial*points"),
    Row(P.Chamber, f"{D4_MATRICES}: 1 vectors"),
    Row(P.MaxFilter, "C8: 4 regular"),
    Row(P.MaxFilter, "C4: 3 regular", {"out_features": 5, "seed": 3}),
    Row(P.MaxFilter, "C8: 2 trivial + 3 regular + 2x1 + 1x4"),
    Row(P.MaxFilter, "D4: 3 regular + 1 det + 1x1"),
    Row(P.MaxFilter, "S4: 4 points x 3 + 2 trivial"),
    Row(P.MaxFilter, "Z2^3: 2 signs"),
    Row(P.MaxFilter, "C3 x Z2: 2 regular*signs + 3 regular*trivial"),
    Row(P.MaxFilter, f"{D4_MATRICES}: 3 vectors + 1 regular"),
    Row(P.MaxFilter, "S6: 6 points x 2"),
    Row(P.SortedCoorbits, "C8: 4 regular"),
    Row(P.SortedCoorbits, "D5: 2x1 + 3 det + 1 regular", {"out_features": 33}),
    Row(P.SortedCoorbits, "S4: 4 points x 3"),
    Row(P.SortedCoorbits, "C4: 1x1", {"out_features": 16}),
    Row(P.SortedCoorbits, "C20: 2 regular"),
    Row(P.RandomFeatures, "C8: 4 regular", {"nonlinearity": "tanh"}),
    Row(P.RandomFeatures, "C8: 4 regular", merged=opposite),
    Row(P.OrbitMean, "C8: 4 regular", merged=scrambled),
    Row(P.OrbitMean, "S5: 5 points x 3 + 2 trivial", merged=scrambled),
    Row(P.OrbitMean, "SO3: 3x0 + 2x1", merged=scrambled),
    Row(P.ChannelMax, "C8: 4 regular", merged=scrambled),
    Row(P.ChannelMax, "S5: 5 points x 3 + 2 trivial", merged=scrambled),
    Row(P.ChannelNorm, "C8: 4 regular + 1 trivial", merged=scrambled),
    Row(P.ChannelNorm, "SO2: 2x1 + 2x2", merged=scrambled),
    Row(P.ArgmaxCanonical, "C8: 4 regular"),
    Row(P.ArgmaxCanonical, "D4: 3 regular + 2x1"),
    Row(P.ArgmaxCanonical, "S4: 4 points x 3 + 2 trivial"),
    Row(P.PointSort, "S5: 5 points"),
    Row(P.PointSort, "S5: 5 points x 3"),
    Row(P.PointSort, "S4: 4 points x 2 + 2 trivial", {"out_features": 63, "ragged": True}),
    Row(P.PointSort, "S40: 40 points x 4"),
    Row(P.FSW, "S5: 5 points x 2 + 2 trivial"),
    Row(P.FSW, "S20: 20 points x 3", {"out_features": 200, "ragged": True}),
    Row(P.PairSort, "S5: 1 pairs"),
    Row(P.PairSort, "S6: 6 points x 2 + 2 pairs + 3 trivial", {"ragged": True, "marks": 1}),
    Row(P.PairSort, "S4: 4 points x 2 + 1 pairs", {"marks": 0, "seed": 3}),
    Row(P.GramRoot, "O3: 6 vectors + 2 trivial"),
    Row(P.GramRoot, "SO3: 5x1", exact32=1e-4),
    Row(P.GramRoot, "O4: 2 vectors"),
    Row(P.Gram, "O3: 6 vectors"),
    Row(P.HermitianRoot, "U2: 4 vectors + 2 trivial"),
    Row(P.HermitianRoot, "U3: 2 vectors"),
    Row(P.HermitianRoot, "SU2: 3 vectors"),
    Row(P.Gram, "SO2: 2x0 + 4x1"),
    Row(P.PhaseInvariants, "SO2: 2x0 + 3x1 + 2x2 + 1x3"),
    Row(P.PhaseInvariants, "O2: 2x1 + 2x3 + 2 det + 1 trivial"),
    Row(P.CircleMaxFilter, "SO2: 2x0 + 2x1 + 1x3"),
    Row(P.CircleMaxFilter, "SO2: 2x2 + 1x5", {"out_features": 11, "seed": 2}),
    Row(P.CircleMaxFilter, "O2: 2x1 + 1x2 + 1 det"),
    Row(P.GramRows, "S5 x O3: 1 points*vectors"),
    Row(P.GramRows, "S4 x O3: 2 points*1o + 3 points*0e + 2 trivial*trivial", {"ragged": True}),
    Row(P.GramRows, "S6 x O2: 2 points*vectors", {"out_features": 31, "seed": 2}),
    Row(P.GramRows, "S4 x SO3: 2 points*1", merged=mirrored),
    Row(P.GramRows, "S4 x O3: 2 points*1o + 1 points*2e + 1 points*0o", merged=turned_apart),
    Row(P.VectorSums, "S4 x SO3: 1 points*vectors", merged=crossed),
    Row(P.VectorSums, "S4 x O3: 1 points*vectors", {"ragged": True}, merged=twisted),
    Row(P.PointFrames, "S4 x O3: 1 points*vectors"),
    Row(P.PointFrames, "S3 x SO3: 2 points*1 + 1 points*2 + 2 points*0 + 1 trivial*trivial", {"ragged": True}),
    Row(P.PointFrames, "S3 x O3: 2 points*1e + 1 points*1o + 1 points*2o + 1 points*0o", {"hidden": 9}),
    Row(P.PointFrames, "S6 x O2: 2 points*vectors + 1 points*det", {"out_features": 20}),
    Row(P.Joined, "S4 x SO3: 2 points*1", {"projections": parts("S4 x SO3: 2 points*1", "GramRows", "PointFrames")}),
    Row(P.Identity, "SO3: 4x0"),
    Row(P.SortedEigenvalues, "SO3: 1x2 + 2x0"),
    Row(P.SortedEigenvalues, "O3: 1x2o"),
    Row(P.SingularValues, "O3 x O2: 1 vectors*vectors"),
    Row(P.SingularValues, "SO3 x SO3: 1 vectors*vectors + 2 trivial*trivial"),
    Row(P.Cone, "C5: 1x2 + 2 trivial"),
    Row(P.Cone, "C3: 1 regular"),
    Row(P.PhaseOuter, "SO2: 4x1 + 2x0"),
    Row(P.Reduced, "O2: 3x4", {"projection": {"name": "GramRoot", "representation": "O2: 3x1"}}),
    Row(
        P.Estimated,
        "O2: 3x4",
        {
            "projection": {
                "name": "Reduced",
                "representation": "O2: 3x4",
                "projection": {"name": "GramRoot", "representation": "O2: 3x1"},
            },
            "error": 0.01,
        },
    ),
    Row(P.Centred, "SE3: 3 positions + 1 vectors", {"projection": P.GramRoot("SO3: 2 vectors + 1 vectors").config()}),
    Row(P.Centred, "S4 x E2: 1 points*positions", {"projection": P.choose("S4 x O2: 1 points*vectors").config()}),
    Row(P.Unfolded, "C4: 2 regular on 3x3", {"projection": {"name": "MaxFilter", "representation": "C4: 18 regular"}}),
    Row(P.Unfolded, "D2: 1 det + 1 trivial on 2x3", {"projection": P.choose("D2: 4 regular").config()}),
    Row(P.Mixed, "O3: 9 vectors", {"projection": {"name": "GramRoot", "representation": "O3: 5 vectors"}}),
    Row(P.Mixed, "Z2^3: 5 signs", {"projection": {"name": "SignOuter", "representation": "Z2^3: 3 signs"}, "seed": 2}),
    Row(P.SignOuter, "C2: 3 regular"),
    Row(P.SignOuter, "Z2 x Z2: 1 signs*trivial + 3 trivial*signs"),
    Row(P.SignOuter, "Z2: 6 signs"),
    Row(P.SignOuter, "Z2^3: 3 signs + 2 trivial"),
    Row(P.SphericalPowerSpectrum, "SO3: 2x0 + 3x1 + 2x2", merged=blocks_apart),
    Row(P.SphericalBispectrum, "SO3: 2x0 + 4x1 + 2x2 + 1x3"),
    Row(P.SphericalBispectrum, "O3: 2x0e + 1x0o + 3x1o + 2x2e", {"out_features": 40}, merged=second_term_reversed),
    Row(P.SphericalBispectrum, "O3: 2x0e + 3x1o + 2x2e", {"out_features": 40}),
    Row(P.CyclicPowerSpectrum, "C8: 3 regular", merged=frequencies_apart),
    Row(P.CyclicBispectrum, "C8: 4 regular + 2 trivial"),
    Row(P.CyclicBispectrum, "T7: 2 regular", {"selective": True}),
    Row(P.FourierModulus, "T8: 3 regular", merged=scrambled),
]
