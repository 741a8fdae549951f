"""How much a latent tells: neighbours, ridge and logistic regression, leave-one-out, and scores with intervals."""

from lightning_invariant.probes.intervals import gap_interval
from lightning_invariant.probes.knn import knn_neighbours, knn_predict, knn_vote
from lightning_invariant.probes.linear import LinearModel
from lightning_invariant.probes.logistic import logistic_fit
from lightning_invariant.probes.pose import pose_skill
from lightning_invariant.probes.probe import (
    DEFAULT_PROBES,
    KNN,
    PROBES,
    Kind,
    Logistic,
    Probe,
    Ridge,
    parse_probes,
    probe_score,
    register_probe,
    target_kind,
)
from lightning_invariant.probes.ridge import LeftOut, ridge_fit, ridge_leave_out
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
    "KNN",
    "PROBES",
    "Interval",
    "Kind",
    "LeftOut",
    "LinearModel",
    "Logistic",
    "Probe",
    "Ridge",
    "accuracy",
    "accuracy_interval",
    "gap_interval",
    "knn_neighbours",
    "knn_predict",
    "knn_vote",
    "logistic_fit",
    "mae",
    "mean_average_precision",
    "paired_gap_interval",
    "parse_probes",
    "pose_skill",
    "probe_score",
    "r2",
    "register_probe",
    "ridge_fit",
    "ridge_leave_out",
    "target_kind",
]
