"""From raw pixels to what the network takes: resized, scaled, normalised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from lightning_invariant.artifact.schema import LARGEST, SMALLEST

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Float, Shaped
    from torch import Tensor


@dataclass(frozen=True)
class Preprocessing:
    """x -> (scale * resized(x) - mean) / std, channel by channel, on images (B, C, H, W).

    Args:
        mean: Of each channel after scaling, or one number for all.
        std: Likewise.
        size: Height and width after a bilinear resize with antialiasing; None to leave them.
        scale: What raw values are multiplied with; 1/255 turns bytes into numbers from 0 to 1.

    Raises:
        ValueError: A scale or deviation that is zero or nearly so, or means and deviations of different number.

    Example:
        >>> Preprocessing(mean=(0.5,), std=(0.5,))(torch.tensor([[[[0, 255]]]], dtype=torch.uint8)).tolist()
        [[[[-1.0, 1.0]]]]
    """

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    size: tuple[int, int] | None = None
    scale: float = 1 / 255

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", tuple(map(float, self.mean)))
        object.__setattr__(self, "std", tuple(map(float, self.std)))
        object.__setattr__(self, "size", None if self.size is None else tuple(map(int, self.size)))
        if len(self.mean) != len(self.std) or not self.mean:
            raise ValueError(f"Expected as many means as deviations but got {self.mean} and {self.std}.")
        divided = all(SMALLEST <= abs(v) <= LARGEST for v in (*self.std, self.scale))
        if not divided or not all(abs(v) <= LARGEST for v in self.mean):
            raise ValueError(
                f"Expected a scale and deviations between {SMALLEST:g} and {LARGEST:g} and finite means but got "
                f"{self.scale}, {self.std} and {self.mean}."
            )

    def __call__(self, x: Shaped[Tensor, "B C H W"], dtype: torch.dtype = torch.float32) -> Float[Tensor, "B C h w"]:
        """What the network takes.

        Args:
            x: Raw images of any number type.
            dtype: Of the result.

        Raises:
            ValueError: Not four axes, or another number of channels than means.
        """
        if x.dim() != 4 or len(self.mean) not in (1, x.shape[1]):
            raise ValueError(
                f"Expected raw images (B, C, H, W) with {len(self.mean)} channels but got shape {tuple(x.shape)}; "
                "give preprocess=False for inputs that are ready."
            )
        x = x.to(torch.promote_types(dtype, torch.float32)) * self.scale
        if self.size is not None and tuple(x.shape[2:]) != self.size:
            x = torch.nn.functional.interpolate(
                x, size=list(self.size), mode="bilinear", antialias=True, align_corners=False
            )
        mean, std = (torch.tensor(v, dtype=x.dtype, device=x.device)[:, None, None] for v in (self.mean, self.std))
        return ((x - mean) / std).to(dtype)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        size = None if self.size is None else list(self.size)
        return {"size": size, "scale": self.scale, "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Preprocessing:
        """Back from `to_dict`."""
        return cls(data["mean"], data["std"], data["size"], data["scale"])
