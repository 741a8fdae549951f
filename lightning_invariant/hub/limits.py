"""Builds something from untrusted settings within a bound on memory and time.

The rules of `graph.shapes` say how large a result will be before it is made, so that no setting in a file can ask for
more memory than a machine has.
"""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_invariant.errors import ArtifactError
from lightning_invariant.hub.graph.shapes import result_of

MAX_BYTES = 2**28
"""Largest single tensor."""
MAX_SECONDS = 5.0
MAX_MATRIX = 2048
"""Largest matrix that is decomposed."""


class Limited(TorchDispatchMode):
    """A context in which every tensor operation is looked at first.

    Raises:
        ArtifactError: Inside, at the first operation that would need too much memory, or is past the time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.until = time.monotonic() + MAX_SECONDS

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # to skip it, PyTorch would import it

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = str(func), kwargs or {}
        if not func.is_view:
            self._require_small(name, _expected(name, args, kwargs))
        if name.startswith("aten._linalg") or "linalg_" in name:
            for matrix in args:
                if isinstance(matrix, Tensor) and max(matrix.shape[-2:], default=0) > MAX_MATRIX:
                    raise _too_much(name, matrix.shape)
        result = func(*args, **kwargs)
        if not func.is_view:
            self._require_small(name, result)
        if time.monotonic() > self.until:
            raise ArtifactError(
                f"Expected a projection that is built within {MAX_SECONDS:.0f} s but this one takes longer; it is "
                "refused."
            )
        return result

    @staticmethod
    def _require_small(name: str, result: Any) -> None:
        for tensor in result if isinstance(result, (list, tuple)) else [result]:
            if isinstance(tensor, Tensor) and tensor.numel() * tensor.element_size() > MAX_BYTES:
                raise _too_much(name, tensor.shape)


def _expected(name: str, args: Any, kwargs: dict[str, Any]) -> Any:
    try:
        return result_of(name, args, kwargs)
    except (TypeError, IndexError, RuntimeError, ValueError):  # the operator itself says what is wrong
        return None


def _too_much(name: str, shape: torch.Size) -> ArtifactError:
    return ArtifactError(
        f"Expected a projection of at most {MAX_BYTES} bytes a tensor and matrices up to {MAX_MATRIX} but {name} would "
        f"make {list(shape)[:8]}; the settings are refused."
    )
