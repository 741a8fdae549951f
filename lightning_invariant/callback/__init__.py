"""When it happens: the callback that attaches to any training loop."""

from lightning_invariant.callback.callback import InvariantCallback
from lightning_invariant.callback.command_line import accept_representations
from lightning_invariant.callback.hub_export import HubExport
from lightning_invariant.callback.names import METRICS

__all__ = ["METRICS", "HubExport", "InvariantCallback"]

accept_representations()
