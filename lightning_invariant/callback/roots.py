"""The Callback class of every installed Lightning: `pytorch_lightning`, `lightning.pytorch`, or both."""

from __future__ import annotations

import logging
from importlib import import_module
from typing import Any

ROOTS = ("pytorch_lightning", "lightning.pytorch")


def callback_bases() -> tuple[type[Any], ...]:
    """Every importable Callback class, so that one callback is accepted by both Trainers and both command lines.

    Raises:
        ImportError: Neither root is installed.
    """
    bases = []
    for root in ROOTS:
        try:
            bases.append(import_module(root).Callback)
        except ModuleNotFoundError as error:
            if error.name is None or not root.startswith(error.name.split(".")[0]):
                raise
    if not bases:
        raise ImportError("Expected pytorch_lightning or lightning to be installed; run: pip install pytorch-lightning")
    return tuple(bases)


def inform(text: str) -> None:
    """Tell the user where Lightning tells of checkpoints and stops."""
    speaks = next((root for root in ROOTS if logging.getLogger(root).handlers), ROOTS[0])
    logging.getLogger(speaks).info(text)
