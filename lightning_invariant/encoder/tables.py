"""Which tensors of a projection a file may choose, and which follow from its settings.

Templates may be any that are not degenerate. Tables of the group and places in tensors make the invariance, so they are
those that the settings give: to the last bits, or, since a basis of a subspace is not unique and another machine may
find another one, such that the features still do not change when group elements transform random latents.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightning_invariant.errors import ArtifactError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lightning_invariant.projections import Projection

FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 3e-2}
"""Relative difference that rounding may cause, by the type in the file."""
MAY_VANISH = frozenset({"mean", "shifts", "inner_shift"})
LOOKED_AT = 256
"""Rows and columns of templates whose independence is looked at, evenly spread; all of them where there are fewer."""
DEPENDENT = 3e-7
"""Smallest over largest singular value of templates that depend on each other; rounding to float32 leaves 1e-7."""
_SAMPLES = 16


def load_tables(projection: Projection, tensors: Mapping[str, Tensor]) -> None:
    """Give a projection, built from its settings, the tensors of an untrusted file, if they may stand there."""
    own = projection.state_dict()
    if own.keys() != tensors.keys():
        raise _refused(f"tensors {sorted(own)}", sorted(tensors))
    changed = [name for name, table in own.items() if not _fits(name, table, tensors[name])]
    # Tensors read from a file are not aligned as PyTorch aligns memory, and kernels then give other last bits.
    projection.load_state_dict({name: tensor.clone() for name, tensor in tensors.items()}, strict=True, assign=True)
    if changed and not _is_invariant(projection, tensors[changed[0]].dtype):
        raise _refused(f"{changed[0]!r} that the settings give", "another, with which the features are not invariant")


def _fits(name: str, own: Tensor, given: Tensor) -> bool:
    """Whether a tensor is free or equal to our own up to rounding."""
    allowed = FLOATS if own.is_floating_point() else (own.dtype,)
    if given.dtype not in allowed or given.shape != own.shape:
        raise _refused(f"{name!r} of shape {list(own.shape)} and a type among {allowed}", list(given.shape))
    if not own.is_floating_point():
        if not torch.equal(own, given):
            raise _refused(f"{name!r} that the settings give", "others")
        return True
    if not given.isfinite().all():
        raise _refused(f"finite numbers in {name!r}", "others")
    last = name.rpartition(".")[2]
    if last.startswith("table"):
        gap = (own.double() - given.double()).abs().max() if own.numel() else torch.zeros(())
        return bool(gap <= TOLERANCE[given.dtype] * max(1.0, float(own.abs().max()) if own.numel() else 0.0))
    if given.numel() and last not in MAY_VANISH:
        _require_regular(name, given)
    return True


def _require_regular(name: str, given: Tensor) -> None:
    """Refuse templates that merge what those of a seed tell apart: zero ones, or such that depend on each other."""
    if not given.any():
        raise _refused(f"numbers in {name!r} that are not all zero", "zeros, which merge all inputs")
    if not given.dim():
        return
    rows = given.reshape(len(given), -1)
    if not rows.any(dim=1).all():
        raise _refused(f"numbers in {name!r} that are not zero in a whole row", "zeros, which merge inputs")
    seen = rows[:: -(-len(rows) // LOOKED_AT), :: -(-rows.shape[1] // LOOKED_AT)]
    values = torch.linalg.svdvals(seen.double())
    if values[-1] <= DEPENDENT * values[0]:
        raise _refused(f"rows in {name!r} that do not depend on each other", "rows that merge inputs")


@torch.no_grad()
def _is_invariant(projection: Projection, dtype: torch.dtype) -> bool:
    from lightning_invariant.metrics import invariance_error

    generator = torch.Generator().manual_seed(0)
    representation = projection.representation
    z = torch.randn(_SAMPLES, representation.size, dtype=torch.float64, generator=generator)
    g = representation.group.sample(_SAMPLES, generator)
    return invariance_error(projection(representation.transform(z, g)), projection(z)) <= 100 * TOLERANCE[dtype]


def _refused(wanted: str, got: object) -> ArtifactError:
    return ArtifactError(
        f"Expected a projection with {wanted[:300]} in the artefact but got {str(got)[:200]}; export or pull again."
    )
