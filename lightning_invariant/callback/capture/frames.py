"""Calls that lead to the latent: watched while the user's own step runs, and made again on a private copy.

`nn.Module.__call__` asks the attribute `_compiled_call_impl` first, so a callable put into the module's own
`__dict__` sees arguments, output and exceptions, outside of the user's hooks. Unlike a forward hook it does not turn
off the fast path of `nn.TransformerEncoder`, works on ScriptModules, and is left out by `nn.Module.__getstate__`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lightning_invariant.batch import RowLayout, graph_of_nodes, leaves
from lightning_invariant.callback.capture.latent import LatentReader
from lightning_invariant.callback.capture.nodes import NODE_BATCH, joined
from lightning_invariant.callback.capture.orbit import Orbit
from lightning_invariant.callback.capture.private_copy import PrivateCopy, reseed
from lightning_invariant.errors import LayerError
from lightning_invariant.guests import escnn_modules

ATTRIBUTE = "_compiled_call_impl"
Watch = Callable[[nn.Module, Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]
"""Gets the module, what to call, arguments and keyword arguments; gives what the call gives."""


class Slot:
    """Stands in for a module's call.

    Args:
        module: The module.
        watch: What sees the call, and makes it.
    """

    __slots__ = ("__weakref__", "before", "module", "watch")

    def __init__(self, module: nn.Module, watch: Watch) -> None:
        self.module, self.watch = module, watch
        self.before = module.__dict__.get(ATTRIBUTE)  # that of `module.compile()`

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Make the call under watch."""
        return self.watch(self.module, self.before or self.module._call_impl, args, kwargs)

    def __deepcopy__(self, memo: Any) -> None:
        """A copy of the module has no slot: the class's own None."""
        return

    def __reduce__(self) -> tuple[Any, ...]:
        """Nor has a pickled one, where a class keeps it in its state as LightningModule does."""
        return type(None), ()


@contextmanager
def watching(modules: Mapping[nn.Module, Watch]) -> Iterator[None]:
    """Watch modules while the block runs; afterwards each is as it was.

    Args:
        modules: Module to what sees its calls.
    """
    slots = put_in(modules)
    try:
        yield
    finally:
        take_out(slots)


def put_in(modules: Mapping[nn.Module, Watch]) -> list[Slot]:
    """Start to watch; to be undone by `take_out`."""
    slots = [Slot(module, watch) for module, watch in modules.items()]
    for slot in slots:
        slot.module.__dict__[ATTRIBUTE] = slot
    return slots


def take_out(slots: list[Slot]) -> None:
    """Stop watching."""
    for slot in slots:
        if slot.before is None:
            slot.module.__dict__.pop(ATTRIBUTE, None)
        else:
            slot.module.__dict__[ATTRIBUTE] = slot.before
    slots.clear()


Kind = Literal["module", "step", "function"]
LatentFunction = Callable[[Any, Any], Any]
Arguments = dict[str, Any]
"""Name of a parameter to what was given for it."""
SET_MASK = "set_mask"
"""Under which name the mask of a padded set stands among the arguments that are transformed; it is not passed on."""


class Reached(BaseException):  # no error, and nothing that a user's `except Exception` should catch
    """Ends a forward of our own where it has given the latent.

    Args:
        latent: Flat latents.
    """

    def __init__(self, latent: Tensor) -> None:
        super().__init__()
        self.latent = latent


@dataclass(frozen=True)
class Settings:
    """What surrounded a call, and is set up again for its replay.

    Args:
        modes: Whether each module of the frame was in training mode, by name.
        autocast: Device type, dtype and whether it was on, of each device type.
    """

    modes: Mapping[str, bool]
    autocast: tuple[tuple[str, torch.dtype, bool], ...]

    @classmethod
    def now(cls, module: nn.Module) -> Settings:
        """Read them off."""
        kinds = ("cpu", *(("cuda",) if torch.cuda.is_available() else ()))
        autocast = tuple((kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind)) for kind in kinds)
        return cls({name: part.training for name, part in module.named_modules()}, autocast)

    @contextmanager
    def around(self) -> Iterator[None]:
        """Switch autocast as it was."""
        with ExitStack() as stack:
            for kind, dtype, enabled in self.autocast:
                if enabled:
                    stack.enter_context(torch.autocast(kind, dtype=dtype))
            yield

    def put_on(self, module: nn.Module) -> None:
        """Set each module's mode as it was, without calling `eval` or `train`, which may do more than that."""
        changed = False
        for name, part in module.named_modules():
            if name in self.modes and part.training != self.modes[name]:
                part.training, changed = self.modes[name], True
        if changed:
            escnn_modules.settle(module)


