"""Up to the Hugging Face Hub and down from it: folders of artefacts, whatever network they hold."""

from lightning_invariant.hub.access import check_access
from lightning_invariant.hub.commit import commit_folder
from lightning_invariant.hub.download import Source, local_folder, read_pretrained
from lightning_invariant.hub.queue import Queue
from lightning_invariant.hub.target import Target
from lightning_invariant.hub.worker import Worker, empty_queue

__all__ = [
    "Queue",
    "Source",
    "Target",
    "Worker",
    "check_access",
    "commit_folder",
    "empty_queue",
    "local_folder",
    "read_pretrained",
]
