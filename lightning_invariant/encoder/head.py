"""A fitted linear probe that rides along with an encoder, so that it names classes or predicts values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from lightning_invariant.errors import ArtifactError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Float

    from lightning_invariant.probes import LinearModel


class Prediction(NamedTuple):
    """What a head says of a batch.

    Attributes:
        labels: The best label of each input.
        scores: Linear scores, shape (B, T), one column a label of the head; logits if the head was fitted by logistic
            regression.
    """

    labels: list[str]
    scores: Tensor


class Head(nn.Module):
    """Scores ``features @ weight + bias`` with a name for each column.

    Args:
        weight: Shape (K, T).
        bias: Shape (T,).
        labels: T different names.
        classes: Whether columns are classes to choose from, or values.
    """

    def __init__(self, weight: Tensor, bias: Tensor, labels: Sequence[str], *, classes: bool) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)
        self.labels, self.classes = list(labels), classes

    @classmethod
    def from_probe(cls, probe: LinearModel, labels: Sequence[str] | None = None) -> Head:
        """Take over a fitted ridge or logistic probe.

        Args:
            probe: Fitted on features.
            labels: A name for each class that the probe knows, in the order of `probe.classes`, or for each value;
                numbers if None.

        Raises:
            ValueError: Another number of names than columns, or a name twice.
        """
        columns = list(range(probe.weight.shape[1])) if probe.classes is None else probe.classes.tolist()
        names = [str(label) for label in (columns if labels is None else labels)]
        if len(names) != probe.weight.shape[1] or len(set(names)) != len(names):
            raise ValueError(
                f"Expected {probe.weight.shape[1]} different labels, one for each column of the probe, but got "
                f"{names[:10]}."
            )
        weight, bias = (t.detach().float().cpu().clone() for t in (probe.weight, probe.bias))
        return cls(weight, bias, names, classes=probe.classes is not None)

    @classmethod
    def from_artifact(cls, data: Mapping[str, Any], tensors: Mapping[str, Tensor], features: int) -> Head:
        """Build a head from an untrusted configuration that passed the schema.

        Raises:
            ArtifactError: A tensor does not fit, is of another type, or holds what scores nothing.
        """
        shapes = {"weight": (features, len(data["labels"])), "bias": (len(data["labels"]),)}
        got = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        if got != shapes:
            raise ArtifactError(f"Expected a head of shapes {shapes} but got {str(got)[:200]}; export or pull again.")
        for name, tensor in tensors.items():
            if tensor.dtype not in (torch.float32, torch.float64):
                raise ArtifactError(f"Expected head.{name} in float32 or float64 but got {tensor.dtype}; export again.")
            if not tensor.isfinite().all() or (name == "weight" and not tensor.any()):
                raise ArtifactError(
                    f"Expected finite numbers that are not all 0 in head.{name} but got others; export or pull again."
                )
        return cls(tensors["weight"], tensors["bias"], data["labels"], classes=data["kind"] == "classes")

    def forward(self, features: Float[Tensor, "B K"]) -> Float[Tensor, "B T"]:
        """Scores."""
        return torch.addmm(self.bias, features.to(self.bias.dtype), self.weight)

    def predict(self, features: Float[Tensor, "B K"]) -> Prediction:
        """Return the best label of each row, and all scores."""
        scores = self(features)
        return Prediction([self.labels[i] for i in scores.argmax(1).tolist()], scores)

    def config(self) -> dict[str, Any]:
        """JSON-able description; the tensors are in the state."""
        return {"kind": "classes" if self.classes else "values", "labels": self.labels}

    def extra_repr(self) -> str:
        """Labels."""
        return f"{len(self.labels)} {'classes' if self.classes else 'values'}"
