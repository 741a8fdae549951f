"""An encoder out of a Lightning checkpoint, when the training is over."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch

from lightning_invariant.callback.checkpoints import Saved, wearing
from lightning_invariant.callback.content import Content
from lightning_invariant.callback.encode import undisturbed
from lightning_invariant.callback.path import LatentPath
from lightning_invariant.callback.source import Source
from lightning_invariant.errors import ArtifactError, InvariantError, LatentError
from lightning_invariant.projections import Projection

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor, nn

    from lightning_invariant.callback.source import Route
    from lightning_invariant.hub import InvariantEncoder

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
    """What the callback left in a checkpoint; empty if it was not there.

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
    """Inputs like those that the callback saw: random ones of that shape and dtype."""
    if "input" not in notes:
        return None
    shape, dtype = (2, *notes["input"]["shape"]), getattr(torch, notes["input"]["dtype"])
    if not dtype.is_floating_point:
        return torch.zeros(shape, dtype=dtype)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)


def build_module(kind: type[nn.Module], saved: Saved, arguments: Mapping[str, Any] | None = None) -> nn.Module:
    """The user's module with the checkpoint's hyperparameters, before it has the checkpoint's weights.

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
    saved: Saved, module: nn.Module, recipe: Recipe, folder: str | Path, *, name: str | None = None, **settings: Any
) -> InvariantEncoder:
    """Export the module with the checkpoint's weights.

    Args:
        saved: The checkpoint.
        module: Of its class; it gets its own weights back.
        recipe: How latents are reached.
        folder: Empty, new, or an earlier export.
        name: Of the model on its card.
        **settings: More for `export_encoder`.

    Raises:
        ArtifactError: The checkpoint is not one of this module, or the folder cannot be written.
        LatentError: The latents do not fit the representation.
        LayerError: The layer does not exist or is not reached.
        GraphError: The network cannot be written as a class-free graph.
    """
    from lightning_invariant.hub import export_encoder

    content = Content(None, None, None, whole=False, say=lambda key, text: None)
    source = Source(recipe.layer, recipe.projection.representation, content, recipe.pick, recipe.pool, ragged=False)
    notes = recipe.notes
    weights = f"a checkpoint, epoch {saved.epoch}, step {saved.step}"
    with undisturbed(module), wearing(module, saved.state):
        source.attach(module)
        try:
            path = LatentPath(module, source.tap, _route(module, source, recipe), source.rows)
            return export_encoder(
                folder,
                path,
                recipe.projection,
                recipe.example,
                mask=1 if len(recipe.example) > 1 else None,
                numbers=notes.get("numbers"),
                targets=notes.get("targets"),
                samples=notes.get("samples"),
                seed=int(notes.get("seed", 0)),
                name=name,
                training={"network": type(module).__name__, "weights": weights},
                **settings,
            )
        finally:
            source.tap.detach()


def _route(module: nn.Module, source: Source, recipe: Recipe) -> Route:
    """The whole network if its forward reaches the layer with latents that fit, else the layer alone."""
    failures = []
    for route in [noted] if (noted := recipe.notes.get("route")) else source.routes:
        try:
            LatentPath(module, source.tap, cast("Route", route), source.rows)(*recipe.example)
        except LatentError:
            raise
        except Exception as error:  # any user's forward may raise anything
            failures.append(f"{route}: {type(error).__name__}: {error}")
        else:
            return cast("Route", route)
    raise InvariantError(
        f"Expected inputs {tuple(recipe.example[0].shape)} to reach layer {recipe.layer!r} but {'; '.join(failures)}; "
        "say their shape with --input, or give some with --example."
    )
