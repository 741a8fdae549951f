"""What the callback's arguments have to be, said before a training run has begun."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from lightning_invariant.batch import BatchReader
from lightning_invariant.callback.capture.latent import LatentReader
from lightning_invariant.callback.support.masked import default_masked, masked, takes_masks
from lightning_invariant.groups import Representation, Sampled
from lightning_invariant.groups.actions import check_action
from lightning_invariant.probes import KNN, PROBES
from lightning_invariant.projections import Projection, choose
from lightning_invariant.tracking.umap_layout import require_umap

if TYPE_CHECKING:
    from lightning_invariant.callback.capture.frames import LatentFunction
    from lightning_invariant.callback.capture.latent import Pick, Pool


class Arguments:
    """What a user says of the latent: checked, with defaults filled in.

    Args:
        layer: Name or function.
        representation: How the symmetry acts on the latent.
        projection: The invariant map, or None for the best that is known.
        action: How the group transforms inputs.
        pick: Takes the latent out of the layer's output.
        pool: How positions are pooled.
        batch: Reads labels, groups and masks.

    Raises:
        ParseError: The representation cannot be read.
        ValueError: The projection is for another representation, or an argument is of a wrong kind.
        ActionError: `action` is none of the kinds that are known.
    """

    def __init__(
        self,
        layer: LatentFunction | str,
        representation: str | Representation,
        projection: Projection | None,
        action: Any,
        pick: Pick,
        pool: Pool | None,
        batch: BatchReader | None,
    ) -> None:
        self.representation = Representation.parse(representation)
        _require_monitorable(self.representation)
        if not isinstance(layer, str) and not callable(layer):
            raise ValueError(f"Expected the name of a layer, or a function of module and batch, but got {layer!r}.")
        if pool not in (None, "mean", "max"):
            raise ValueError(f"Expected pool 'mean', 'max' or None but got {pool!r}.")
        if batch is not None and not isinstance(batch, BatchReader):
            raise ValueError(f"Expected batch=BatchReader(labels=..., groups=..., mask=...) but got {batch!r}.")
        self.batch = BatchReader() if batch is None else batch
        check_action(action)
        self.action = action
        has_mask = self.batch.mask_at is not None
        default = default_masked if has_mask else choose
        self.projection = default(self.representation) if projection is None else projection
        if self.projection.representation != self.representation:
            raise ValueError(
                f"Expected a projection for '{self.representation}' but got one for "
                f"'{self.projection.representation}'; build it with the callback's representation."
            )
        ragged = has_mask or takes_masks(self.projection)
        self.measured = masked(self.projection) if ragged else self.projection
        self.function: Callable[[Any, Any], Any] | None = None if isinstance(layer, str) else layer
        self.layer_name = layer if isinstance(layer, str) else getattr(layer, "__name__", type(layer).__name__)
        pairs = ragged and not has_mask
        self.reader = LatentReader(self.layer_name, self.representation, pick, pool, ragged=pairs)

    @staticmethod
    def require_settings(
        probes: Sequence[str | KNN],
        sample_size: int,
        bank_size: int,
        every_n_validations: int,
        figures: str | None,
        prefix: str,
    ) -> None:
        """See that what is no part of the latent's description is in range.

        Raises:
            ValueError: A number is below 1, a probe is not known, or figures are not.
            InvariantError: Figures take a package that is not installed.
        """
        numbers = {"sample_size": sample_size, "bank_size": bank_size, "every_n_validations": every_n_validations}
        for name, number in numbers.items():
            if isinstance(number, bool) or not isinstance(number, int) or number < 1:
                raise ValueError(f"Expected {name} of at least 1 but got {number!r}.")
        if sample_size > bank_size:
            raise ValueError(
                f"Expected sample_size of at most bank_size ({bank_size}), since queries are taken from the bank, but "
                f"got {sample_size}."
            )
        given = [probes] if isinstance(probes, str) else probes
        wrong = [probe for probe in given if not isinstance(probe, KNN) and probe not in PROBES]
        if wrong or isinstance(probes, str):
            raise ValueError(f"Expected a list of probes among {', '.join(PROBES)} but got {wrong or probes!r}.")
        if figures not in ("pca", "umap", "quotient", None):
            raise ValueError(f"Expected figures 'pca', 'umap', 'quotient' or None but got {figures!r}.")
        if figures == "umap":
            require_umap()
        if prefix.startswith("/") or ".." in prefix.split("/"):
            raise ValueError(f"Expected a prefix of names, such as 'second_', but got the path {prefix!r}.")


def _require_monitorable(representation: Representation) -> None:
    if isinstance(representation.group, Sampled):
        raise ValueError(
            f"Expected a group that acts on single latents but got {representation.group}, which is known by samples "
            "of the input only; name the symmetry that the augmentation approximates, such as 'C4: 64 trivial'."
        )
