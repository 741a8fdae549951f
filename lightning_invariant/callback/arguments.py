"""What the callback's arguments have to be, said before a training has begun."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning_invariant.groups import Representation, Sampled
from lightning_invariant.probes import PROBES
from lightning_invariant.tracking.umap_layout import require_umap

if TYPE_CHECKING:
    from collections.abc import Sequence


def require_monitorable(representation: Representation) -> None:
    """See that the group acts on single latents.

    Raises:
        ValueError: It is known by samples of the input only.
    """
    if isinstance(representation.group, Sampled):
        raise ValueError(
            f"Expected a group that acts on single latents but got {representation.group}, which is known by samples "
            "of the input only; name the symmetry that the augmentation approximates, such as 'C4: 64 trivial'."
        )


def require_known(probes: Sequence[str]) -> None:
    """See that every probe has a name that is known.

    Raises:
        ValueError: One has not, or a text was given for the list.
    """
    wrong = [name for name in ([probes] if isinstance(probes, str) else probes) if name not in PROBES]
    if wrong or isinstance(probes, str):
        raise ValueError(f"Expected a list of probes among {', '.join(PROBES)} but got {wrong or probes!r}.")


def require_drawable(scatter: str) -> None:
    """See that the picture can be drawn.

    Raises:
        ValueError: There is no such way.
        InvariantError: It takes a package that is not installed.
    """
    if scatter not in ("pca", "umap"):
        raise ValueError(f"Expected scatter 'pca' or 'umap' but got {scatter!r}.")
    if scatter == "umap":
        require_umap()


def require_positive(**numbers: int) -> None:
    """See that numbers are at least 1.

    Raises:
        ValueError: One is not; the message says which.
    """
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"Expected {name} of at least 1 but got {number}.")
