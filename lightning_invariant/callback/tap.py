"""Reading the latent of a named layer while the network runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from lightning_invariant.errors import LatentError, LayerError
from lightning_invariant.groups import Representation

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle

Pool = Literal["mean", "max"]


class Tap:
    """A forward hook that records only between `armed()` and its end, and leaves nothing behind when detached.

    Args:
        layer: Name of a submodule, as in `named_modules`.
        pick: Index, key or function that takes the latent out of a tuple or dict of outputs.
        masked: Whether the latent is a pair of tensors: padded sets, and which of their points exist.
    """

    def __init__(
        self, layer: str, pick: int | str | Callable[[Any], Any] | None = None, *, masked: bool = False
    ) -> None:
        self.layer, self.pick, self.masked = layer, pick, masked
        self._handle: RemovableHandle | None = None
        self._module: nn.Module | None = None
        self._armed = False
        self._records: list[tuple[Any, Any]] = []

    def attach(self, network: nn.Module) -> None:
        """Hook the layer; a second call on the same layer does nothing.

        Raises:
            LayerError: The network has no such layer; the message names those that are near.
        """
        module = find_layer(network, self.layer)
        if module is self._module:
            return
        self.detach()
        # Compiled code must neither trace the hook nor guard on its growing list.
        self._handle = module.register_forward_hook(torch.compiler.disable(self._record))  # type: ignore[arg-type]
        self._module = module
        _forget_compiled(network)

    def detach(self) -> None:
        """Remove the hook and forget everything."""
        if self._handle is not None:
            self._handle.remove()
        self._handle, self._module, self._armed = None, None, False
        self._records.clear()

    def arm(self) -> None:
        """Start recording."""
        self._records.clear()
        self._armed = self._module is not None

    def take(self, rows: int, views: int = 1) -> tuple[Any, Tensor | None] | None:
        """Stop recording; the first latent with as many rows as asked, and the layer's own input.

        Args:
            rows: Inputs in the batch.
            views: Views of each input in the batch; of views that went through the layer as one batch the first counts.

        Raises:
            LatentError: The layer ran but gave no tensor with that many rows.
        """
        records, self._armed, self._records = self._records, False, []
        for several in (1, views):
            for inputs, output in records:
                z = self._select(output)
                if self._rows(z) == several * rows:
                    first = inputs[0] if inputs and isinstance(inputs[0], Tensor) else None
                    return self._detached(z, rows), first
        return None if not records else self.latent(records[0][1], rows)

    def latent(self, output: Any, rows: int) -> Any:
        """The latent in an output.

        Raises:
            LatentError: There is none, or it has not as many rows as asked.
        """
        z = self._select(output)
        if self._rows(z) != rows:
            raise LatentError(
                f"Expected one latent for each of {rows} inputs from layer {self.layer!r} but got {self._rows(z)} "
                "rows; name a layer whose first axis is the batch."
            )
        return self._detached(z, rows)

    def first(self) -> Tensor:
        """Stop recording; the first latent, gradients and all, whatever its rows.

        Raises:
            LayerError: The layer did not run.
        """
        records, self._armed, self._records = self._records, False, []
        if not records:
            raise LayerError(f"Expected the network's forward to call layer {self.layer!r} but it did not.")
        return self.selected(records[0][1])

    def selected(self, output: Any) -> Tensor:
        """The latent in an output, gradients and all, whatever its rows, without the mask that may come with it.

        Raises:
            LatentError: There is none.
        """
        z = self._select(output)
        return z[0] if self.masked else z

    @contextmanager
    def armed(self) -> Iterator[None]:
        """Record while the block runs; `take` afterwards."""
        self.arm()
        try:
            yield
        finally:
            self._armed = False

    @property
    def module(self) -> nn.Module:
        """The hooked layer.

        Raises:
            LayerError: Not attached.
        """
        if self._module is None:
            raise LayerError(f"Expected layer {self.layer!r} to be attached; call attach(network) first.")
        return self._module

    def _record(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if self._armed:
            self._records.append((inputs, output))

    def _rows(self, z: Any) -> int:
        z = z[0] if self.masked else z
        return len(z) if z.dim() else 0

    def _detached(self, z: Any, rows: int) -> Any:
        return tuple(part.detach()[:rows] for part in z) if self.masked else z.detach()[:rows]

    def _select(self, output: Any) -> Any:
        if callable(self.pick):
            output = self.pick(output)
        elif self.pick is not None:
            try:
                output = output[self.pick]
            except (KeyError, IndexError, TypeError) as error:
                raise LatentError(
                    f"Expected layer {self.layer!r} to give an output with {self.pick!r} but got {_kind(output)}."
                ) from error
        if self.masked:
            if isinstance(output, (tuple, list)) and [type(part) for part in output] == [Tensor, Tensor]:
                return tuple(output)
            raise LatentError(
                f"Expected layer {self.layer!r} to give latents and a mask, since the projection is ragged, but got "
                f"{_kind(output)}; take both out with pick=, or read the mask off the batch with mask=."
            )
        if not isinstance(output, Tensor):
            raise LatentError(
                f"Expected layer {self.layer!r} to give a tensor but got {_kind(output)}; "
                "say which part is the latent with pick=, an index, a key or a function."
            )
        return output


def find_layer(network: nn.Module, name: str) -> nn.Module:
    """The submodule of a name; wrappers of torch.compile may be left out of it.

    Raises:
        LayerError: There is none; the message names those that are near.
    """
    layers = {
        full.replace("_orig_mod.", "").replace("._orig_mod", ""): module for full, module in network.named_modules()
    }
    plain = name.replace("_orig_mod.", "")
    if plain in layers and plain:
        return layers[plain]
    known = [layer for layer in layers if layer]
    near = get_close_matches(plain, known, n=4, cutoff=0.5) or known[:8]
    raise LayerError(
        f"Expected the name of a layer of {type(network).__name__} but got {name!r}; "
        + (f"near are {', '.join(map(repr, near))}." if near else "it has no layers.")
    )


def _forget_compiled(network: nn.Module) -> None:
    """Compiled code that has run without the hook would never call it (pytorch issue 117758)."""
    if "torch._dynamo" in sys.modules and any(
        getattr(module, "_compiled_call_impl", None) is not None or type(module).__name__ == "OptimizedModule"
        for module in network.modules()
    ):
        torch._dynamo.reset()


def pooled(z: Tensor, representation: Representation, pool: Pool | None) -> Tensor:
    """Flat latents (B, D) from a layer's output, positions pooled if asked.

    Args:
        z: Output whose axes behind the batch are the layout of the representation and, with `pool`, positions before
            or behind it: (B, *layout), (B, *layout, H, W) or (B, T, *layout).
        representation: Gives the layout.
        pool: "mean" or "max" over positions; None if there are none.

    Raises:
        LatentError: The shape does not fit.
    """
    if pool is None:
        return representation.flatten(z)
    for layout in ((representation.size,), representation.shape):
        n = len(layout)
        if tuple(z.shape[1 : 1 + n]) == layout:
            return representation.flatten(_reduced(z, range(1 + n, z.dim()), pool))
        if tuple(z.shape[-n:]) == layout:
            return representation.flatten(_reduced(z, range(1, z.dim() - n), pool))
    return representation.flatten(z)


def _reduced(z: Tensor, axes: Sequence[int], pool: Pool) -> Tensor:
    if not len(axes):
        return z
    return z.mean(dim=tuple(axes)) if pool == "mean" else z.amax(dim=tuple(axes))


def _kind(output: Any) -> str:
    if isinstance(output, Mapping):
        return f"{type(output).__name__} with keys {list(output)[:8]}"
    if isinstance(output, Sequence) and not isinstance(output, str):
        return f"{type(output).__name__} of {len(output)}"
    return type(output).__name__
