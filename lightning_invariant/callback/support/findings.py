"""What a user should know: each finding is said once as a warning, counted, and kept for the log."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from lightning_invariant.callback.support.gather import process_rank
from lightning_invariant.callback.support.roots import inform

WORDS = {"set_mask": "the mask of the points", "node_batch": "the graph of each node"}
"""What names of members that no user gave are called."""


class Findings:
    """Findings in plain words, by a key that keeps each from being said twice."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Forget what was said of another run."""
        self._said: dict[str, str] = {}
        self._problems = 0
        self._fresh: list[str] = []

    def __len__(self) -> int:
        """Findings that a user should act on."""
        return self._problems

    def add(self, key: str, text: str) -> None:
        """Warn once under each key."""
        text = _in_words(text)
        if key not in self._said:
            self._problems += 1
            self._keep(key, text)
            if process_rank() == 0:
                warnings.warn(f"lightning-invariant: {text}", UserWarning, stacklevel=3)

    def note(self, key: str, text: str) -> None:
        """Inform once under each key of what is worth knowing and no problem."""
        text = _in_words(text)
        if key not in self._said:
            self._keep(key, text)
            if process_rank() == 0:
                inform(f"lightning-invariant: {text}")

    def fresh(self) -> tuple[str, ...]:
        """Return findings since the last call."""
        fresh, self._fresh = tuple(self._fresh), []
        return fresh

    @contextmanager
    def guarding(self, key: str, *, strict: bool) -> Iterator[None]:
        """Turn an error in the block into a finding, so that monitoring never ends a training run.

        Args:
            key: Of the finding.
            strict: Let the error through: nothing of a training run can be lost yet.
        """
        try:
            yield
        except Exception as error:
            if strict:
                raise
            self.add(key, f"{type(error).__name__} in {key}: {error}")

    def _keep(self, key: str, text: str) -> None:
        self._said[key] = text
        self._fresh.append(text)


def _in_words(text: str) -> str:
    for name, words in WORDS.items():
        text = text.replace(name, words)
    return text
