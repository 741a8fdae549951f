"""What monitoring may cost, by a clock that the tests set."""

from itertools import pairwise

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping
from torch import nn
from torch.utils.data import DataLoader

from lightning_invariant import InvariantCallback
from lightning_invariant.callback.report import assemble, reporter
from lightning_invariant.callback.support.budget import LEAST, PLANNED, Budget, Cost, Plan
from lightning_invariant.errors import InvariantError
from lightning_invariant.zoo.quarter_turns import QuarterTurnEncoder
from tests.callback.loops import REPRESENTATION, Classifier, data, trainer


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def running(max_overhead=0.05, training=100.0):
    """A budget, and its clock, some seconds of training after it began."""
    clock = Clock()
    budget = Budget(max_overhead, clock)
    budget.begin()
    clock.now += training
    return budget, clock


def test_all_queries_are_measured_where_they_fit():
    budget, _ = running()
    assert budget.make_plan(Cost(0.5, 128, 0.1), 1000) == Plan(None, 1)
    assert budget.planned


def test_fewer_queries_where_all_do_not_fit():
    budget, _ = running()
    # 3.75 s are planned for, 1.75 of them for the bank's mathematics; a query takes 0.01, and half as much again later.
    assert budget.make_plan(Cost(1.75, 128, 1.28), 1000) == Plan(133, 1)
    assert budget.make_plan(Cost(1.75, 128, 1.28), 133) == Plan(None, 1)
    assert budget.make_plan(Cost(1.75, 128, 1.28), 134) == Plan(133, 1)
    assert budget.make_plan(Cost(2.0, 128, 1.28), 1000) == Plan(LEAST, 1)  # 175 fit, of which the fewest are left


def test_fewer_reports_where_not_even_the_least_fits():
    budget, _ = running()
    allowed = PLANNED * 0.05 * 100
    assert budget.make_plan(Cost(allowed, 128, 1.28), 1000) == Plan(LEAST, 2)
    assert budget.make_plan(Cost(10 * allowed, 128, allowed), 1000) == Plan(LEAST, 11)
    assert budget.make_plan(Cost(2 * allowed, 60, allowed), 60) == Plan(60, 3)
    assert budget.make_plan(Cost(allowed - 1.28, 128, 1.2801), 1000) == Plan(LEAST, 2)
    assert budget.make_plan(Cost(allowed - 1.28, 128, 1.2799), 1000) == Plan(LEAST, 1)


@pytest.mark.parametrize("training", [0.01, 1.0, 30.0, 3600.0])
@pytest.mark.parametrize("fixed", [0.0, 0.1, 5.0])
@pytest.mark.parametrize("each", [1e-5, 1e-2])
def test_a_planned_report_keeps_its_share_and_never_measures_fewer_than_the_least(training, fixed, each):
    budget, _ = running(training=training)
    plan = budget.make_plan(Cost(fixed, 128, 128 * each), 1000)
    queries = 1000 if plan.queries is None else plan.queries
    assert queries >= LEAST
    assert fixed + queries * each <= PLANNED * 0.05 * training * plan.every * (1 + 1e-9)


def test_the_time_of_several_validations_is_shared_among_them():
    budget, _ = running(training=400.0)
    assert budget.make_plan(Cost(1.75, 128, 1.28), 1000, validations=4) == Plan(133, 1)
    assert budget.make_plan(Cost(1.75, 128, 1.28), 800, validations=1) == Plan(None, 1)


def test_our_own_time_is_no_time_of_the_training():
    budget, clock = running()
    with budget.spending():
        clock.now += 1000
        assert budget.make_plan(Cost(1.75, 128, 1.28), 1000) == Plan(133, 1)
        assert budget.overhead == 10
    assert budget.overhead == 10


def test_without_a_bound_there_is_nothing_to_plan():
    unbounded, _ = running(max_overhead=None)
    assert (unbounded.bounded, unbounded.plan, unbounded.wants_figures()) == (False, Plan(None, 1), True)
    outside = Budget(0.05, Clock())
    assert (outside.bounded, outside.plan, outside.wants_figures(), outside.overhead) == (False, Plan(), True, 0.0)
    for budget in (unbounded, outside):
        with pytest.raises(InvariantError, match="Expected a bound"):
            budget.make_plan(Cost(1.0, 128, 1.0), 1000)


def test_a_new_run_and_the_end_of_one_forget_the_plan():
    budget, _ = running()
    budget.make_plan(Cost(100.0, 128, 1.0), 1000)
    budget.end()
    assert (budget.plan, budget.planned, budget.bounded) == (Plan(), False, False)
    budget.begin()
    assert (budget.plan, budget.planned, budget.bounded, budget.overhead) == (Plan(), False, True, 0.0)


def test_figures_wait_until_they_are_paid_for():
    budget, clock = running(training=0.0)
    shown = []
    for validation in range(40):
        clock.now += 10  # 0.5 s are allowed
        with budget.spending():
            clock.now += 0.25
            if budget.wants_figures():
                shown.append(validation)
                clock.now += 1.0
                budget.paid_figures(1.0)
    assert shown
    assert budget.overhead <= 0.05 + 1e-9
    gaps = [later - sooner for sooner, later in pairwise(shown[1:])]
    assert set(gaps) == {4}  # 0.25 s are left at each validation


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
    budget.begin_validation()
    assert budget.recording == 0
    with budget.spending():
        clock.now += 2
        assert budget.recording == 0  # of the block that is open nothing counts yet
    assert budget.recording == 2


