"""The layout of TensorBoard's Custom Scalars page: what belongs together in one chart."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

Layout = dict[str, dict[str, list]]
"""Category to chart to its kind and tags, as torch's SummaryWriter takes it."""
CHARTS = {
    "invariance and equivariance errors": (
        "error", "error_raw", "equivariance_error", "equivariance_worst", "action_error",
    ),
    "share of the group that holds": ("equivariance_held",),
    "transformed samples that find themselves": ("retrieval", "retrieval_raw"),
    "distances: rank correlation with orbits": ("spearman", "spearman_raw"),
    "distances: distortion and hard negatives": ("distortion", "hard_negatives"),
    "effective rank": ("rank", "rank_raw"),
    "collapse": ("collapse", "collapse_raw"),
    "pose that can be read off": ("pose", "pose_raw"),
    "overhead of monitoring": ("overhead",),
}  # fmt: skip
ROOTS = "(invariance|invariance_details)/"


def dashboard(probes: Iterable[str], prefix: str = "") -> Layout:
    """Return charts for the scores of each probe, its gap with the interval, and health.

    Args:
        probes: Names such as "knn".
        prefix: Put before every tag and behind the category's name.

    Example:
        >>> dashboard(["knn"])["invariance"]["knn: gap with its 95% interval"]
        ['Margin', ['invariance/knn_gap', 'invariance_details/knn_gap_lower', 'invariance_details/knn_gap_upper']]
    """
    charts: dict[str, list] = {}
    for number, probe in enumerate(probes):
        names = [f"{probe}{end}" for end in ("", "_raw", "_upright", "_upright_raw")]
        charts[f"{probe}: raw, projected, upright"] = ["Multiline", [_exactly(prefix, name) for name in names]]
        root = "invariance" if number < 2 else "invariance_details"
        ends = ((root, "_gap"), ("invariance_details", "_gap_lower"), ("invariance_details", "_gap_upper"))
        gap = [f"{prefix}{place}/{probe}{end}" for place, end in ends]
        charts[f"{probe}: gap with its 95% interval"] = ["Margin", gap]
    for title, names in CHARTS.items():
        charts[title] = ["Multiline", [_exactly(prefix, name) for name in names]]
    return {" ".join(filter(None, ("invariance", prefix.strip("/")))): charts}


def _exactly(prefix: str, name: str) -> str:
    """Lines of a chart are named by regular expressions."""
    return f"^{re.escape(prefix)}{ROOTS}{re.escape(name)}$"
