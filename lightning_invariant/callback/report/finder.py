"""The action of a group on latents, found from them where the user says no more than the group."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from lightning_invariant.callback.support.gather import shared
from lightning_invariant.errors import InvariantError
from lightning_invariant.evaluation import FoundRepresentation, find_representation, generators
from lightning_invariant.evaluation.find import INTERPOLATED
from lightning_invariant.metrics import equivariance_error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from lightning_invariant.callback.arguments import Arguments
    from lightning_invariant.callback.capture.private_copy import PrivateCopy
    from lightning_invariant.callback.report.assemble import Assembler
    from lightning_invariant.evaluation import Latents
    from lightning_invariant.groups.actions import MemberAction

WORSE, ROUNDING = 1.5, 1e-4
"""An action that was found before is kept while its error is at most this many times as large, or as small as that."""


class Finder:
    """Finder of the action on the latents of one report, which puts latents into its basis.

    Args:
        given: What the user says; it gets what was found.
        assembler: Encodes transformed inputs.
        seed: Seed of every random choice.
    """

    def __init__(self, given: Arguments, assembler: Assembler, seed: int) -> None:
        self.given, self.assembler, self.seed = given, assembler, seed

    def holds(self, latents: Latents) -> bool:
        """Return whether what was found before, if anything, holds for the weights of this moment."""
        estimate = self.given.symmetry.estimate
        if estimate is None or estimate.representation is None or latents.transformed is None:
            return False
        if len(estimate.basis) != latents.bank.shape[1] or latents.elements is None:
            return False
        still, moved = (estimate.to_standard(z) for z in (latents.still, latents.transformed))
        error = equivariance_error(moved, still, estimate.representation, latents.elements)
        return error <= max(WORSE * estimate.errors.found, ROUNDING)

    def find(self, loader: int, action: MemberAction | None, copied: PrivateCopy | None) -> str:
        """Find the action anew; a collective call.

        The queries' inputs, transformed by random elements, are transformed by each generator after that.

        Args:
            loader: Whose kept inputs are encoded.
            action: How the group transforms arguments; None if that is not known.
            copied: Other weights than those of the validation.

        Returns:
            Why nothing was found; "" if something was.
        """
        group = self.given.symmetry.group
        if action is None:
            return f"No action of {group} can be found, since inputs cannot be transformed."
        base = self.assembler.assemble(loader, action, "", copied=copied).latents
        steps = {
            g: self.assembler.assemble(loader, action, "", copied=copied, after=g).latents for g in generators(group)
        }
        is_exact = base is None or base.elements is None or bool(action.is_exact(base.elements).all())
        found = shared(None if base is None else self._found(base, steps, is_exact))
        if isinstance(found, str):
            return found
        self.given.settle(found)
        return "" if found.representation is not None else f"N{str(found)[1:]}."

    def in_basis(self, latents: Latents) -> Latents:
        """Return the same latents in the basis in which the representation acts."""
        estimate = self.given.symmetry.estimate
        assert estimate is not None
        names = ("bank", "transformed", "untransformed")
        known = {name: value for name in names if (value := getattr(latents, name)) is not None}
        return replace(latents, **{name: estimate.to_standard(z) for name, z in known.items()})

    def _found(
        self, base: Latents, steps: Mapping[Tensor, Latents | None], is_exact: bool
    ) -> FoundRepresentation | str:
        group = self.given.symmetry.group
        if base.transformed is None or base.elements is None:
            return "No action can be found, since there are no latents of transformed inputs."
        pairs = [(base.still, base.transformed, base.elements)]
        for g, made in steps.items():
            if made is not None and made.transformed is not None:
                pairs.append((base.transformed, made.transformed, g.expand(len(made.transformed), *g.shape)))
        z, w, g = (torch.cat(column) for column in zip(*pairs, strict=True))
        finite = z.isfinite().all(dim=1) & w.isfinite().all(dim=1)
        try:
            return find_representation(
                z[finite], w[finite], group, g[finite], tolerance=None if is_exact else INTERPOLATED, seed=self.seed
            )
        except InvariantError as error:
            return str(error)
