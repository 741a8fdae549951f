"""The budget, by a clock that the tests set."""

import pytest

from lightning_invariant.callback.budget import FINAL, ORDINARY, Budget


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Run:
    """A training whose validations come every so many seconds, and whose whole report costs so much."""

    def __init__(self, max_overhead: float | None, epoch: float, whole: float, pictures: float = 0.0) -> None:
        self.clock = Clock()
        self.budget = Budget(max_overhead, self.clock)
        self.epoch, self.whole, self.pictures = epoch, whole, pictures
        self.shares: list[float] = []
        self.shown: list[int] = []
        self.budget.begin()

    def train(self, epochs: int, *, ends: bool = True, monitored: bool = False, least: float = 0.1) -> None:
        for number in range(epochs):
            self.clock.now += self.epoch
            self.validate(final=ends and number == epochs - 1, monitored=monitored, least=least)

    def validate(self, *, final: bool, monitored: bool, least: float) -> None:
        if not self.budget.wants_report(final=final, monitored=monitored, least=least):
            self.shares.append(0.0)
            return
        with self.budget.spending():
            self.shares.append(self.budget.share(final=final, least=least))
            self.clock.now += self.shares[-1] * self.whole
            self.budget.paid_report(self.shares[-1], self.shares[-1] * self.whole)
            if self.budget.wants_pictures():
                self.shown.append(len(self.shares))
                self.clock.now += self.pictures
                self.budget.paid_pictures(self.pictures)


@pytest.mark.parametrize("epoch", [3.0, 10.0, 60.0, 3600.0])
@pytest.mark.parametrize("whole", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("pictures", [0.0, 0.5])
def test_the_bound_is_kept_in_any_training_that_is_long_enough_for_two_small_reports(epoch, whole, pictures):
    run = Run(0.05, epoch, whole, pictures)
    run.train(30)
    necessary = 2 * 0.1 * whole / (30 * epoch)  # the first report and the last, on the least share
    assert run.budget.overhead <= FINAL * 0.05 + necessary + 1e-9
    assert run.shares[0] > 0 < run.shares[-1]


def test_without_the_rule_the_bound_would_be_broken():
    run = Run(None, 3.0, 1.0)
    run.train(30)
    assert run.budget.overhead == pytest.approx(1 / 3)
    assert set(run.shares) == {1.0}


def test_cheap_reports_are_whole_and_come_at_every_validation():
    run = Run(0.05, 60.0, 0.5)
    run.train(10)
    assert run.shares[1:] == [1.0] * 9


def test_dear_reports_take_fewer_samples_first_and_wait_only_then():
    thinner = Run(0.05, 10.0, 1.0)
    thinner.train(20)
    assert 0 not in thinner.shares
    assert all(0.1 < share < 1 for share in thinner.shares[1:-1])
    waiting = Run(0.05, 1.0, 1.0)
    waiting.train(40)
    assert waiting.shares.count(0.0) > 20
    assert waiting.shares[0] == 0.1


def test_the_last_report_may_use_what_was_left_for_it():
    run = Run(0.05, 10.0, 1.0)
    run.train(20)
    saved = (FINAL - ORDINARY) * 0.05 * 200
    assert run.shares[-1] == pytest.approx(min(1.0, saved + run.shares[-2]), abs=0.1)
    assert run.shares[-1] > run.shares[-2]


def test_monitored_numbers_are_new_at_every_validation():
    run = Run(0.05, 1.0, 1.0)
    run.train(40, monitored=True)
    assert min(run.shares) == 0.1


def test_pictures_wait_until_they_are_paid_for():
    run = Run(0.05, 10.0, 0.01, pictures=1.0)
    run.train(40)
    assert run.shown
    gaps = [later - sooner for sooner, later in zip(run.shown[1:], run.shown[2:], strict=False)]
    assert min(gaps) >= 4


def test_outside_of_a_training_nothing_is_thinned():
    budget = Budget(0.05, Clock())
    assert budget.wants_report(final=False, monitored=False, least=0.1)
    assert (budget.share(final=False, least=0.1), budget.wants_pictures(), budget.overhead) == (1.0, True, 0.0)
    budget.begin()
    assert budget.share(final=False, least=0.1) == 0.1
    budget.end()
    assert budget.share(final=False, least=0.1) == 1.0


def test_time_inside_blocks_is_counted_once_and_also_when_they_fail():
    clock = Clock()
    budget = Budget(0.05, clock)
    budget.begin()

    def fails():
        with budget.spending():
            clock.now += 1
            with budget.spending():
                clock.now += 2
                assert budget.overhead == 0.0  # no training so far
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    clock.now += 7
    assert budget.spent == 3
    assert budget.overhead == pytest.approx(3 / 7)


@pytest.mark.parametrize("bad", [0, -0.1, float("nan")])
def test_a_bound_that_is_none_is_refused(bad):
    with pytest.raises(ValueError, match="Expected max_overhead over 0"):
        Budget(bad)
