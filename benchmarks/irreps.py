"""Maps of spherical irreps at equal size, on densities around the atoms of molecules: error of a ridge on energies.

Run: python -m benchmarks.irreps --data-dir FOLDER [--molecules N], with qm7.npz (Z, R and energies) in the folder.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from benchmarks.tables import RESULTS, write_table
from lightning_invariant.groups.harmonics import spherical_harmonics
from lightning_invariant.projections import ChannelNorm, SphericalPowerSpectrum, choose
from lightning_invariant.projections.choose import _within

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

ELEMENTS, CHANNELS = (1, 6, 7, 8, 16), ((0, 32), (1, 16), (2, 8))
REPRESENTATION = "SO3: 32x0 + 16x1 + 8x2"
CUTOFF, WIDTH = 5.0, 0.3
SIZES, SPLITS, PENALTIES = (256, 512), 3, (1e-6, 1e-4, 1e-2, 1.0, 10.0, 100.0)


def atomic_latents(numbers: Tensor, places: Tensor) -> Tensor:
    """Latents (B, n, D) of each atom: its neighbours' density on radial functions and harmonics, channels mixed."""
    generator = torch.Generator().manual_seed(0)
    kinds = torch.stack([(numbers == element) for element in ELEMENTS], dim=-1).double()
    steps = places[:, None] - places[:, :, None]
    lengths, there = steps.norm(dim=-1), numbers > 0
    pairs = there[:, None] & there[:, :, None] & (lengths > 1e-6)
    centres = torch.linspace(0.8, 4.5, 8).double()
    cut = 0.5 * ((math.pi * (lengths / CUTOFF).clamp(max=1)).cos() + 1) * pairs
    radial = (-((lengths[..., None] - centres) ** 2) / WIDTH).exp() * cut[..., None]
    directions, parts = steps / lengths.clamp(min=1e-6)[..., None], []
    for degree, channels in CHANNELS:
        harmonics = spherical_harmonics(degree, directions)
        density = torch.einsum("bijr,bjt,bijm->birtm", radial, kinds, harmonics).flatten(2, 3)
        width = density.shape[2]
        mixes = torch.randn(len(ELEMENTS), width, channels, generator=generator).double() / width**0.5
        parts.append(torch.einsum("bit,tkc,bikm->bicm", kinds, mixes, density).flatten(2))
    return torch.cat(parts, dim=2)


def error(features: Tensor, energies: Tensor) -> float:
    """Mean absolute error of a ridge on a quarter of the molecules, mean over splits, with the best penalty of each."""
    count, errors = len(features) * 3 // 4, []
    for seed in range(SPLITS):
        order = torch.randperm(len(features), generator=torch.Generator().manual_seed(seed))
        fitted, held = order[:count], order[count:]
        x = (features - features[fitted].mean(dim=0)) / features[fitted].std(dim=0).clamp(min=1e-9)
        gram, centre = x[fitted].mT @ x[fitted], energies[fitted].mean()
        eye = 1e-3 * count * torch.eye(gram.shape[0]).double()
        target = x[fitted].mT @ (energies[fitted] - centre)
        weights = [torch.linalg.solve(gram + penalty * eye, target) for penalty in PENALTIES]
        errors.append(min(float((x[held] @ w + centre - energies[held]).abs().mean()) for w in weights))
    return sum(errors) / len(errors)


def rows(numbers: Tensor, places: Tensor, energies: Tensor) -> list[list[Any]]:
    """One row a map: name, size, error."""
    z, there = atomic_latents(numbers, places), numbers > 0
    molecule = torch.arange(len(z))[:, None].expand(there.shape)[there]
    composition = torch.stack([(numbers == element).sum(dim=1) for element in ELEMENTS], dim=1).double()

    def row(name: str, project: Callable[[Tensor], Tensor]) -> list[Any]:
        f = project(z[there])
        pooled = torch.zeros(len(z), f.shape[1]).double().index_add_(0, molecule, f)
        return [name, f.shape[1], error(torch.cat([pooled, composition], dim=1), energies)]

    table = [row("degree 0 alone", lambda x: x[:, : CHANNELS[0][1]]), row("ChannelNorm", ChannelNorm(REPRESENTATION))]
    for size in SIZES:
        spectrum = _within(SphericalPowerSpectrum, choose(REPRESENTATION).representation, size)
        assert spectrum is not None
        table += [
            row("SphericalPowerSpectrum on mixed channels", spectrum.double()),
            row("what choose takes: SphericalBispectrum", choose(REPRESENTATION, size).double()),
        ]
    return table


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True, help="folder with qm7.npz")
    parser.add_argument("--molecules", type=int, default=1600, help="how many molecules")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the table")
    options = parser.parse_args(argv)
    data = np.load(options.data_dir / "qm7.npz")
    order = torch.randperm(len(data["Z"]), generator=torch.Generator().manual_seed(0))[: options.molecules]
    numbers, places = torch.tensor(data["Z"].astype(int))[order], torch.tensor(data["R"]).double()[order]
    table = rows(numbers, places, torch.tensor(data["E_col1"]).double()[order])
    options.out.mkdir(parents=True, exist_ok=True)
    write_table(
        options.out / "irreps.md",
        "Maps of spherical irreps at equal size",
        ["map", "size", "mean absolute error, kcal/mol"],
        table,
        f"python -m benchmarks.irreps --data-dir FOLDER --molecules {len(order)}",
        [
            f"QM7, {len(order)} molecules, three quarters to fit. Latents of each atom, '{REPRESENTATION}': densities "
            "of the neighbours, random mixes of channels.",
            "Features are summed over atoms; the counts of elements stand beside.",
        ],
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
