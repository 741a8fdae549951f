"""Rotations and reflections of images, volumes and videos: what acts on the positions of pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import torch
from torch.nn import functional as F

from lightning_invariant.groups.actions.action import InputAction
from lightning_invariant.groups.actions.coordinates import coordinate_matrices, space_dimension

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Num
    from torch import Tensor

TOLERANCE = 1e-6
"""Largest deviation of a matrix entry from 0, 1 or -1 that still counts as a quarter turn or flip."""


@dataclass(frozen=True)
class ImageAction(InputAction):
    """C_n, D_n, SO(2), O(2) or 2 x 2 matrices on two axes of an array: images, the frames of a video, slices.

    A pixel at (x right, y up) from the centre goes to rho(g)(x, y): rotations are counter-clockwise, as torch.rot90
    over (-2, -1). Quarter turns and flips permute pixels exactly; other elements interpolate bilinearly, and booleans
    and whole numbers that are classes, not intensities, take the nearest pixel.

    Args:
        group: What acts.
        padding: What comes in at the border of interpolated images: zeros, or the nearest pixel.
        axes: Which axes are rows (downwards) and columns (to the right); the last two by default.
        flat: Whether inputs (B, D) are square images row by row, of one channel or else of three.

    Raises:
        ValueError: The group does not act on the plane, or two axes are one.

    Example:
        >>> from lightning_invariant.groups import Cyclic
        >>> x = torch.arange(4.0).reshape(1, 2, 2)
        >>> ImageAction(Cyclic(4)).transform(x, torch.tensor(1)).tolist()
        [[[1.0, 3.0], [0.0, 2.0]]]
    """

    padding: Literal["zeros", "border"] = "zeros"
    axes: tuple[int, ...] = (-2, -1)
    flat: bool = False

    def __post_init__(self) -> None:
        d = len(self.axes)
        if space_dimension(self.group) != self._group_d:
            kinds = {2: "the plane (Cn, Dn, SO2, O2)", 3: "space (SO3, O3, Cube, FullCube)"}[self._group_d]
            raise ValueError(f"Expected a group that acts on {kinds} but got {self.group}.")
        if self.padding not in ("zeros", "border"):
            raise ValueError(f"Expected padding 'zeros' or 'border' but got {self.padding!r}.")
        if d != self._d or len(set(self.axes)) != d:
            raise ValueError(f"Expected {self._d} different axes but got {self.axes}.")

    @property
    def _d(self) -> int:
        return 2

    @property
    def _group_d(self) -> int:
        return 2

    def _matrices(self, g: Tensor) -> Tensor:
        return coordinate_matrices(self.group, g)

    def transform(self, x: Num[Tensor, "B *shape"], g: Tensor) -> Num[Tensor, "B *shape"]:
        """Act on arrays.

        Raises:
            ValueError: Too few axes, or a quarter turn that would change the shape.
        """
        if self.flat:
            return replace(self, flat=False).transform(x.unflatten(1, self.unflattened(x)), g).flatten(1)
        axes = self._places(x)
        rho = self._matrices(self._each(g, len(x)))
        exact = _is_signed_permutation(rho)
        out = torch.empty_like(x)
        rounded = rho.round().long()
        for matrix in torch.unique(rounded[exact], dim=0) if exact.any() else rounded[:0]:
            rows = (exact & (rounded == matrix).all(dim=(1, 2))).nonzero()[:, 0].to(x.device)
            out[rows] = _permute(x[rows], matrix.tolist(), axes)
        if not exact.all():
            rows = (~exact).nonzero()[:, 0]
            here = rows.to(x.device)
            out[here] = self._interpolated(x[here], rho[rows], axes)
        return out

    def _places(self, x: Tensor) -> list[int]:
        """The axes, counted from the first."""
        axes = [axis % x.dim() if -x.dim() <= axis < x.dim() else 0 for axis in self.axes]
        if x.dim() <= self._d or 0 in axes or len(set(axes)) < self._d:
            raise ValueError(
                f"Expected samples first and {self._d} more axes, {self.axes}, but got shape {tuple(x.shape)}."
            )
        return axes

    def _interpolated(self, x: Tensor, rho: Tensor, axes: list[int]) -> Tensor:
        last = tuple(range(-self._d, 0))
        return self._interpolate(x.movedim(axes, last), rho).movedim(last, axes)

    def unflattened(self, x: Tensor) -> tuple[int, int, int]:
        """Channels, height and width of flat images.

        Raises:
            ValueError: They are no square images of one or three channels.
        """
        for channels in (1, 3):
            side = math.isqrt(x.shape[-1] // channels)
            if x.dim() == 2 and channels * side**2 == x.shape[-1] and side > 1:
                return channels, side, side
        raise ValueError(f"Expected flat square images of one or three channels but got shape {tuple(x.shape)}.")

    def by(self, g: Tensor) -> Callable[[Tensor], Tensor]:
        """The transform by one element; what it does with pixels is known before an image comes."""
        rho = self._matrices(g[None])
        exact, entries = bool(_is_signed_permutation(rho)), rho[0].tolist()
        signs = rho[0].round().long().tolist()

        def transform(x: Tensor) -> Tensor:
            if self.flat:
                return replace(self, flat=False).by(g)(x.unflatten(1, self.unflattened(x))).flatten(1)
            if exact:
                return _permute(x, signs, self._places(x))
            return self._interpolated(x, torch.tensor([entries], dtype=torch.float64, device=x.device), self._places(x))

        return transform

    def is_exact(self, g: Tensor) -> Tensor:
        """True for quarter turns and flips."""
        return _is_signed_permutation(self._matrices(g))

    def _interpolate(self, x: Tensor, rho: Tensor) -> Tensor:
        if x.is_complex():
            return torch.complex(self._interpolate(x.real, rho), self._interpolate(x.imag, rho))
        sides = x.shape[-self._d :]
        smooth = x.is_floating_point() or x.dtype == torch.uint8
        arrays = x.reshape(x.shape[0], -1, *sides)
        half = x.dtype in (torch.float16, torch.bfloat16)
        arrays = arrays.to(torch.float32 if half else x.dtype if x.is_floating_point() else torch.float64)
        # Rows count downwards and grid coordinates are scaled by half the sides, so rho^-1 is conjugated by them.
        scale = torch.tensor([sides[-1], -sides[-2], *sides[:-2]], dtype=rho.dtype, device=rho.device)
        theta = rho.mT * scale / scale[:, None]
        theta = torch.cat([theta, theta.new_zeros(len(theta), self._d, 1)], dim=2).to(arrays).expand(x.shape[0], -1, -1)
        grid = F.affine_grid(theta, list(arrays.shape), align_corners=False)
        mode = "bilinear" if smooth else "nearest"
        moved = F.grid_sample(arrays, grid, mode=mode, padding_mode=self.padding, align_corners=False)
        if not x.is_floating_point():
            moved = moved.round()
        return moved.reshape(x.shape).to(x.dtype)


@dataclass(frozen=True)
class VolumeAction(ImageAction):
    """SO(3), O(3), the rotations and reflections of the cube or other 3 x 3 matrices on volumes (B, ..., D, H, W).

    The isometries of the cube permute voxels exactly; other elements interpolate trilinearly.

    Args:
        group: What acts.
        padding: As for images.
        axes: Which axes are D, H and W; the last three by default.
        coordinates: Along which axes x, y and z point, "-" against them. With the default, -H, -D and W, the irreps
            of escnn's volumes are those of the notation, "SO3: 4x1 + 2x2". For groups of matrices on (x, y, z) only.
        about: For groups of the plane, the axis that stays: "depth", "height" or "width". About depth every slice is
            turned as an image, counter-clockwise.

    Raises:
        ValueError: The group does not act on space, nor on a plane about a given axis, or two axes are one.

    Example:
        >>> from lightning_invariant.groups import SO3
        >>> VolumeAction(SO3()).transform(torch.zeros(2, 1, 8, 8, 8), SO3().sample(2)).shape
        torch.Size([2, 1, 8, 8, 8])
    """

    axes: tuple[int, ...] = (-3, -2, -1)
    coordinates: tuple[str, ...] = ("-H", "-D", "W")
    about: Literal["depth", "height", "width"] | None = None

    def __post_init__(self) -> None:
        if self.about not in (None, *_PLANES):
            raise ValueError(f"Expected depth, height or width to turn about but got {self.about!r}.")
        if sorted(name.removeprefix("-") for name in self.coordinates) != ["D", "H", "W"]:
            raise ValueError(f"Expected x, y and z along D, H and W, each once, but got {self.coordinates}.")
        super().__post_init__()

    @property
    def _d(self) -> int:
        return 3

    @property
    def _group_d(self) -> int:
        return 3 if self.about is None else 2

    def _matrices(self, g: Tensor) -> Tensor:
        rho = coordinate_matrices(self.group, g)
        names = self.coordinates if self.about is None else _PLANES[self.about]
        if self.about is not None:
            flat, rho = rho, torch.eye(3, dtype=rho.dtype, device=rho.device).repeat(*rho.shape[:-2], 1, 1)
            rho[..., :2, :2] = flat
        basis = torch.tensor([_DIRECTIONS[name] for name in names], dtype=rho.dtype, device=rho.device)
        return basis.mT @ rho @ basis


_DIRECTIONS = {"W": (1, 0, 0), "-H": (0, 1, 0), "D": (0, 0, 1)}
"""Unit vectors in the coordinates in which arrays are moved: right along W, up against H, along D."""
_DIRECTIONS |= {"-W": (-1, 0, 0), "H": (0, -1, 0), "-D": (0, 0, -1)}
_PLANES = {"depth": ("W", "-H", "-D"), "height": ("-D", "W", "-H"), "width": ("-H", "-D", "W")}
"""The two directions of the plane that is turned, and the one that stays."""


def _is_signed_permutation(rho: Tensor) -> Tensor:
    return (rho.abs() - rho.abs().round()).abs().amax(dim=(-2, -1)) < TOLERANCE


def _permute(x: Tensor, matrix: list[list[int]], axes: list[int]) -> Tensor:
    """Move pixels by a signed permutation matrix on coordinates along W, against H and along D."""
    coordinates = list(reversed(axes))
    signs = [1, -1, 1]
    order, flipped = list(range(x.dim())), []
    for to, row in enumerate(matrix):
        source = next(j for j, entry in enumerate(row) if entry)
        order[coordinates[to]] = coordinates[source]
        if row[source] * signs[to] * signs[source] < 0:
            flipped.append(coordinates[to])
    moved = x.permute(order)
    if moved.shape != x.shape:
        sides = " x ".join(str(x.shape[axis]) for axis in axes)
        raise ValueError(f"Expected equal sides for a quarter turn but got {sides}; crop or pad them.")
    return moved.flip(flipped) if flipped else moved
