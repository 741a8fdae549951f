"""The process that uploads beside a training: it compares each export with its live network first.

Run as `python -m lightning_invariant.encoder.publish QUEUE REPOSITORY`: prints one JSON object a line.
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from typing import TextIO

from lightning_invariant.encoder.parity_check import check_parity
from lightning_invariant.hub.queue import Queue
from lightning_invariant.hub.retries import ATTEMPTS
from lightning_invariant.hub.worker import empty_queue


def main(folder: str, repo_id: str) -> int:
    """Upload what goes to one repository; the exit status is 0 if nothing of it stays in the queue."""
    queue = Queue(folder)
    say = partial(_print, sys.stderr)
    for outcome in empty_queue(queue, check_parity, only=repo_id, wait_for_others=ATTEMPTS * 60, say=say):
        _print(sys.stdout, json.dumps(asdict(outcome)))
    return int(any(entry.target.repo_id == repo_id for entry in queue.entries()))


def _print(stream: TextIO, text: str) -> None:
    with suppress(OSError):  # the training that listened may be gone: that is no reason to stop
        print(text, file=stream, flush=True)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
