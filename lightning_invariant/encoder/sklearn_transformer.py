"""An encoder as a step of a scikit-learn pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sklearn.base import BaseEstimator, TransformerMixin

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from lightning_invariant.encoder.encoder import InvariantEncoder


class EncoderTransformer(TransformerMixin, BaseEstimator):
    """Turns inputs into invariant features; nothing is fitted, and copies share the encoder."""

    def __init__(self, encoder: InvariantEncoder, settings: Mapping[str, Any] | None = None) -> None:
        self.encoder, self.settings = encoder, settings

    def fit(self, X: Any, y: Any = None) -> EncoderTransformer:
        """Do nothing: the encoder was trained before."""
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Compute features.

        Args:
            X: Whatever `encode` takes; rows of flattened inputs (N, D) take their shape from the encoder.
        """
        shape = self.encoder.config["inputs"][0]["shape"][1:]
        if getattr(X, "ndim", 0) == 2 and len(shape) > 1 and all(isinstance(size, int) for size in shape):
            X = X.reshape(len(X), *shape)
        return self.encoder.encode(X, **{"progress": False, **(self.settings or {})})

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_clone__(self) -> EncoderTransformer:
        return EncoderTransformer(self.encoder, self.settings)
