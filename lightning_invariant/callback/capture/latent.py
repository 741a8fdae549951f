"""Find the layer, and read flat latents off what it gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lightning_invariant.errors import LatentError, LayerError
from lightning_invariant.groups import Representation

Pool = Literal["mean", "max"]
Pick = Callable[[Any], Any] | int | str | None
WRAPPER = "_orig_mod"


@dataclass(frozen=True)
class LatentReader:
    """Turns a layer's output into flat latents.

    Args:
        layer: Name for messages.
        representation: Gives the layout, without masks.
        pick: Index, key or function that takes the latent out of a tuple or dict of outputs.
        pool: "mean" or "max" over the positions of a feature map or the tokens of a sequence.
        ragged: Whether the output is a pair of padded sets and the mask of the points that exist.
    """

    layer: str
    representation: Representation
    pick: Pick = None
    pool: Pool | None = None
    ragged: bool = False

    def __call__(self, output: Any, mask: Tensor | None = None) -> Tensor:
        """Return flat latents (B, D) in float32, a copy; with the mask as one more number of each point if given.

        Args:
            output: What the layer gave.
            mask: True at points that exist, (B, n).

        Raises:
            LatentError: There is no latent in it, or it does not fit the representation.
        """
        z = self.select(output)
        if isinstance(z, tuple):
            z, mask = z
        z = z.detach()
        flat = self.rows(z)
        if mask is None:
            return flat.clone() if flat.data_ptr() == z.data_ptr() else flat
        from lightning_invariant.callback.support.masked import pack

        return pack(flat, mask, self.representation)

    def rows(self, z: Tensor) -> Tensor:
        """Return rows (B, D) of a tensor, float32."""
        if z.is_complex():
            raise LatentError(
                f"Expected real latents from layer {self.layer!r} but got {z.dtype}; take real numbers out with pick=, "
                "such as torch.view_as_real, and say how the symmetry acts on real and imaginary parts."
            )
        if z.is_nested:
            z = z.to_padded_tensor(0.0)
        return pooled(z, self.representation, self.pool).float()

    def select(self, output: Any) -> Any:
        """Return the latent in an output, or latent and mask.

        Raises:
            LatentError: There is none.
        """
        if callable(self.pick):
            output = self.pick(output)
        elif self.pick is not None:
            try:
                output = output[self.pick]
            except (KeyError, IndexError, TypeError) as error:
                raise LatentError(
                    f"Expected layer {self.layer!r} to give an output with {self.pick!r} but got {_kind(output)}."
                ) from error
        if self.ragged:
            if isinstance(output, (tuple, list)) and [isinstance(part, Tensor) for part in output] == [True, True]:
                return output[0], output[1]
            raise LatentError(
                f"Expected layer {self.layer!r} to give latents and a mask, since the projection takes masks, but got "
                f"{_kind(output)}; take both out with pick=, or read the mask off the batch with "
                "batch=BatchReader(mask=...)."
            )
        if type(output).__name__ == "GeometricTensor":  # of escnn
            output = output.tensor
        if not isinstance(output, Tensor):
            raise LatentError(
                f"Expected layer {self.layer!r} to give a tensor but got {_kind(output)}; "
                "say which part is the latent with pick=, an index, a key or a function."
            )
        if output.dim() < 2:
            raise LatentError(
                f"Expected latents (B, ...) from layer {self.layer!r} but got shape {tuple(output.shape)}; name a "
                "layer whose first axis is the batch, or shape its output with pick=."
            )
        return output


def find_layer(network: nn.Module, name: str) -> nn.Module:
    """Return the submodule of a name; wrappers of torch.compile may be left out of it, aliases count.

    Raises:
        LayerError: There is none; the message names those that are near.
    """
    layers: dict[str, nn.Module] = {}
    for full, module in network.named_modules(remove_duplicate=False):
        layers.setdefault(_plain(full), module)  # of a compiled module the wrapper, whose call can be seen
    plain = _plain(name)
    if plain in layers and plain:
        return layers[plain]
    known = [layer for layer in layers if layer]
    near = get_close_matches(plain, known, n=4, cutoff=0.5) or known[:8]
    raise LayerError(
        f"Expected the name of a layer of {type(network).__name__} but got {name!r}; "
        + (f"near are {', '.join(map(repr, near))}." if near else "it has no layers.")
    )


def way_to(network: nn.Module, layer: nn.Module) -> dict[str, nn.Module]:
    """Return the modules whose calls can lead to a layer, itself included, by name and from the outside in.

    What stands inside of a compiled or scripted module is left out: its calls do not happen one by one.

    Args:
        network: The LightningModule.
        layer: One of its submodules.
    """
    found: dict[str, nn.Module] = {}
    seen: set[int] = set()
    for name, module, closed in _open_modules(network):
        if id(module) not in seen and any(inner is layer for inner in module.modules()):
            seen.add(id(module))
            if not closed:
                found[name] = module
    return found


def _open_modules(network: nn.Module) -> Iterator[tuple[str, nn.Module, bool]]:
    """Modules with their names and whether they stand inside of what is compiled or scripted as one."""

    def walk(name: str, module: nn.Module, closed: bool) -> Iterator[tuple[str, nn.Module, bool]]:
        yield name, module, closed
        inside = closed or is_compiled(module) or isinstance(module, torch.jit.ScriptModule)
        for key, child in module.named_children():
            yield from walk(f"{name}.{key}" if name else key, child, inside)

    return walk("", network, getattr(network, "_compiler_ctx", None) is not None)


def is_compiled(module: nn.Module) -> bool:
    """Whether torch.compile makes one function of a module's call."""
    return module.__dict__.get("_compiled_call_impl") is not None or type(module).__name__ == "OptimizedModule"


def pooled(z: Tensor, representation: Representation, pool: Pool | None) -> Tensor:
    """Return flat latents (B, D) of a layer's output, positions pooled if asked.

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


def _plain(name: str) -> str:
    return ".".join(part for part in name.split(".") if part != WRAPPER)


def _kind(output: Any) -> str:
    if isinstance(output, Mapping):
        return f"{type(output).__name__} with keys {list(output)[:8]}"
    if isinstance(output, Sequence) and not isinstance(output, str):
        return f"{type(output).__name__} of {len(output)}"
    return type(output).__name__
