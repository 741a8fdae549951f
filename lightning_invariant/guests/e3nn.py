"""e3nn: irreducible representations of O(3), which layers state as `irreps_out`."""

from __future__ import annotations

import sys
from typing import Any

from torch import nn

from lightning_invariant.groups import O3, Representation
from lightning_invariant.groups.matrix_blocks import DegreeIrrep


def read(source: Any) -> Representation | None:
    """Return the representation that Irreps or a layer's `irreps_out` state, in e3nn's own order; None for others."""
    o3 = sys.modules.get("e3nn.o3")
    if o3 is None:
        return None
    irreps: Any = getattr(source, "irreps_out", None) if isinstance(source, nn.Module) else source
    if isinstance(irreps, str) and isinstance(source, nn.Module):
        irreps = o3.Irreps(irreps)
    terms: list[Any] = list(irreps) if isinstance(irreps, o3.Irreps) else []
    group = O3()
    blocks = tuple(DegreeIrrep(group, mul, ir.l, ir.p) for mul, ir in terms if mul)
    return Representation(group, blocks) if blocks else None
