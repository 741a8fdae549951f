"""Find the layer, and read flat latents off what it gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from lightning_invariant.batch.tree import open_container
from lightning_invariant.callback.capture.nodes import NodeRows
from lightning_invariant.errors import GroupError, LatentError, LayerError
from lightning_invariant.groups import Group, Representation
from lightning_invariant.groups.agreement import admitted, contradicts
from lightning_invariant.guests import escnn, escnn_modules, read_representation

if TYPE_CHECKING:
    from lightning_invariant.evaluation import FoundRepresentation

Pool = Literal["mean", "max"]
Pick = Callable[[Any], Any] | int | str | None
WRAPPER = "_orig_mod"
FIND = "or the group alone, such as 'C4: find', to find it from the latents"


class Symmetry:
    """The representation of one layer's latents.

    Args:
        layer: Name for messages.
        declared: By the user; None to read it off.
        whole: Whether the layer's output as it is is the latent, so that what the layer says can contradict.
        sought: The group whose action is to be found from latents; None where it is declared or read off.
    """

    def __init__(
        self, layer: str, declared: Representation | None, *, whole: bool = True, sought: Group | None = None
    ) -> None:
        self.layer, self.declared, self._whole, self.sought = layer, declared, whole, sought
        self.begin()

    def begin(self) -> None:
        """A run starts, perhaps with another network."""
        self.found: Representation | None = None
        self.estimate: FoundRepresentation | None = None
        self.where, self.is_map = "", False
        self._seen: tuple[int, ...] | None = None

    @property
    def is_known(self) -> bool:
        """Whether the representation is known by now."""
        return self.declared is not None or self.found is not None

    @property
    def representation(self) -> Representation:
        """How the symmetry acts.

        Raises:
            LatentError: Nothing says it; the message lists what fits the latent's shape.
        """
        known = self.declared or self.found
        if known is None:
            raise LatentError(self._question())
        return known

    @property
    def group(self) -> Group:
        """What acts.

        Raises:
            LatentError: Nothing says it.
        """
        return self.representation.group if self.sought is None else self.sought

    def settle(self, estimate: FoundRepresentation) -> None:
        """Take an action that was found from latents, until another one is."""
        self.estimate, self.found = estimate, estimate.representation

    @property
    def story(self) -> str:
        """Where the representation was read; "" where it was declared."""
        if self.declared is not None or self.found is None or self.sought is not None:
            return ""
        pooled = "; positions of its maps are averaged (pool=)" if self.is_map else ""
        return f"'{self.found}', read off {self.where}{pooled}"

    def look(self, layer: nn.Module | None, *, last: bool) -> None:
        """Read what the layer itself says, before anything ran.

        Args:
            layer: None for a function.
            last: Whether this must settle it, since no sanity check comes before the first step.

        Raises:
            LayerError: It contradicts what was declared.
            LatentError: Nothing says how the symmetry acts.
            GroupError: The layer says something for which there is no notation, and nothing was declared.
        """
        if self.sought is not None:
            return
        if layer is not None and (self.declared is None or self._whole):
            self._take(self._read(layer), f"layer {self.layer!r}")
        if last and not self.is_known and not escnn.is_there():
            raise LatentError(self._question())

    def see(self, output: Any) -> None:
        """Read what the first output says.

        Raises:
            LayerError: It contradicts what was declared.
        """
        if self._seen is not None or self.sought is not None:
            return
        tensor = output.tensor if escnn.is_geometric(output) else output
        self._seen = tuple(tensor.shape) if isinstance(tensor, Tensor) else ()
        if escnn.is_geometric(output):
            self.is_map = any(side > 1 for side in tensor.shape[2:])
            self._take(self._read(output), f"the output of layer {self.layer!r}")

    def _read(self, source: Any) -> Representation | None:
        try:
            return read_representation(source)
        except GroupError:  # without a notation for what it says, what was declared stands
            if self.declared is None:
                raise
            return None

    def _take(self, read: Representation | None, where: str) -> None:
        if read is None:
            return
        if self.declared is None:
            self.found, self.where = read, self.where if read == self.found else where
        elif contradicts(self.declared, read):
            raise LayerError(
                f"Expected the representation that {where} states, '{read}', but '{self.declared}' was declared; leave "
                "representation= out, or give what layer and group have in common."
            )

    def _question(self) -> str:
        start = f"Expected to know how the symmetry acts on the latents of layer {self.layer!r} but "
        if self.sought is not None:
            return f"{start}no action of {self.sought} was found in them so far."
        if not self._seen:
            return f"{start}the layer does not say it; give representation=, such as 'C4: 16 regular', {FIND}."
        fits = ", ".join(f"'{text}'" for text in admitted(self._seen[1:]))
        such = f"such as {fits}" if fits else "and rows of numbers by pick= or pool="
        return f"{start}neither the layer nor its output {self._seen} says it; give representation=, {such}, {FIND}."


@dataclass(frozen=True)
class LatentReader:
    """Turns a layer's output into flat latents.

    Args:
        layer: Name for messages.
        symmetry: Knows the representation, which gives the layout without masks.
        pick: Index, key or function that takes the latent out of a tuple or dict of outputs.
        pool: "mean" or "max" over the positions of a feature map or the tokens of a sequence.
        ragged: Whether the output is a pair of padded sets and the mask of the points that exist.
        nodes: Makes rows of graphs out of latents of nodes.
    """

    layer: str
    symmetry: Symmetry
    pick: Pick = None
    pool: Pool | None = None
    ragged: bool = False
    nodes: NodeRows | None = None

    @property
    def representation(self) -> Representation:
        """How the symmetry acts.

        Raises:
            LatentError: Nothing says it so far.
        """
        return self.symmetry.representation

    @property
    def pooling(self) -> Pool | None:
        """How positions are pooled: as asked for, else averaged where the output is a map that says its fibre."""
        return self.pool or ("mean" if self.symmetry.declared is None and self.symmetry.is_map else None)

    def __call__(self, output: Any, mask: Tensor | None = None, graph: Tensor | None = None) -> Tensor:
        """Return flat latents (B, D) in float32, a copy; with the mask as one more number of each point if given.

        Args:
            output: What the layer gave.
            mask: True at points that exist, (B, n).
            graph: The graph of each node, where the batch has graphs in one long list of nodes.

        Raises:
            LatentError: There is no latent in it, or it does not fit the representation.
        """
        z = self.select(output, graph)
        if isinstance(z, tuple):
            z, mask = z
        z = z.detach()
        if self.nodes is not None and graph is not None and len(z) == len(graph):
            return self.nodes.rows(z, graph.to(z.device))
        if self.nodes is not None and self.nodes.readout is not None:
            return self.nodes.rows(*self._listed(z, mask))
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
        if self.symmetry.sought is not None:  # the layout is not known: the basis that is found takes rows as they are
            return _unknown_layout(z, self.pool).float()
        return pooled(z, self.representation, self.pooling).float()

    def plain(self, output: Any) -> Tensor:
        """Return flat latents of an output as an export gives them: one row for each node, where nodes were seen."""
        z = self.select(output)
        z = z[0] if isinstance(z, tuple) else z
        if self.nodes is not None and self.nodes.seen:
            return z.flatten(1).float()
        return self.rows(z)

    def _listed(self, z: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Nodes (B, n, ...) in one long list, those that exist, with the graph of each."""
        if z.dim() < 3:
            raise LatentError(
                f"Expected latents of nodes from layer {self.layer!r} to read out, (B, n, ...) or the nodes of all "
                f"graphs, but got shape {tuple(z.shape)}; name a layer that has a latent for each node, or leave out "
                "pool=."
            )
        mask = torch.ones(z.shape[:2], dtype=torch.bool) if mask is None else mask
        graph = torch.arange(len(z), device=z.device)[:, None].expand(z.shape[:2])
        return z[mask.to(z.device)], graph[mask.to(z.device)]

    def select(self, output: Any, graph: Tensor | None = None) -> Any:
        """Return the latent in an output, or latent and mask where the projection takes masks and rows are no nodes.

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
                    f"Expected layer {self.layer!r} to give an output with {self.pick!r} but got {_kind(output)}; "
                    "take one of those."
                ) from error
        self.symmetry.see(output)
        listed = graph is not None and isinstance(output, Tensor) and len(output) == len(graph)
        if self.ragged and not listed and not (self.nodes is not None and self.nodes.seen):
            if isinstance(output, (tuple, list)) and [isinstance(part, Tensor) for part in output] == [True, True]:
                return output[0], output[1]
            raise LatentError(
                f"Expected layer {self.layer!r} to give latents and a mask, since the projection takes masks, but got "
                f"{_kind(output)}; take both out with pick=, or read the mask off the batch with "
                "batch=BatchReader(mask=...)."
            )
        output = escnn_modules.plain_output(output)
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


def _unknown_layout(z: Tensor, pool: Pool | None) -> Tensor:
    """Rows of maps (B, C, ...), whose positions stand behind the channels, or of tokens (B, T, C)."""
    if pool is None or z.dim() < 3:
        return z.flatten(1)
    return _reduced(z, [1] if z.dim() == 3 else range(2, z.dim()), pool).flatten(1)


def _reduced(z: Tensor, axes: Sequence[int], pool: Pool) -> Tensor:
    if not len(axes):
        return z
    return z.mean(dim=tuple(axes)) if pool == "mean" else z.amax(dim=tuple(axes))


def _plain(name: str) -> str:
    return ".".join(part for part in name.split(".") if part != WRAPPER)


MOST_PARTS = 24
"""Parts of an output that a message lists."""


def _kind(output: Any) -> str:
    """The type of an output, with its parts and their shapes."""
    if isinstance(output, Tensor):
        return f"a tensor {tuple(output.shape)}"
    children = open_container(output)
    if not children:
        return type(output).__name__
    shown = [f"{child.key!r} {_shape(child.value)}" for child in children if _shape(child.value)] or [
        repr(child.key) for child in children
    ]
    more = f" and {len(shown) - MOST_PARTS} more" if len(shown) > MOST_PARTS else ""
    return f"{type(output).__name__} with {', '.join(shown[:MOST_PARTS])}{more}"


def _shape(value: Any) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else ""