@dataclass(frozen=True)
class Frame:
    """A call that leads to the latent.

    Args:
        kind: "module" for the call of a module, "step" for the whole validation step, "function" for the user's own
            function of module and batch.
        name: Of the module that is called, "" for the LightningModule; of the step's method.
        reader: Reads latents off the layer's output, or off what the function gives.
        settings: What surrounded the call.
        path: Name of the layer inside of the module that has to be copied; "" for that module itself.
        function: The user's.
        ordinal: Which of the layer's calls within this call gives the latent, from 0.
        orbit: Elements of a group under each of which the call is made; None for the call as it is.
    """

    kind: Kind
    name: str
    reader: LatentReader
    settings: Settings
    path: str = ""
    function: LatentFunction | None = None
    ordinal: int = 0
    orbit: Orbit | None = None

    def __str__(self) -> str:
        if self.kind == "module":
            return f"the call of {self.name!r}" if self.name else "the LightningModule's forward"
        return f"the whole {self.name}" if self.kind == "step" else "the function given as layer"

    @property
    def root(self) -> str:
        """Name of the module that has to be copied."""
        return self.name if self.kind == "module" else ""

    def latents(self, network: nn.Module, arguments: Arguments, *, whole: bool = False) -> Tensor:
        """Return flat latents of a call on a copy of the root, which ends where the layer has given them.

        Args:
            network: The copy.
            arguments: Of the call, by name; a mask of padded sets under `SET_MASK`.
            whole: Let the call run to its end, for networks that are shared out among processes.

        Raises:
            LayerError: The call does not reach the layer.
            LatentError: The latent does not fit.
        """
        if self.orbit is not None:
            once = replace(self, orbit=None)
            return self.orbit.latents(lambda turned: once.latents(network, turned, whole=whole), arguments)
        given = dict(arguments)
        mask, graph = given.pop(SET_MASK, None), given.pop(NODE_BATCH, None)
        if self.kind == "function":
            assert self.function is not None
            with self.settings.around():
                return self.reader(self.function(network, given["batch"]), mask, graph)
        layer = network.get_submodule(self.path)
        calls = [0]
        found: list[Tensor] = []

        def watch(module: nn.Module, call: Callable[..., Any], args: Any, kwargs: Any) -> Any:
            output = call(*args, **kwargs)
            calls[0] += 1
            if calls[0] == self.ordinal + 1:
                found.append(self.reader(output, mask, graph))
                if not whole:
                    raise Reached(found[0])
            return output

        with watching({layer: watch}), self.settings.around():
            try:
                self.call(network, given)
            except Reached as reached:
                return reached.latent
        if found:
            return found[0]
        raise LayerError(f"Expected {self} to reach layer {self.reader.layer!r} again but it did not.")

    def call(self, network: nn.Module, given: Arguments) -> Any:
        """Make the call on a copy of the root."""
        if self.kind == "step":
            return getattr(network, self.name)(*given.values())
        args, kwargs = unbound(network, given)
        return network(*args, **kwargs)


