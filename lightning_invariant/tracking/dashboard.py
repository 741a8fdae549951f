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
        "raw/error", "invariant/error", "equivariance/error", "equivariance/worst", "action/error",
    ),
    "share of the group that holds": ("equivariance/held",),
    "moved samples that find themselves": ("raw/retrieval", "invariant/retrieval"),
    "distances: rank correlation with orbits": ("raw/spearman", "invariant/spearman"),
    "distances: distortion and hard negatives": ("invariant/distortion", "invariant/hard_negatives"),
    "effective rank": ("raw/rank", "invariant/rank"),
    "collapse": ("raw/collapse", "invariant/collapse"),
    "pose that can be read off": ("raw/pose", "invariant/pose"),
    "overhead of monitoring": ("invariant/overhead",),
}  # fmt: skip


def dashboard(probes: Iterable[str], prefix: str = "") -> Layout:
    """Charts for the scores of each probe, its gap with the interval, and health.

    Args:
        probes: Names such as "knn".
        prefix: Put before every tag and behind the category's name.

    Example:
        >>> dashboard(["knn"])["invariant"]["knn: gap with its 95% interval"]
        ['Margin', ['gap/knn', 'gap/knn_lower', 'gap/knn_upper']]
    """
    charts: dict[str, list] = {}
    for probe in probes:
        scores = [f"{name}/{probe}" for name in ("raw", "invariant", "upright", "upright/invariant")]
        charts[f"{probe}: raw, projected, upright"] = ["Multiline", [_exactly(prefix + tag) for tag in scores]]
        gap = [prefix + tag for tag in (f"gap/{probe}", f"gap/{probe}_lower", f"gap/{probe}_upper")]
        charts[f"{probe}: gap with its 95% interval"] = ["Margin", gap]
    for title, tags in CHARTS.items():
        charts[title] = ["Multiline", [_exactly(prefix + tag) for tag in tags]]
    return {" ".join(filter(None, ("invariant", prefix.strip("/")))): charts}


def _exactly(tag: str) -> str:
    """Lines of a chart are named by regular expressions."""
    return f"^{re.escape(tag)}$"
