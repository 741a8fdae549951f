"""An encoder out of a Lightning checkpoint, when the training is over."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from lightning_invariant.batch import leaves
from lightning_invariant.callback.capture.frames import SET_MASK, Frame, Settings, bound
from lightning_invariant.callback.capture.latent import LatentReader, Symmetry, find_layer
from lightning_invariant.callback.capture.orbit import Orbit
from lightning_invariant.callback.export.checkpoints import Saved, put_state
from lightning_invariant.callback.export.latent_path import LatentPath
from lightning_invariant.errors import ArtifactError, InvariantError, LatentError
from lightning_invariant.groups import Representation
from lightning_invariant.guests import escnn_modules
from lightning_invariant.orbit_layer import OrbitLayer
from lightning_invariant.projections import Projection

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor, nn

    from lightning_invariant.artifact.card import Card
    from lightning_invariant.encoder import InvariantEncoder
    from lightning_invariant.encoder.export import ExportOptions

OURS = "InvariantCallback"


@dataclass(frozen=True)
class Recipe:
    """How the latents of a network are reached, as the callback left it in a checkpoint or as a user says it.

    Args:
        layer: As in `named_modules`.
        projection: From latents to features.
        example: A batch of at least two inputs, and a mask where sets are padded.
        pick: Index or key of the latent in what the layer gives.
        pool: "mean" or "max" over positions.
        notes: Numbers, samples and seed of what the callback measured.
    """

    layer: str
    projection: Projection
    example: tuple[Tensor, ...]
    pick: int | str | None
    pool: Any
    notes: Mapping[str, Any]


def callback_notes(saved: Saved) -> dict[str, Any]:
    """Return what the callback left in a checkpoint; empty if it was not there.

    Raises:
        ArtifactError: Several were.
    """
    found = {key: notes for key, notes in saved.callbacks.items() if str(key).startswith(OURS) and notes}
    if len(found) > 1:
        raise ArtifactError(
            f"Expected a checkpoint with one InvariantCallback but it has {len(found)}; say which layer with --layer "
            "and --representation."
        )
    return dict(next(iter(found.values()), {}))


def example_of(notes: Mapping[str, Any]) -> Tensor | None:
    """Return random inputs of the shape and dtype that the callback saw."""
    if "input" not in notes:
        return None
    shape, dtype = (2, *notes["input"]["shape"]), getattr(torch, notes["input"]["dtype"])
    if not dtype.is_floating_point:
        return torch.zeros(shape, dtype=dtype)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)


def build_module(kind: type[nn.Module], saved: Saved, arguments: Mapping[str, Any] | None = None) -> nn.Module:
    """Build the user's module with the checkpoint's hyperparameters, before it has the checkpoint's weights.

    Args:
        kind: Its class.
        saved: The checkpoint.
        arguments: Of the constructor, before those of the checkpoint.

    Raises:
        ArtifactError: The constructor refuses.
    """
    accepted = inspect.signature(kind.__init__).parameters
    anything = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in accepted.values())
    known = {name: value for name, value in saved.hyperparameters.items() if anything or name in accepted}
    given = {**known, **(arguments or {})}
    try:
        module = kind(**given)
        if callable(configure := getattr(module, "configure_model", None)):
            configure()
    except Exception as error:  # any user's constructor may raise anything
        raise ArtifactError(
            f"Expected {kind.__name__} to be built from {sorted(given) or 'no arguments'} but got "
            f"{type(error).__name__}: {error}; give the missing ones with --init, as JSON."
        ) from error
    return module


def export_from(
    saved: Saved,
    module: nn.Module,
    recipe: Recipe,
    folder: str | Path,
    *,
    card: Card | None = None,
    options: ExportOptions | None = None,
) -> InvariantEncoder:
    """Export a module with the checkpoint's weights.

    Args:
        saved: The checkpoint.
        module: Of its class; it gets the checkpoint's weights.
        recipe: How latents are reached.
        folder: Empty, new, or an earlier export.
        card: What stands on the card.
        options: Of the export.

    Raises:
        ArtifactError: The checkpoint is not one of this module, or the folder cannot be written.
        LatentError: The latents do not fit the representation.
        LayerError: The layer does not exist or is not reached.
        GraphError: The network cannot be written as a class-free graph.
    """
    from lightning_invariant.artifact.card import Card
    from lightning_invariant.encoder.export import ExportOptions, Measurements, export_encoder

    put_state(module, saved.state)
    for part in module.modules():
        part.training = False
    with torch.no_grad():
        escnn_modules.settle(module)
    weights = f"a checkpoint, epoch {saved.epoch}, step {saved.step}"
    notes = recipe.notes
    with torch.no_grad():
        path = _path(module, recipe)
    return export_encoder(
        folder,
        path,
        recipe.projection,
        recipe.example,
        measured=Measurements(
            numbers=notes.get("numbers") or {},
            targets=notes.get("targets"),
            samples=notes.get("samples") or {},
            seed=int(notes.get("seed", 0)),
        ),
        card=replace(card or Card(), training={"network": type(module).__name__, "weights": weights}),
        options=replace(options or ExportOptions(), mask=1 if len(recipe.example) > 1 else None),
    )


def _path(module: nn.Module, recipe: Recipe) -> LatentPath:
    """Inputs to latents, by the call that was noted; else by the whole network, or the layer alone."""
    layer = find_layer(module, recipe.layer)
    representation, around = recipe.projection.representation, None
    if (group := recipe.notes.get("orbit")) is not None:
        around = OrbitLayer(recipe.layer, group)
        representation = Representation.parse(f"{group}: {representation.size // around.group.order} trivial")
    symmetry = Symmetry(recipe.layer, representation, whole=around is None)
    reader = LatentReader(recipe.layer, symmetry, recipe.pick, recipe.pool)
    noted = recipe.notes.get("frame")
    own = next(name for name, part in module.named_modules() if part is layer)
    x, *mask = recipe.example
    failures = []
    for name in ["", own] if noted is None else [noted]:
        root = module.get_submodule(name)
        inside = next(inner for inner, part in root.named_modules() if part is layer)
        arguments = bound(root, (x,), {})
        orbit = None if around is None else Orbit.of(around, None, arguments, None)
        frame = Frame("module", name, reader, Settings({}, ()), path=inside, orbit=orbit)
        names = (*leaves(arguments), *([SET_MASK] if mask else []))
        path = LatentPath(root, frame, arguments, names, {})
        try:
            path(*recipe.example)
        except LatentError:
            raise
        except Exception as error:  # any user's forward may raise anything
            failures.append(f"{frame}: {type(error).__name__}: {error}")
        else:
            return path
    raise InvariantError(
        f"Expected inputs {tuple(x.shape)} to reach layer {recipe.layer!r} but {'; '.join(failures)}; "
        "say their shape with --input, or give some with --example."
    )
