"""How a training run exports its encoder: into a folder at its end, and to the Hub while it runs."""

from lightning_invariant.callback.export.exporter import Exporter
from lightning_invariant.callback.export.settings import Export, HubExport

__all__ = ["Export", "Exporter", "HubExport"]
