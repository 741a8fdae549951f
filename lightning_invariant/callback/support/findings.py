"""What a user should know: each finding is said once as a warning, counted, and kept for the log."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from lightning_invariant.callback.support.gather import process_rank
from lightning_invariant.callback.support.roots import inform


class Findings:
    """Findings in plain words, by a key that keeps each from being said twice."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """A run starts: what was said of another one is forgotten."""
        self._said: dict[str, str] = {}
        self._problems = 0
        self._fresh: list[str] = []

    def __len__(self) -> int:
        """Findings that a user should act on."""
        return self._problems

    def add(self, key: str, text: str) -> None:
        """Say it, unless something was said under this key before."""
        if key not in self._said:
            self._problems += 1
            self._keep(key, text)
            if process_rank() == 0:
                warnings.warn(f"lightning-invariant: {text}", UserWarning, stacklevel=3)

    def note(self, key: str, text: str) -> None:
        """Say once what is worth knowing and no problem."""
        if key not in self._said:
            self._keep(key, text)
            if process_rank() == 0:
                inform(f"lightning-invariant: {text}")

    def fresh(self) -> tuple[str, ...]:
        """Findings since the last call."""
        fresh, self._fresh = tuple(self._fresh), []
        return fresh

    @contextmanager
    def guarding(self, key: str, *, strict: bool) -> Iterator[None]:
        """Turn an error in the block into a finding, so that monitoring never ends a training.

        Args:
            key: Of the finding.
            strict: Let the error through: nothing of a training can be lost yet.
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
