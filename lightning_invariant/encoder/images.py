"""Images of files and of Pillow, as raw tensors in the channels that an encoder takes."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lightning_invariant.errors import ArtifactError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lightning_invariant.encoder.encoder import InvariantEncoder

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
"""What files may hold, whatever their names end in: other formats of Pillow start other programs."""
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


class Images(Dataset[tuple[Tensor, str]]):
    """Images, paths or those of Pillow, in the channels that an encoder takes.

    The encoder says which size they get where its preprocessing sets none; `folder` is what names are relative to.
    """

    def __init__(self, images: Sequence[Any], encoder: InvariantEncoder, folder: Path | None = None) -> None:
        try:
            import PIL.Image  # noqa: F401
        except ImportError as error:
            raise ArtifactError('Images need Pillow: pip install "lightning-invariant[figures]".') from error
        inputs = encoder.config["inputs"]
        shape = inputs[0]["shape"]
        if len(inputs) != 1 or len(shape) != 4 or shape[1] not in _MODES:
            raise ArtifactError(f"Expected an encoder of images but this one takes {inputs}; give tensors.")
        if encoder.preprocessing is None:
            raise ArtifactError(
                "Expected an encoder with recorded preprocessing but this one was exported without; give tensors that "
                "were prepared as in its training, or export it with ExportOptions(preprocessing=...)."
            )
        self.mode = _MODES[shape[1]]
        fixed = [size for size in shape[2:] if isinstance(size, int)]
        # All images of a batch must have one size, and the network's own is the only one that is known.
        self.size = encoder.preprocessing.size or (tuple(fixed) if len(fixed) == 2 else None)
        self.images, self.folder = list(images), folder

    def part(self, start: int, end: int) -> Images:
        """Some of them."""
        part = copy.copy(self)
        part.images = self.images[start:end]
        return part

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, str]:
        image = self.images[index]
        name = "" if not isinstance(image, Path) else str(image.relative_to(self.folder) if self.folder else image)
        x = _open(image, self.mode) if isinstance(image, Path) else pixels(image, self.mode)
        if self.size is not None and tuple(x.shape[1:]) != self.size:
            x = torch.nn.functional.interpolate(x[None], self.size, mode="bilinear", antialias=True)[0]
        return x, name


def image_paths(folder: Path) -> list[Path]:
    """Return the images of a folder and its subfolders by name."""
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in ENDINGS and p.is_file())
    if not paths:
        raise ArtifactError(f"Expected images ({', '.join(ENDINGS)}) in {folder} but found none.")
    return paths


def collate(items: list[tuple[Tensor, str]]) -> tuple[Tensor, list[str] | None]:
    """Join images of one size to a batch, with the names of their files where they come from files."""
    if len({tuple(x.shape) for x, _ in items}) > 1:
        raise ArtifactError("Expected images of one size, since this encoder fixes none; use batch_size=1.")
    names = [name for _, name in items]
    return torch.stack([x for x, _ in items]), names if any(names) else None


def pixels(image: Any, mode: str) -> Tensor:
    """Return the pixels of an image of Pillow as floats from 0 to 255, shape (C, H, W).

    Images are turned as their EXIF orientation says, transparent pixels become white unless the network takes an alpha
    channel (mode "RGBA", not "L" or "RGB"), and 16 bits a channel keep their range.
    """
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        values = torch.frombuffer(bytearray(image.convert("I").tobytes()), dtype=torch.int32)
        grey = values.reshape(1, image.height, image.width).float().clamp(0, 65535) / 257
        if mode != "L":
            grey = grey.expand(3, -1, -1)
        return torch.cat([grey, torch.full_like(grey[:1], 255.0)]) if mode == "RGBA" else grey.contiguous()
    if image.mode in ("I", "F"):
        raise ArtifactError(
            f"Expected images of 8 or 16 bits a channel but got Pillow's mode {image.mode!r}; give tensors that were "
            "scaled as in the encoder's training."
        )
    if mode != "RGBA" and (image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    converted = image.convert(mode)
    values = torch.frombuffer(bytearray(converted.tobytes()), dtype=torch.uint8)
    return values.reshape(converted.height, converted.width, -1).permute(2, 0, 1).float()


def _open(path: Path, mode: str) -> Tensor:
    from PIL import Image

    try:
        with Image.open(path, formats=FORMATS) as image:
            return pixels(image, mode)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ArtifactError(
            f"Expected an image ({', '.join(FORMATS)}) but {path} cannot be read: {str(error)[:200]}."
        ) from error
