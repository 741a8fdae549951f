"""The base of every projection: an nn.Module from latents to invariant features, with a guarantee."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn

from lightning_invariant.errors import InvariantError
from lightning_invariant.groups import Representation

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.guarantee import Guarantee


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """A context without autocast on a device; none at all where autocast is off, so that graphs stay plain.

    Products in half precision would break the invariance by a percent.
    """
    if torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


class Projection(nn.Module, ABC):
    """A map P with P(rho(g) z) = P(z) for every g, applied to the JOINT latent: one g for all channels.

    Subclasses set `out_features` and `guarantee`, implement `project`, and list their own constructor arguments in
    `settings`. Random templates come from a recorded seed and are buffers. The registry finds a class by its name,
    so a saved projection is rebuilt from JSON and its state; classes outside of this package enter it by
    `class Mine(Projection, register=True)`, and whoever loads them has to import them first.

    Args:
        representation: How the group acts on the latents, as a value or a string such as "C8: 16 regular".
    """

    registry: ClassVar[dict[str, type[Projection]]] = {}
    out_features: int
    guarantee: Guarantee
    merges: str = ""
    """What a lossy map merges of latents in general position, where that is all it merges of them."""
    tells_apart: str = ""
    """Which of those things this map tells apart, so that both together are generic (see `Joined`)."""
    reason: str = ""
    """Why `choose` took this projection, a sentence; empty where it did not."""

    def __init_subclass__(cls, register: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        ours = not cls.__name__.startswith("_") and cls.__module__.startswith("lightning_invariant.")
        if register and (known := Projection.registry.get(cls.__name__)) and known.__module__ != cls.__module__:
            raise TypeError(f"Expected a new name for a projection but {cls.__name__} is one of {known.__module__}.")
        if ours or register:
            Projection.registry[cls.__name__] = cls

    def __init__(self, representation: Representation | str) -> None:
        super().__init__()
        self.representation = Representation.parse(representation)

    def forward(self, z: Float[Tensor, "B *shape"]) -> Float[Tensor, "B K"]:
        """Invariant features.

        Args:
            z: Latents in any layout that fits the representation.

        Returns:
            Features of shape (B, out_features), dtype and device of z.

        Raises:
            LatentError: The shape does not fit.
        """
        flat = self.representation.flatten(z)
        if torch.is_autocast_enabled(flat.device.type):
            # Products in half precision would break the invariance by a percent.
            with torch.autocast(flat.device.type, enabled=False):
                return self.project(flat)
        return self.project(flat)

    def single(self, z: Float[Tensor, "B *shape"], *beside: Tensor) -> Float[Tensor, "B K"]:
        """Features of one latent an input, also where a projection takes those of several transforms of each.

        Args:
            z: Latents in any layout that fits the representation.
            beside: What else the projection takes, such as a mask.
        """
        return self(z, *beside)

    @abstractmethod
    def project(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B K"]:
        """Features of flat latents."""

    @property
    def settings(self) -> dict[str, Any]:
        """Constructor arguments beside the representation, JSON-able."""
        return {}

    def config(self) -> dict[str, Any]:
        """JSON-able description from which `from_config` builds an equal projection."""
        return {"name": type(self).__name__, "representation": str(self.representation), **self.settings}

    @staticmethod
    def from_config(config: Mapping[str, Any]) -> Projection:
        """Build a projection from what `config` gave; load its state afterwards for bit-equal templates.

        Raises:
            InvariantError: The name is unknown or the settings do not fit.
        """
        settings = dict(config)
        name = settings.pop("name", None)
        if name not in Projection.registry:
            raise InvariantError(
                f"Expected a projection among {sorted(Projection.registry)} but got {name!r}; import the module of "
                "one of another package first."
            )
        try:
            return Projection.registry[name](**settings)
        except (TypeError, ValueError) as error:
            raise InvariantError(f"Expected settings of {name} but got {settings}: {error}") from error

    def extra_repr(self) -> str:
        """Representation, sizes and guarantee."""
        settings = "".join(f", {key}={value}" for key, value in self.settings.items())
        return f"'{self.representation}', {self.representation.size} -> {self.out_features}{settings}, {self.guarantee}"
