"""Maps that the package does not hold, measured beside those that `choose` takes: see projections_quality.md.

Max filters of infinite and large groups by an oracle (Mixon and Qaddura 2022, 2212.11156; Qaddura 2024, 2403.14042),
and the selective bispectrum of finite groups (Mataigne et al. 2024, 2407.07655).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from scipy.optimize import linear_sum_assignment

from lightning_invariant.groups import Representation
from lightning_invariant.groups.finite_blocks import Determinant, PlanarIrrep
from lightning_invariant.projections.base.templates import unit_templates

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


def nuclear_max_filter(text: str, size: int, seed: int) -> Callable[[Tensor], Tensor]:
    """Take max over R of <Z R, T> by singular values: vectors under O(d) or SO(d)."""
    representation = Representation.parse(text)
    d, special = representation.group.d, representation.group.special  # type: ignore[attr-defined]
    templates = unit_templates(size, representation.size, seed).double().unflatten(1, (-1, d))

    def project(z: Tensor) -> Tensor:
        cross = torch.einsum("bmi,kmj->bkij", z.unflatten(1, (-1, d)), templates)
        values = torch.linalg.svdvals(cross)
        if special:
            values = torch.cat([values[..., :-1], values[..., -1:] * torch.linalg.det(cross).sign()[..., None]], dim=-1)
        return values.sum(dim=-1) / size**0.5

    return project


def assignment_max_filter(text: str, size: int, seed: int) -> Callable[[Tensor], Tensor]:
    """Take max over P of <P Z, T> by linear assignment: points under S_n."""
    representation = Representation.parse(text)
    n, c = representation.shape
    templates = unit_templates(size, representation.size, seed).double().unflatten(1, (n, c))

    def project(z: Tensor) -> Tensor:
        products = torch.einsum("bnc,kmc->bknm", z.unflatten(1, (n, c)), templates).flatten(0, 1).numpy()
        found = [float(p[linear_sum_assignment(p, maximize=True)].sum()) for p in products]
        return torch.tensor(found, dtype=z.dtype).reshape(len(z), size) / size**0.5

    return project


def selective_bispectrum(text: str, size: int, seed: int) -> Callable[[Tensor], Tensor]:
    """Bispectra at (trivial, trivial), (trivial, 1) and (1, k) for all k of mixed channels, over the squared norm.

    The matrices are C^T (A x B) with Fourier coefficients A and B at two irreps and C at their product: those of the
    bispectrum in another basis.
    """
    representation = Representation.parse(text)
    group, copies = representation.group, representation.blocks[0].copies
    elements = group.elements()
    top = group.n // 2  # type: ignore[attr-defined]
    irreps = [PlanarIrrep(group, 1, k).matrices(elements) for k in range(top + 1)]  # type: ignore[arg-type]
    if str(group).startswith("D"):
        irreps.append(Determinant(group, 1).matrices(elements))  # type: ignore[arg-type]
    pairs = [(0, 0), (0, 1), *((1, k) for k in range(1, len(irreps)))]
    joint = [torch.einsum("gij,gkl->gikjl", irreps[a], irreps[b]).flatten(3).flatten(1, 2) for a, b in pairs]
    width = sum(rho.shape[1] ** 2 for rho in joint)
    channels = -(-size // width)
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(channels, copies, dtype=torch.float64, generator=generator) / copies**0.5

    def project(z: Tensor) -> Tensor:
        x = torch.einsum("rc,bcg->brg", mix, z.unflatten(1, (copies, -1)))
        fourier = [torch.einsum("brg,gij->brij", x, rho) for rho in irreps]
        parts = []
        for (a, b), rho in zip(pairs, joint, strict=True):
            product = torch.einsum("brij,brkl->brikjl", fourier[a], fourier[b]).flatten(4).flatten(2, 3)
            parts.append((torch.einsum("brg,gij->brji", x, rho) @ product).flatten(1))
        return torch.cat(parts, dim=1)[:, :size] / z.square().sum(dim=1, keepdim=True)

    return project


ORACLES = {
    "max filter by nuclear norm": nuclear_max_filter,
    "max filter by assignment": assignment_max_filter,
    "selective bispectrum": selective_bispectrum,
}
