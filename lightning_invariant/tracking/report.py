"""What one evaluation has to say, as one value: made by the callback, shown by `publish`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jaxtyping import Float, Num
    from matplotlib.figure import Figure
    from torch import Tensor

    from lightning_invariant.tracking.labels import Labels


@dataclass(frozen=True)
class Embedding:
    """A sample of points with what is known of each.

    Args:
        points: Shape (N, K).
        labels: N labels, or a mapping of column names to N labels each.
        thumbnails: Images, shape (N, C, H, W) with C 1 or 3.
    """

    points: Float[Tensor, "N K"]
    labels: Labels | None = None
    thumbnails: Num[Tensor, "N C H W"] | None = None


@dataclass(frozen=True)
class Report:
    """One evaluation's numbers, points, figures and sentences.

    Args:
        step: Global step of the training, at least 0.
        scalars: Key to value, dimensionless unless the key says otherwise.
        embeddings: Tag to points, for example "raw" and "invariant".
        figures: Tag to a function without arguments that draws the figure. It is called at most once, and only when
            somebody looks, so a run without figures needs no matplotlib: `partial(scatter_pair, raw, projected,
            labels)`.
        messages: Findings in plain words, Markdown allowed.
        missing: Number that was not measured, to the reason.
        samples: Set of samples, such as "bank", to how many were measured.
    """

    step: int
    scalars: Mapping[str, float] = field(default_factory=dict)
    embeddings: Mapping[str, Embedding] = field(default_factory=dict)
    figures: Mapping[str, Callable[[], Figure]] = field(default_factory=dict)
    messages: tuple[str, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    samples: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Copies: who changes a dictionary afterwards does not change a report that was made from it.
        for name in ("scalars", "embeddings", "figures", "missing", "samples"):
            object.__setattr__(self, name, dict(getattr(self, name)))
        object.__setattr__(self, "messages", tuple(self.messages))
