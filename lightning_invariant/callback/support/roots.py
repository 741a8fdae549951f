"""The Callback class of the Lightning that the user has: `pytorch_lightning`, `lightning.pytorch`, or both."""

from __future__ import annotations

import logging
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any

ROOTS = ("pytorch_lightning", "lightning.pytorch")


def callback_base() -> type[Any]:
    """Return a base that the Trainers in use accept, without importing a second Lightning.

    That of the root that is imported already; one of both where both are, so that either's Trainer and command line
    take it; else that of the first that is installed.

    Raises:
        ImportError: Neither root is installed.
    """
    names = [root for root in ROOTS if sys.modules.get(root) is not None]
    if not names:
        names = [root for root in ROOTS if find_spec(root.split(".")[0]) is not None][:1]
    if not names:
        raise ImportError("Expected pytorch_lightning or lightning to be installed; run: pip install pytorch-lightning")
    bases = tuple(import_module(name).Callback for name in names)
    return bases[0] if len(bases) == 1 else type("Callback", bases, {})


def inform(text: str) -> None:
    """Tell the user where Lightning tells of checkpoints and stops."""
    speaks = next((root for root in ROOTS if logging.getLogger(root).handlers), ROOTS[0])
    logging.getLogger(speaks).info(text)
