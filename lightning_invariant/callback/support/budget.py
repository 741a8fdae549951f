"""What monitoring may cost: one plan, made at the first validation of a training run and kept."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from lightning_invariant.errors import InvariantError

PLANNED = 0.75
"""Share of the bound that reports are planned with. The rest covers what no clock of our own sees: caches and memory
that the next training step finds cold."""
LEAST = 128
"""Fewest queries whose numbers are worth a report."""
LATER = 1.5
"""How much longer a query takes in the midst of training than in the first report, where more than the fewest fit."""
FIGURES = 0.3
"""Seconds that points and figures are thought to cost before that was measured."""


@dataclass(frozen=True)
class Plan:
    """What every report of a training run measures.

    Args:
        queries: Samples whose transformed inputs are encoded; None for all that are kept.
        every: Reports are made at every so many validations.
    """

    queries: int | None = None
    every: int = 1


@dataclass(frozen=True)
class Cost:
    """What a report took.

    Args:
        fixed: Seconds whatever the number of queries: recording, copying, the mathematics of the bank.
        queries: How many queries were encoded.
        forwards: Seconds of encoding those.
    """

    fixed: float
    queries: int
    forwards: float


class Budget:
    """Measures our own time, and plans reports by what the first one cost.

    The plan is made once, at the first validation, so that points of a curve can be compared: the same samples at every
    validation. It holds the reports to `max_overhead` of the time between two validations; where not even 128 queries
    fit, reports are made at every k-th validation.

    Args:
        max_overhead: Bound on our seconds over the training's own; None for no bound, then nothing depends on a clock.
        clock: Gives seconds.

    Raises:
        ValueError: The bound is not over 0.
    """

    def __init__(self, max_overhead: float | None, clock: Callable[[], float] = time.perf_counter) -> None:
        if max_overhead is not None and not 0 < max_overhead < math.inf:
            raise ValueError(f"Expected max_overhead over 0, or None for no bound, but got {max_overhead}.")
        self.max_overhead, self.clock = max_overhead, clock
        self.spent = self._before = 0.0
        self.plan = Plan()
        self.planned = False
        self._started: float | None = None
        self._entered: float | None = None
        self._figures = FIGURES

    def begin(self) -> None:
        """Start the clock of a training run."""
        self._started, self.spent, self.plan, self.planned = self.clock(), 0.0, Plan(), False

    def end(self) -> None:
        """End the run; a validation of its own is not bounded."""
        self._started, self.plan, self.planned = None, Plan(), False

    @contextmanager
    def spending(self) -> Iterator[None]:
        """Count what runs inside as our own time; blocks may stand in each other."""
        if self._entered is not None:
            yield
            return
        self._entered = self.clock()
        try:
            yield
        finally:
            self.spent += self.clock() - self._entered
            self._entered = None

    def begin_validation(self) -> None:
        """Start a validation that a report is due for."""
        self._before = self.spent

    @property
    def recording(self) -> float:
        """Our seconds since the validation began, without the block that is open."""
        return self.spent - self._before

    @property
    def bounded(self) -> bool:
        """Whether there is a bound to keep just now."""
        return self.max_overhead is not None and self._started is not None

    @property
    def overhead(self) -> float:
        """Our seconds over the training run's own, 0 outside of one."""
        ours, training = self._seconds()
        return ours / training if training > 0 else 0.0

    def make_plan(self, cost: Cost, available: int, validations: int = 1) -> Plan:
        """Decide what every report measures, by the first one.

        Args:
            cost: Of a report on few queries.
            available: Queries that are kept.
            validations: How many there were in the time since the run began.

        Raises:
            InvariantError: There is no bound to plan for.
        """
        if not self.bounded or self.max_overhead is None:
            raise InvariantError("Expected a bound to plan for but there is none.")
        self.planned = True
        _, training = self._seconds()
        allowed = PLANNED * self.max_overhead * training / validations
        each = cost.forwards / max(1, cost.queries)
        fitting = int((allowed - cost.fixed) / each) if each > 0 else available
        least = min(LEAST, available)
        if fitting >= least:
            queries = max(least, int(fitting / LATER))
            self.plan = Plan(None if queries >= available else queries)
        else:
            needed = cost.fixed + least * each
            self.plan = Plan(least, max(1, math.ceil(needed / max(allowed, 1e-9))))
        return self.plan

    def wants_figures(self) -> bool:
        """Whether points and figures are paid for."""
        if not self.bounded:
            return True
        ours, training = self._seconds()
        return (self.max_overhead or 0.0) * training - ours >= self._figures

    def paid_figures(self, seconds: float) -> None:
        """Learn what points and figures cost."""
        self._figures = seconds

    def _seconds(self) -> tuple[float, float]:
        now = self.clock()
        ours = self.spent + (0.0 if self._entered is None else now - self._entered)
        return ours, 0.0 if self._started is None else now - self._started - ours
