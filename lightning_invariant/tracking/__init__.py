"""Where it is seen: projector points, figures, and one dispatch over the user's loggers."""

from lightning_invariant.tracking.dashboard import dashboard
from lightning_invariant.tracking.figures import equivariance_bars, figure_to_image, scatter_pair
from lightning_invariant.tracking.loggers import publish
from lightning_invariant.tracking.opening import announce, conclude
from lightning_invariant.tracking.projector import WrittenPoints, write_projector
from lightning_invariant.tracking.quotient_figure import quotient_pair
from lightning_invariant.tracking.report import Embedding, Report
from lightning_invariant.tracking.rows import spread_rows
from lightning_invariant.tracking.services import Sample, Service, register_service

__all__ = [
    "Embedding",
    "Report",
    "Sample",
    "Service",
    "WrittenPoints",
    "announce",
    "conclude",
    "dashboard",
    "equivariance_bars",
    "figure_to_image",
    "publish",
    "quotient_pair",
    "register_service",
    "scatter_pair",
    "spread_rows",
    "write_projector",
]
