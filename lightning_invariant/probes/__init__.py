"""How much a latent tells: neighbours, ridge and logistic regression as pure functions, and scores with intervals."""

from lightning_invariant.probes.jackknife import score_gap_interval
from lightning_invariant.probes.knn import knn_neighbours, knn_predict, knn_vote
from lightning_invariant.probes.linear import LinearModel
from lightning_invariant.probes.logistic import logistic_fit
from lightning_invariant.probes.pose import pose_skill
from lightning_invariant.probes.probe import (
    DEFAULT_PROBES,
    PROBES,
    ProbeName,
    probe_gap_interval,
    probe_predictions,
    probe_score,
    target_kind,
)
from lightning_invariant.probes.ridge import ridge_fit
from lightning_invariant.probes.scores import (
    Interval,
    accuracy,
    accuracy_interval,
    mae,
    mean_average_precision,
    paired_gap_interval,
    r2,
)

__all__ = [
    "DEFAULT_PROBES",
    "PROBES",
    "Interval",
    "LinearModel",
    "ProbeName",
    "accuracy",
    "accuracy_interval",
    "knn_neighbours",
    "knn_predict",
    "knn_vote",
    "logistic_fit",
    "mae",
    "mean_average_precision",
    "paired_gap_interval",
    "pose_skill",
    "probe_gap_interval",
    "probe_predictions",
    "probe_score",
    "r2",
    "ridge_fit",
    "score_gap_interval",
    "target_kind",
]