def bound(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Arguments:
    """Return arguments by the names of the forward's parameters."""
    try:
        arguments = dict(_signature(module).bind(*args, **kwargs).arguments)
    except (TypeError, ValueError):  # no signature to be had
        return {"args": args, "kwargs": dict(kwargs)}
    return arguments


def unbound(module: nn.Module, arguments: Arguments) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return what `bound` took."""
    if set(arguments) == {"args", "kwargs"}:
        return tuple(arguments["args"]), dict(arguments["kwargs"])
    found = inspect.BoundArguments(_signature(module), arguments)  # type: ignore[arg-type]
    return found.args, found.kwargs


def step_arguments(network: Any, name: str, batch: Any, batch_idx: int, loader: int | None) -> Arguments:
    """Return the arguments that Lightning gives a step, in their order."""
    given: Arguments = {"batch": batch, "batch_idx": batch_idx}
    if loader is not None:
        given["dataloader_idx"] = loader
    parameters = inspect.signature(getattr(network, name)).parameters
    several = any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters.values())
    if "batch_idx" not in parameters and len(parameters) < 2 and not several:
        del given["batch_idx"]
    return given


def _signature(module: nn.Module) -> inspect.Signature:
    inner: Any = module._orig_mod if type(module).__name__ == "OptimizedModule" else module
    return inspect.signature(inner.forward)


@dataclass(frozen=True)
class Way:
    """A frame that was tried, and how its recorded calls are kept and made again.

    Args:
        frame: The call.
        layout: Which arguments have one row a sample; None where none has.
        by_rows: Whether some rows alone give those rows' latents; otherwise whole calls are made again.
        recorded: Whether the layer's output was recorded in the user's own forward; otherwise latents come from the
            copy.
        repeatable: Whether two calls with other random numbers give one latent; otherwise both sides of a comparison
            come from the copy, with the same random numbers.
        on_live: Whether a copy would read the live network's weights, so that calls are made on the live network.
        hooks: Whether the user's hooks that are closures belong to the computation, so that the copy keeps them.
    """

    frame: Frame
    layout: RowLayout | None
    by_rows: bool
    recorded: bool
    repeatable: bool
    on_live: bool = False
    hooks: bool = False

    def __str__(self) -> str:
        return f"{self.frame}, {'any rows' if self.by_rows else 'whole batches'}"


def replayed(frame: Frame, copied: PrivateCopy, arguments: Arguments, seed: int) -> Tensor:
    """Return latents of one call of our own, with random numbers by a seed; inside of `PrivateCopy.running`."""
    reseed(seed)
    return frame.latents(copied.network, arguments)


ALIKE = 1e-3
"""Largest relative difference between latents of two calls that count as the same."""


def with_mask(arguments: Arguments, mask: Tensor | None, graph: Tensor | None = None) -> Arguments:
    """Return arguments with the mask of padded sets among them, and the graph of each node.

    Args:
        arguments: Of a call.
        mask: Of padded sets; None if there is none.
        graph: As the batch tells it, for calls that take nodes; None if the batch holds no graphs.
    """
    graph = graph_of_nodes(arguments) if graph is None else graph
    found = arguments if mask is None else {**arguments, SET_MASK: mask}
    if graph is None or not any(len(leaf) == len(graph) for leaf in leaves(arguments).values() if leaf.dim()):
        return found
    return {**found, NODE_BATCH: graph}


def alike(found: Tensor, expected: Tensor) -> bool:
    """Whether two sets of latents are the same; NaN is like nothing but NaN in the same place."""
    found, expected = _same_width(found, expected)
    if found.shape != expected.shape:
        return False
    finite = expected.isfinite()
    if not torch.equal(finite, found.isfinite()):
        return False
    return difference(found, expected) <= ALIKE


def difference(found: Tensor, expected: Tensor) -> float:
    """Relative difference of two sets of latents, infinite if it is not to be had."""
    found, expected = _same_width(found, expected)
    if found.shape != expected.shape:
        return float("inf")
    finite = expected.isfinite()
    change = (found - expected)[finite].double().norm()
    length = expected[finite].double().norm()
    value = float(change / length) if length > 0 else float(change)
    return value if value == value else float("inf")


def _same_width(found: Tensor, expected: Tensor) -> tuple[Tensor, Tensor]:
    """Packed graphs are as wide as the largest of their call."""
    if len(found) != len(expected) or found.shape == expected.shape:
        return found, expected
    both = joined([found, expected.to(found)])
    return both[: len(found)], both[len(found) :]
