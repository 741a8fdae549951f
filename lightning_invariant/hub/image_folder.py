"""The images of a folder, as raw tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lightning_invariant.errors import ArtifactError

if TYPE_CHECKING:
    from pathlib import Path

    from lightning_invariant.hub.encoder import InvariantEncoder

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


class ImageFolder(Dataset[tuple[Tensor, str]]):
    """Images of a folder and its subfolders by name, in the channels that an encoder takes.

    Args:
        folder: Where to look.
        encoder: Says how many channels, and which size where its preprocessing sets none.

    Raises:
        ArtifactError: No images there, the encoder takes none, or Pillow is not installed.
    """

    def __init__(self, folder: Path, encoder: InvariantEncoder) -> None:
        try:
            import PIL.Image  # noqa: F401
        except ImportError as error:
            raise ArtifactError('Image folders need Pillow: pip install "lightning-invariant[figures]".') from error
        inputs = encoder.config["inputs"]
        shape = inputs[0]["shape"]
        if len(inputs) != 1 or len(shape) != 4 or shape[1] not in _MODES:
            raise ArtifactError(f"Expected an encoder of images but this one takes {inputs}; give tensors.")
        if encoder.preprocessing is None:
            raise ArtifactError(
                "Expected an encoder with recorded preprocessing but this one was exported without; give tensors that "
                "were prepared as in its training, or export it with preprocessing=."
            )
        self.mode = _MODES[shape[1]]
        fixed = [size for size in shape[2:] if isinstance(size, int)]
        # All images of a batch must have one size, and the network's own is the only one that is known.
        self.size = encoder.preprocessing.size or (tuple(fixed) if len(fixed) == 2 else None)
        self.folder = folder
        self.paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in ENDINGS and p.is_file())
        if not self.paths:
            raise ArtifactError(f"Expected images ({', '.join(ENDINGS)}) in {folder} but found none.")

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, str]:
        from PIL import Image, UnidentifiedImageError

        path = self.paths[index]
        try:
            with Image.open(path) as image:
                converted = image.convert(self.mode)
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
            raise ArtifactError(f"Expected an image but {path} cannot be read: {error}.") from error
        values = torch.frombuffer(bytearray(converted.tobytes()), dtype=torch.uint8)
        x = values.reshape(converted.height, converted.width, -1).permute(2, 0, 1)
        if self.size is not None and tuple(x.shape[1:]) != self.size:
            x = torch.nn.functional.interpolate(x[None].float(), self.size, mode="bilinear", antialias=True)[0]
        return x.float(), str(path.relative_to(self.folder))


def collate(items: list[tuple[Tensor, str]]) -> tuple[Tensor, list[str]]:
    """Images of one size as a batch.

    Raises:
        ArtifactError: Images of different sizes.
    """
    if len({tuple(x.shape) for x, _ in items}) > 1:
        raise ArtifactError("Expected images of one size, since this encoder fixes none; use batch_size=1.")
    return torch.stack([x for x, _ in items]), [name for _, name in items]
