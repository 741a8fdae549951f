"""Makes any encoder equivariant: its latents of the input under every element of a group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lightning_invariant.groups import FiniteGroup, Representation, parse_group
from lightning_invariant.groups.actions import ImageAction, InputAction
from lightning_invariant.groups.finite_blocks import Regular

if TYPE_CHECKING:
    from jaxtyping import Float

MOST = 64
"""Largest group: each element is one more forward."""


class OrbitLayer(nn.Module):
    """Encode an input under all elements of a group: z[d, h] = encoder(h^-1 x)[d].

    Transforming the input by g permutes these latents as regular fields, z[d, g^-1 h], whatever the encoder is. So an
    ordinary encoder of 64 numbers, trained with augmentation or not, gives latents of the representation
    "C8: 64 regular", and every projection for those applies to it. It costs as many forwards as the group has elements.

    Use it in a network, or leave the network as it is and give the callback `layer=OrbitLayer("encoder", "C8")`: then
    the recorded call is made again for each element, on the private copy, and the exported encoder does the same.

    Args:
        encoder: A module from inputs (B, ...) to latents (B, ...), which are flattened; or for the callback the name of
            a layer.
        group: A finite group of at most 64 elements, such as "C8" or "D4(axis=90)".
        action: How the group transforms the first input of the module; images (B, C, H, W) if None. The callback takes
            its own `action=`.

    Raises:
        ValueError: A group that is not finite or too large, or that does not act on images where no action is given.

    Note:
        Exactly equivariant where the group transforms inputs exactly (quarter turns and flips of images, shifts);
        otherwise up to interpolation, which `round_trip` of the action measures, and the callback logs as
        `action_error`.

    References:
        Puny et al. 2022, Frame averaging (2110.03336), with the whole group as frame and nothing averaged yet.

    Example:
        >>> layer = OrbitLayer(nn.Sequential(nn.Flatten(), nn.Linear(64, 5)), "C4")
        >>> x = torch.randn(2, 1, 8, 8)
        >>> z, turned = layer(x), layer(torch.rot90(x, 1, (-2, -1)))
        >>> str(layer.representation(5)), torch.allclose(turned, z.roll(1, -1), atol=1e-6)
        ('C4: 5 regular', True)
    """

    def __init__(self, encoder: nn.Module | str, group: FiniteGroup | str, action: InputAction | None = None) -> None:
        super().__init__()
        acting = parse_group(group) if isinstance(group, str) else group
        if not isinstance(acting, FiniteGroup) or acting.order > MOST:
            raise ValueError(
                f"Expected a finite group of at most {MOST} elements, such as 'C8', but got {acting}, since each "
                "element is one more forward."
            )
        self.name = encoder if isinstance(encoder, str) else None
        self.encoder = nn.Identity() if isinstance(encoder, str) else encoder
        self.group, self.action = acting, action
        if self.name is None:
            self.action = ImageAction(acting) if action is None else action
            inverses = acting.inverse(acting.elements())
            self._transforms = [self.action.by(g) for g in inverses]

    def representation(self, size: int) -> Representation:
        """Return how the group acts on the latents of an encoder of so many numbers."""
        return Representation(self.group, (Regular(self.group, size),))

    def forward(self, x: Float[Tensor, "B *shape"], *others: Any, **named: Any) -> Float[Tensor, "B D G"]:
        """Return latents of the representation "GROUP: D regular".

        Args:
            x: What the group transforms.
            *others: What else the encoder takes; tensors with one entry a sample are repeated for each element.
            **named: Likewise.
        """
        if self.name is not None:
            raise TypeError(
                f"Expected a module to call but this OrbitLayer names the layer {self.name!r} for the callback; "
                "give the module itself, OrbitLayer(encoder, group)."
            )
        count, order = x.shape[0], self.group.order  # len would fix the batch in a traced graph
        copies = torch.cat([transform(x) for transform in self._transforms])

        def repeated(value: Any) -> Any:
            per_sample = isinstance(value, Tensor) and value.dim() > 0 and value.shape[0] == count
            return torch.cat([value] * order) if per_sample else value

        found = self.encoder(copies, *map(repeated, others), **{key: repeated(v) for key, v in named.items()})
        return found.flatten(1).unflatten(0, (order, -1)).permute(1, 2, 0)

    def extra_repr(self) -> str:
        """Return the group, and the layer's name if there is no module."""
        return f"'{self.group}'" if self.name is None else f"{self.name!r}, '{self.group}'"
