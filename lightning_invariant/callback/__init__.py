"""When: one callback for any training loop, and what it exports."""

from lightning_invariant.callback.callback import InvariantCallback
from lightning_invariant.callback.export import Export, HubExport
from lightning_invariant.callback.support.command_line import accept_representations

__all__ = ["Export", "HubExport", "InvariantCallback"]

accept_representations()
