"""The representation of a latent, found from the network."""

from lightning_invariant.evaluation.find.averages import generators
from lightning_invariant.evaluation.find.find import (
    INTERPOLATED,
    FitErrors,
    FoundRepresentation,
    find_representation,
)

__all__ = ["INTERPOLATED", "FitErrors", "FoundRepresentation", "find_representation", "generators"]