@pytest.mark.parametrize("bad", [0, -0.1, float("nan"), float("inf")])
def test_a_bound_that_is_none_is_refused(bad):
    with pytest.raises(ValueError, match="Expected max_overhead over 0"):
        Budget(bad)


# -- in a training run whose every forward takes time by that clock --

NOW = Clock()


class Timed(nn.Module):
    """Takes 0.01 s a row by the clock."""

    def __init__(self):
        super().__init__()
        self.inner = QuarterTurnEncoder(1, 4)

    def forward(self, x):
        NOW.now += 0.01 * len(x)
        return self.inner(x)


class Slow(Classifier):
    """A step takes some seconds by the clock, ten times fewer from the second epoch on."""

    def __init__(self, seconds):
        super().__init__(Timed())
        self.seconds = seconds

    def training_step(self, batch, batch_idx):
        NOW.now += self.seconds if self.current_epoch == 0 else self.seconds / 10
        return super().training_step(batch, batch_idx)


class Reports(pl.Callback):
    """How many queries each validation had; 0 without a report."""

    def __init__(self, seen):
        self.seen, self.queries, self.elements = seen, [], []

    def on_validation_end(self, trainer, pl_module):
        report = self.seen.report
        if trainer.sanity_checking:
            return
        fresh = report is not None and report.step == trainer.global_step
        self.queries.append(int(report.scalars[f"{self.seen.prefix}invariance/queries"]) if fresh else 0)
        if fresh:
            self.elements.append(
                (self.seen._reporter.evaluation.latents.own, report.scalars[f"{self.seen.prefix}invariance/overhead"])
            )


def planned(folder, monkeypatch, seconds, *others, epochs=4, **settings):
    for module in (assemble, reporter):
        monkeypatch.setattr(module, "perf_counter", NOW)
    seen = InvariantCallback("encoder", REPRESENTATION, figures=None, **settings)
    seen._budget.clock = NOW
    reports = Reports(seen)
    pl.seed_everything(0, verbose=False)
    checks = 0 if "export" in settings else 2  # what waits by its batch's length cannot be exported
    run = trainer([seen, reports, *others], folder, max_epochs=epochs, num_sanity_val_steps=checks)
    run.fit(Slow(seconds), DataLoader(data(32), 16), DataLoader(data(256, 1), 64))
    return reports


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_first_validation_fixes_the_samples_of_all_others(tmp_path, monkeypatch):
    reports = planned(tmp_path, monkeypatch, 25.0)
    assert LEAST < reports.queries[0] < 256
    assert len(set(reports.queries)) == 1
    first, overhead = reports.elements[0]
    assert overhead < 0.2
    assert all(torch.equal(first, rows) for rows, _ in reports.elements[1:])


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_every_sample_where_there_is_time_or_no_bound(tmp_path, monkeypatch):
    assert planned(tmp_path, monkeypatch, 1e6, epochs=2).queries == [256, 256]
    assert planned(tmp_path, monkeypatch, 0.0, epochs=2, max_overhead=None).queries == [256, 256]
    reports = planned(tmp_path, monkeypatch, 0.0, epochs=2, max_overhead=None, sample_size=100)
    assert reports.queries == [100, 100]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_dear_reports_come_at_every_so_many_validations_unless_they_are_monitored(tmp_path, monkeypatch):
    reports = planned(tmp_path, monkeypatch, 10.0)  # half of what the least takes
    assert reports.queries == [LEAST, 0, LEAST, 0]
    watched = planned(tmp_path, monkeypatch, 10.0, EarlyStopping("invariance/knn", mode="max", patience=9))
    assert watched.queries == [LEAST] * 4
    assert "costs more than max_overhead" in watched.seen._findings._said["monitored"]
    assert "monitored" not in reports.seen._findings._said


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_validations_that_a_user_leaves_out_stay_out(tmp_path, monkeypatch):
    assert planned(tmp_path, monkeypatch, 1e6, every_n_validations=3).queries == [256, 0, 0, 256]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_last_validation_is_measured_for_an_export(tmp_path, monkeypatch):
    exported = planned(tmp_path, monkeypatch, 1e6, every_n_validations=9, export=tmp_path / "out")
    assert exported.queries == [256, 0, 0, 256]
    assert planned(tmp_path, monkeypatch, 1e6, every_n_validations=9).queries == [256, 0, 0, 0]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_number_of_another_callback_is_monitored_on_its_account(tmp_path, monkeypatch):
    settings = {"max_overhead": None, "figures": None, "every_n_validations": 9}
    other = InvariantCallback("encoder", REPRESENTATION, prefix="second_", **settings)
    stopping = EarlyStopping("second_invariance/knn", mode="max", patience=9)
    first = planned(tmp_path, monkeypatch, 1e6, other, stopping, every_n_validations=9)
    assert first.queries == [256, 0, 0, 0]
    assert other.report.step == 8
    own = planned(tmp_path, monkeypatch, 1e6, stopping, every_n_validations=9, prefix="second_")
    assert own.queries == [256] * 4
