"""Mean and maximum over sampled transforms of the input, for augmentations and groups too large to sum over."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import torch

from lightning_invariant.errors import LatentError
from lightning_invariant.guarantee import Guarantee, Separation
from lightning_invariant.projections.base.homogeneous import direction_and_norm
from lightning_invariant.projections.base.projection import Projection

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.groups import Representation


class _SampledOrbit(Projection):
    """Features of the latents of K sampled transforms of one input; subclasses say how the K are merged.

    Args:
        representation: What the latents are, "Sampled: 64 trivial" or any other; the transforms act on the input.
        samples: How many transforms K the callback draws for each input; any number of latents can be given.

    Raises:
        ValueError: samples is below 1.
    """

    def __init__(self, representation: Representation | str, samples: int = 8) -> None:
        super().__init__(representation)
        if isinstance(samples, bool) or not isinstance(samples, int) or samples < 1:
            raise ValueError(f"Expected at least 1 sampled transform but got {samples!r}.")
        self.samples = samples
        self.out_features = self.representation.size
        self.guarantee = Guarantee(
            group=str(self.representation.group),
            separation=Separation.LOSSY,
            invariance="sampled",
            lipschitz=None,
            source="Monte Carlo estimate over sampled transforms",
            note="Invariant up to residual(z), which falls with the number of sampled transforms. An exported encoder "
            "takes K transformed copies of each input, (B, K, ...); of inputs as they come it gives their latents.",
        )

    @property
    def settings(self) -> dict[str, Any]:
        """How many transforms are drawn."""
        return {"samples": self.samples}

    def single(self, z: Float[Tensor, "B *shape"], *beside: Tensor) -> Float[Tensor, "B D"]:
        """Features of one latent an input: K is 1."""
        return self(self.representation.flatten(z)[:, None])

    def forward(self, z: Float[Tensor, "B K *shape"]) -> Float[Tensor, "B D"]:
        """Features.

        Args:
            z: Latents of K transforms of each of B inputs, in any layout that fits the representation behind K.

        Returns:
            Shape (B, D), dtype and device of z.

        Raises:
            LatentError: The shape does not fit, or K is 0.
        """
        return self.project(self._samples(z, at_least=1))

    def residual(self, z: Float[Tensor, "B K *shape"]) -> Float[Tensor, " B"]:
        """Estimated standard error of the features: how far another draw of K transforms would move them.

        The jackknife, sqrt((K - 1) / K sum_j |f_(j) - mean f_(.)|^2) with f_(j) the features without transform j. For
        a mean it is the usual standard error. Compare it with the distance between different inputs.

        Args:
            z: As for `forward`, with K of at least 2.

        Returns:
            One number an input, in the unit of the latent.

        Raises:
            LatentError: The shape does not fit, or K is below 2.

        References:
            Efron and Stein 1981, equation 1.3.
        """
        samples = self._samples(z, at_least=2)
        work = samples.to(torch.promote_types(z.dtype, torch.float32))
        return direction_and_norm(self._standard_error(work))[1][..., 0].to(z.dtype)

    @abstractmethod
    def _standard_error(self, z: Float[Tensor, "B K D"]) -> Float[Tensor, "B D"]: ...

    def _samples(self, z: Tensor, *, at_least: int) -> Tensor:
        sizes = tuple(z.shape[:2])
        if z.dim() < 2 or sizes[1] < at_least:
            raise LatentError(
                f"Expected latents (B, K, {self.representation.size}) of at least {at_least} sampled transforms K of "
                f"each input but got shape {tuple(z.shape)}; encode several transforms of each input."
            )
        try:
            return self.representation.flatten(z.flatten(0, 1)).reshape(*sizes, self.representation.size)
        except LatentError as error:
            raise LatentError(
                f"Expected latents (B, K, {self.representation.size}), K transforms of each input, but got shape "
                f"{tuple(z.shape)}; {error}"
            ) from error


class SampledMean(_SampledOrbit):
    """Mean of the latents of K sampled transforms of the input.

    Args:
        representation: What the latents are, "Sampled: 64 trivial" or any other; the transforms act on the input.
        samples: How many transforms K the callback draws for each input; any number of latents can be given.

    Raises:
        ValueError: samples is below 1.

    Note:
        Invariant up to sampling: with transforms drawn uniformly from a group its expectation is invariant, and the
        error falls as 1 / sqrt(K). Lossy, as every mean.

    References:
        The law of large numbers; test-time augmentation.

    Example:
        >>> import torch
        >>> P, z = SampledMean("Sampled: 2 trivial"), torch.tensor([[[1.0, 0.0], [3.0, 0.0]]])
        >>> P(z).tolist(), P.residual(z).tolist()
        ([[2.0, 0.0]], [1.0])
    """

    def project(self, z: Float[Tensor, "B K D"]) -> Float[Tensor, "B D"]:
        """The mean over K."""
        return z.to(torch.promote_types(z.dtype, torch.float32)).mean(dim=1).to(z.dtype)

    def _standard_error(self, z: Float[Tensor, "B K D"]) -> Float[Tensor, "B D"]:
        count = z.shape[1]
        spread = direction_and_norm(z - z.mean(dim=1, keepdim=True), dims=(1,))[1][:, 0]
        return spread / (count * (count - 1)) ** 0.5


class SampledMax(_SampledOrbit):
    """Largest value of each number over the latents of K sampled transforms of the input.

    Args:
        representation: What the latents are, "Sampled: 64 trivial" or any other; the transforms act on the input.
        samples: How many transforms K the callback draws for each input; any number of latents can be given.

    Raises:
        ValueError: samples is below 1.

    Note:
        Invariant up to sampling: with transforms drawn from a group its limit for large K is invariant, approached
        from below. Lossy: each number takes its own transform, as channel-wise maxima do.

    References:
        Sampled version of channel-wise orbit pooling.

    Example:
        >>> import torch
        >>> P, z = SampledMax("Sampled: 2 trivial"), torch.tensor([[[1.0, 0.0], [3.0, 0.0]]])
        >>> P(z).tolist(), P.residual(z).tolist()
        ([[3.0, 0.0]], [1.0])
    """

    def project(self, z: Float[Tensor, "B K D"]) -> Float[Tensor, "B D"]:
        """The maximum over K."""
        return z.amax(dim=1)

    def _standard_error(self, z: Float[Tensor, "B K D"]) -> Float[Tensor, "B D"]:
        # Only leaving out the largest changes the maximum: the jackknife is the gap to the second times (K - 1) / K.
        top = z.topk(2, dim=1).values
        return (top[:, 0] - top[:, 1]) * (z.shape[1] - 1) / z.shape[1]
