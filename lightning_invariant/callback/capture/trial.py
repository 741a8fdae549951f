"""Chooses the call that is made again for transformed inputs: tried once in a run, on private copies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from lightning_invariant.batch import RowLayout, clone, leaves, rows
from lightning_invariant.callback.capture.frames import (
    Arguments,
    Frame,
    Settings,
    Way,
    alike,
    bound,
    difference,
    replayed,
    watching,
    with_mask,
)
from lightning_invariant.callback.capture.latent import LatentReader
from lightning_invariant.callback.capture.nodes import NODE_BATCH
from lightning_invariant.callback.capture.private_copy import (
    PrivateCopy,
    drawn_since,
    has_closures,
    private_copy,
    set_random,
)
from lightning_invariant.callback.capture.recorder import Hit, RecordedCall, is_redirected
from lightning_invariant.callback.capture.taint import Taint, weights_of
from lightning_invariant.errors import LatentError, LayerError


@dataclass(frozen=True)
class Step:
    """The validation step that was recorded.

    Args:
        name: Of the method, such as "validation_step".
        arguments: Copies, in the order in which the step takes them.
        settings: What surrounded it.
        random: States of the random numbers before it.
    """

    name: str
    arguments: Arguments
    settings: Settings
    random: tuple[Any, ...]


@dataclass(frozen=True)
class Provenance:
    """What a run of the step on a private copy says of the arguments of every call.

    Args:
        hidden: Of each module, by name, the paths of arguments that the network computed itself.
        live: Whether the copy's latents come from the live network's weights, as where a closure holds them.
        reason: Why the step could not be run again; "" if it was.
    """

    hidden: Mapping[str, frozenset[str]]
    live: bool = False
    reason: str = ""


@dataclass
class Trial:
    """Looks for a way from inputs to the latent.

    Args:
        network: The LightningModule, as it is right after the batch.
        way: Modules that lead to the layer, by name.
        layer: The layer's name in the network.
        reader: Reads its latents.
        trainer: What copies see of their trainer.
        sharded: Whether parameters are spread over processes.
        seed: Of random numbers in calls of our own.
    """

    network: nn.Module
    way: Mapping[str, nn.Module]
    layer: str
    reader: LatentReader
    trainer: Any
    sharded: bool = False
    seed: int = 0

    def choose(
        self,
        hit: Hit,
        step: Step | None,
        mask: Tensor | None = None,
        batch: Any = None,
        graph: Tensor | None = None,
    ) -> tuple[Way | None, str]:
        """Return the way, or None with the reason; what was tried in vain is part of it.

        Args:
            hit: The layer's call that gave the latent.
            step: The step; None if it cannot be made again.
            mask: Of padded sets, as it was read off the batch.
            batch: Of the step; what stands in it was not computed by the network.
            graph: Of each node, as the batch has it.
        """
        if self.sharded:
            return self._outermost(hit, mask, graph)
        found = self._provenance(step)
        refused: list[str] = []
        for call, ordinal in zip(hit.calls, hit.ordinals, strict=True):
            frame = Frame("module", call.name, self.reader, call.settings, path=call.path, ordinal=ordinal)
            arguments = with_mask(call.arguments, mask, graph)
            if hidden := self._hidden(replace(call, arguments=arguments), len(hit.z), found, step, batch):
                known = "gets what the network computed itself" if not found.reason else "gets what is not in the batch"
                refused.append(f"{frame} {known} ({', '.join(sorted(hidden)[:3])})")
                break
            tried, reason = self._try(frame, arguments, hit.z, call.random, live=found.live)
            if tried is not None:
                return tried, ""
            refused.append(f"{frame} {reason}")
        if step is None:
            refused.append("the step takes an iterator of batches, so it cannot be made again")
        elif found.reason:
            refused.append(f"the whole {step.name} on a copy raises {found.reason}")
        else:
            frame = self._step_frame(step, hit.count)
            arguments = with_mask(step.arguments, mask, graph)
            tried, reason = self._try(frame, arguments, hit.z, step.random, live=found.live)
            if tried is not None:
                return tried, ""
            refused.append(f"{frame} {reason}")
        return None, "; ".join(refused)

    def choose_unrecorded(
        self,
        step: Step,
        mask: Tensor | None,
        function: Callable[[Any, Any], Any] | None,
        graph: Tensor | None = None,
    ) -> tuple[Way | None, str, Tensor | None]:
        """Return the way where nothing was recorded: a function of the user's, or a layer inside of compiled code.

        Returns:
            The way or None, the reason, and the latents of the batch.

        Raises:
            LatentError: The latent does not fit the representation.
        """
        if function is not None:
            frame = Frame("function", "", self.reader, step.settings, function=function)
        else:
            frame = self._step_frame(step, 0)
        arguments = with_mask(step.arguments, mask, graph)
        copied = copy_for(frame, self.network, self.trainer)
        try:
            with copied.running(self.seed):
                z = replayed(frame, copied, clone(arguments), self.seed)
        except LatentError:
            raise
        except Exception as error:  # any user's step may raise anything
            return None, f"{frame} on a private copy raises {type(error).__name__}: {error}", None
        tried, reason = self._try(frame, arguments, z, None, live=False)
        if tried is None:
            return None, f"{frame} {reason}", z
        return replace(tried, recorded=False), "", z

    def _step_frame(self, step: Step, ordinal: int) -> Frame:
        return Frame("step", step.name, self.reader, step.settings, path=self.layer, ordinal=ordinal)

    def _outermost(self, hit: Hit, mask: Tensor | None, graph: Tensor | None) -> tuple[Way | None, str]:
        """The outermost call, of which all processes make equally many."""
        call, ordinal = hit.calls[0], hit.ordinals[0]
        frame = Frame("module", call.name, self.reader, call.settings, path=call.path, ordinal=ordinal)
        layouts = rows(with_mask(call.arguments, mask, graph), len(hit.z))
        if not layouts:
            return None, f"{frame} has no argument with a row for each of {len(hit.z)} latents"
        return Way(frame, layouts[0], by_rows=True, recorded=True, repeatable=True), ""

    def _hidden(
        self, call: RecordedCall, count: int, found: Provenance, step: Step | None, batch: Any
    ) -> frozenset[str]:
        """Arguments with rows that are hidden features, as far as that is known."""
        layouts = rows(call.arguments, count)
        varying = set(layouts[0].axes) if layouts else set()
        if not found.reason:
            return frozenset(varying) & found.hidden.get(call.name, frozenset())
        given = list(leaves({"batch": batch} if step is None else step.arguments).values())
        known = leaves(call.arguments)
        varying -= {NODE_BATCH}
        return frozenset(path for path in varying if not any(_equal(known[path], leaf) for leaf in given))

    def _provenance(self, step: Step | None) -> Provenance:
        """Run the step once more, on a copy, and follow the weights through it."""
        if step is None:
            return Provenance({}, reason="nothing, since it cannot be made again")
        copied = private_copy(self.network, self.trainer)
        if copied.is_live:
            return Provenance({}, reason=f"nothing, since {copied.reason}")
        step.settings.put_on(copied.network)
        hidden: dict[str, frozenset[str]] = {}
        live_latent = [False]
        own, live = Taint(weights_of(copied.network)), Taint(weights_of(self.network))
        names = {id(copied.network.get_submodule(name)): name for name in self.way}
        layer = copied.network.get_submodule(self.layer)

        def watch(module: nn.Module, call: Any, args: Any, kwargs: Any) -> Any:
            name = names[id(module)]
            if name not in hidden and not is_redirected(module):
                given = leaves(bound(module, args, kwargs))
                hidden[name] = frozenset(path for path, leaf in given.items() if own.holds(leaf) or live.holds(leaf))
            output = call(*args, **kwargs)
            if module is layer:
                live_latent[0] |= any(map(live.holds, leaves({"output": output}).values()))
            return output

        watches = {copied.network.get_submodule(name): watch for name in self.way}
        arguments = clone(step.arguments)
        try:
            with copied.running(self.seed), step.settings.around(), watching(watches):
                set_random(step.random)
                with own, live:
                    getattr(copied.network, step.name)(*arguments.values())
        except Exception as error:  # any user's step may raise anything
            return Provenance(hidden, live_latent[0], f"{type(error).__name__}: {error}")
        return Provenance(hidden, live_latent[0])

    def _try(
        self, frame: Frame, arguments: Arguments, z: Tensor, states: tuple[Any, ...] | None, *, live: bool
    ) -> tuple[Way | None, str]:
        """Make the call again; the way if that gives what was recorded, else why not."""
        tried = self._try_on(frame, arguments, z, states, live=live, hooks=False)
        if tried[0] is None and not live and has_closures(self.network.get_submodule(frame.root)):
            return self._try_on(frame, arguments, z, states, live=live, hooks=True)
        return tried

    def _try_on(
        self,
        frame: Frame,
        arguments: Arguments,
        z: Tensor,
        states: tuple[Any, ...] | None,
        *,
        live: bool,
        hooks: bool,
    ) -> tuple[Way | None, str]:
        copied = copy_for(frame, self.network, self.trainer, live=live, hooks=hooks)
        again = lambda given, seed: replayed(frame, copied, clone(given), seed)  # noqa: E731
        try:
            with copied.running(self.seed):
                if states is not None:
                    set_random(states)
                    found = frame.latents(copied.network, clone(arguments))
                    if not alike(found, z):
                        return None, f"gives other latents when it is made again ({difference(found, z):.1e})"
                one = again(arguments, self.seed)
                repeatable = not drawn_since(self.seed)
                if not alike(again(arguments, self.seed) if not repeatable else z, one):
                    return None, "gives other latents each time it is made"
                layout = self._layout(again, arguments, one) if repeatable else None
                by_rows = layout is not None
                layout = layout or next(iter(rows(arguments, len(one))), None)
        except (LatentError, LayerError):
            raise
        except Exception as error:  # any user's forward may raise anything
            return None, f"raises {type(error).__name__} when it is made again: {error}"
        return Way(frame, layout, by_rows, True, repeatable, on_live=live, hooks=hooks), ""

    def _layout(self, again: Any, arguments: Arguments, z: Tensor) -> RowLayout | None:
        """Which arguments have rows: half of them, in another order, must give that half of the latents."""
        count = len(z)
        if count < 2:
            return None
        order = torch.randperm(count, generator=torch.Generator().manual_seed(self.seed))[: max(1, count // 2)]
        for layout in rows(arguments, count):
            try:
                half = again(layout.select(arguments, order), self.seed)
            except Exception:  # not these, then
                continue
            if alike(half, z[order.to(z.device)]):
                return layout
        return None


def copy_for(
    frame: Frame,
    network: nn.Module,
    trainer: Any,
    *,
    live: bool = False,
    sharded: bool = False,
    hooks: bool = False,
) -> PrivateCopy:
    """Return a fresh copy of what a call needs, in the modes of the recorded call.

    Args:
        frame: The call.
        network: The LightningModule.
        trainer: What the copy sees of its trainer.
        live: Whether a copy would read the live weights, so that none is made.
        sharded: Whether parameters are spread over processes, so that none can be made.
        hooks: Whether the copy keeps hooks that are closures.
    """
    root = network.get_submodule(frame.root)
    if live:
        return PrivateCopy(root, is_live=True, reason="a copy of it would read the live weights")
    copied = private_copy(root, trainer, sharded=sharded, hooks=hooks)
    if not copied.is_live:
        frame.settings.put_on(copied.network)
    return copied


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype and torch.equal(one, other.to(one.device))


def likeliest(hits: Sequence[Hit], count: int | None) -> Hit:
    """Return the first call of the layer with a latent for each label; the first of all if none has.

    Args:
        hits: At least one.
        count: Labels in the batch; None if there are none.
    """
    return next((hit for hit in hits if len(hit.z) == count), hits[0])
