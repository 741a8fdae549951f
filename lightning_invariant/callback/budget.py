"""What monitoring may cost: it measures itself and gives way to the training."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

ORDINARY, FINAL = 0.4, 0.6
"""Shares of the bound that reports plan with, in the midst of a training and at its end. The rest covers what no clock
of our own sees: caches and memory that the next training step finds cold."""
PICTURES = 0.5
"""Seconds that points and pictures are thought to cost before that was measured."""


class Budget:
    """Decides what is computed, by what it cost before and by the training's own time.

    The first report of a training is always made, on as much of the samples as its share of the time so far pays for,
    at least on `least` of them; so is the last one that can be foreseen. In between a report is made as soon as it is
    paid for. Where a callback or scheduler monitors a number of ours there is a report at every validation, small if it
    must be, because a value that is only repeated would look like a training that has stopped to improve. Points and
    pictures wait until they are paid for; those of the last report are shown at the end of the training.

    Args:
        max_overhead: Bound on our seconds over the training's own; None for no bound, then nothing depends on a clock.
        clock: Gives seconds.

    Raises:
        ValueError: The bound is not over 0.
    """

    def __init__(self, max_overhead: float | None, clock: Callable[[], float] = time.perf_counter) -> None:
        if max_overhead is not None and not max_overhead > 0:
            raise ValueError(f"Expected max_overhead over 0, or None for no bound, but got {max_overhead}.")
        self.max_overhead, self.clock = max_overhead, clock
        self.spent = 0.0
        self._started: float | None = None
        self._entered: float | None = None
        self._whole_report: float | None = None
        self._pictures = PICTURES

    def begin(self) -> None:
        """A training starts."""
        self._started, self.spent, self._whole_report = self.clock(), 0.0, None

    def end(self) -> None:
        """The training ended; a validation of its own is not bounded."""
        self._started = None

    @contextmanager
    def spending(self) -> Iterator[None]:
        """What runs inside is our own time; blocks may stand in each other."""
        if self._entered is not None:
            yield
            return
        self._entered = self.clock()
        try:
            yield
        finally:
            self.spent += self.clock() - self._entered
            self._entered = None

    @property
    def bounded(self) -> bool:
        """Whether there is a bound to keep just now."""
        return self.max_overhead is not None and self._started is not None

    @property
    def overhead(self) -> float:
        """Our seconds over the training's own, 0 outside of a training."""
        ours, training = self._seconds()
        return ours / training if training > 0 else 0.0

    def wants_report(self, *, final: bool, monitored: bool, least: float) -> bool:
        """Whether the validation that starts is worth a report.

        Args:
            final: It is the last one.
            monitored: Something of the user's acts on our numbers.
            least: Smallest share of the samples that is of use.
        """
        if not self.bounded or final or monitored or self._whole_report is None:
            return True
        return self._credit(ORDINARY) >= least * self._whole_report

    def share(self, *, final: bool, least: float) -> float:
        """Share of the samples to report on; `least` where no report was paid for yet."""
        if not self.bounded:
            return 1.0
        if self._whole_report is None:
            return least
        paid_for = self._credit(FINAL if final else ORDINARY) / max(self._whole_report, 1e-9)
        return min(1.0, max(least, paid_for))

    def paid_report(self, share: float, seconds: float) -> None:
        """Learn what a report on a share of the samples cost."""
        self._whole_report = seconds / share

    def wants_pictures(self) -> bool:
        """Whether points and pictures are paid for."""
        return not self.bounded or self._credit(ORDINARY) >= self._pictures

    def paid_pictures(self, seconds: float) -> None:
        """Learn what points and pictures cost."""
        self._pictures = seconds

    def _credit(self, planned: float) -> float:
        ours, training = self._seconds()
        return planned * (self.max_overhead or 0.0) * training - ours

    def _seconds(self) -> tuple[float, float]:
        now = self.clock()
        ours = self.spent + (0.0 if self._entered is None else now - self._entered)
        return ours, 0.0 if self._started is None else now - self._started - ours
