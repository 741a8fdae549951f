"""From latents to numbers and findings: pure functions, without a network and without a training run."""

from lightning_invariant.evaluation.comparison import Comparison, compare
from lightning_invariant.evaluation.evaluate import Evaluation, evaluate
from lightning_invariant.evaluation.find import FoundRepresentation, find_representation, generators
from lightning_invariant.evaluation.findings import Finding, findings, repeats_training
from lightning_invariant.evaluation.latents import Latents
from lightning_invariant.evaluation.names import Name, headlines, names

__all__ = [
    "Comparison",
    "Evaluation",
    "Finding",
    "FoundRepresentation",
    "Latents",
    "Name",
    "compare",
    "evaluate",
    "find_representation",
    "findings",
    "generators",
    "headlines",
    "names",
    "repeats_training",
]
