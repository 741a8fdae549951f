"""Modules whose tables stay in float64 when the module is cast."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


class ExactTables(nn.Module):
    """Keeps buffers whose names start with "table" in float64 through `.to(dtype)`, `.half()` and the like.

    Invariance is only as exact as the tables of the action: rounded to bfloat16 they would break it by a percent.
    Templates may be rounded, since every template is as good as any other.
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        kept = {
            name: buffer for name, buffer in self._buffers.items() if name.startswith("table") and buffer is not None
        }
        super()._apply(fn, recurse)
        for name, buffer in kept.items():
            self._buffers[name] = buffer.to(self.get_buffer(name).device)
        return self
