from __future__ import annotations

import socket

import pytest
import torch
from torch import multiprocessing
from torch.distributed import destroy_process_group, init_process_group

from lightning_invariant.groups import Representation
from lightning_invariant.metrics import (
    collapse,
    distance_spearman,
    distortion,
    effective_rank,
    equivariance_error,
    equivariance_errors,
    hard_negatives,
    invariance_error,
    orbit_distance,
    orbit_retrieval,
    relative_distance,
)
from lightning_invariant.metrics.running import (
    Collapse,
    EffectiveRank,
    EquivarianceError,
    EquivarianceErrors,
    InvarianceError,
)
from lightning_invariant.metrics.running_orbits import HardNegativeRatio, OrbitDistortion, OrbitRetrieval, OrbitSpearman
from lightning_invariant.probes.running import PoseSkill

REPRESENTATION = Representation.parse("C4: 2 regular")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def data(count: int):
    z, g = REPRESENTATION.random(count, generator()), REPRESENTATION.group.sample(count, generator(1))
    moved = REPRESENTATION.move(z, g) + 0.1 * REPRESENTATION.random(count, generator(2))
    return z, g, moved


def fed(metric, *columns, batches=((0, 7), (7, 50), (50, 100))):
    for start, end in batches:
        metric.update(*(column[start:end] for column in columns))
    return metric.compute().item()


def test_each_class_gives_the_value_of_its_function():
    z, g, moved = data(100)
    f = z.reshape(-1, 2, 4).sort(dim=-1).values.flatten(1)
    far = orbit_distance(z, z, REPRESENTATION, pairwise=True)
    assert fed(InvarianceError(), moved, z) == pytest.approx(invariance_error(moved, z), rel=1e-5)
    expected = equivariance_error(moved, z, REPRESENTATION, g)
    assert fed(EquivarianceError(REPRESENTATION), moved, z, g) == pytest.approx(expected, rel=1e-5)
    assert fed(EffectiveRank(), z) == pytest.approx(effective_rank(z), rel=1e-5)
    assert fed(OrbitSpearman(REPRESENTATION), f, z) == pytest.approx(distance_spearman(f, far), rel=1e-5)
    spread = distortion(f, far).percentiles
    assert fed(OrbitDistortion(REPRESENTATION), f, z) == pytest.approx(spread, rel=1e-5)
    assert fed(Collapse(), z + 3) == pytest.approx(collapse(z + 3), rel=1e-5)
    apart = hard_negatives(z, REPRESENTATION, generator(4))
    assert fed(OrbitRetrieval(), moved, z, apart) == pytest.approx(orbit_retrieval(moved, z, apart))
    assert fed(HardNegativeRatio(), apart, z) == pytest.approx(relative_distance(apart, z), rel=1e-5)


def test_errors_of_each_element():
    z, g, moved = data(100)
    metric = EquivarianceErrors(REPRESENTATION)
    for rows in (slice(0, 40), slice(40, 100)):
        metric.update(moved[rows], z[rows], g[rows])
    expected = equivariance_errors(moved, z, REPRESENTATION, g)
    found = {name: error.item() for name, error in metric.compute().items()}
    assert list(found) == ["0°", "90°", "180°", "270°"]
    assert found == pytest.approx(expected, rel=1e-5)


def test_one_element_for_a_whole_batch():
    z, turn = data(50)[0], torch.tensor(1)
    metric = EquivarianceError(REPRESENTATION)
    metric.update(REPRESENTATION.move(z, turn), z, turn)
    assert metric.compute().item() < 1e-6


def test_the_pose_shows_in_latents_and_not_in_invariants():
    z = REPRESENTATION.random(1, generator()) + 0.1 * REPRESENTATION.random(600, generator(1))
    g = REPRESENTATION.group.sample(600, generator(2))
    moved = REPRESENTATION.move(z, g)
    invariant = moved.reshape(-1, 2, 4).sort(dim=-1).values.flatten(1)
    assert fed(PoseSkill("C4"), moved, g, batches=((0, 600),)) > 0.95
    assert fed(PoseSkill("C4"), invariant, g, batches=((0, 300), (300, 600))) < 0.15
    few = PoseSkill("C4")
    few.update(moved[:3], g[:3])
    assert few.compute().isnan()


def test_memory_is_bounded_and_neither_order_nor_batches_matter():
    z, _, moved = data(100)
    metric = InvarianceError(limit=20)
    value = fed(metric, moved, z)
    assert len(metric.rows[0]) == 20
    order = torch.randperm(100, generator=generator(3))
    assert fed(InvarianceError(limit=20), moved[order], z[order], batches=((0, 90), (90, 100))) == value
    assert value != fed(InvarianceError(), moved, z)
    assert value == pytest.approx(invariance_error(moved, z), rel=0.3)


def test_the_rows_kept_are_a_fair_sample():
    rows = torch.randn(20_000, 3, generator=generator())
    metric = EffectiveRank(limit=2000)
    metric.update(rows)
    assert metric.rows[0].mean(dim=0).abs().max() < 0.1
    assert metric.rows[0].std(dim=0).sub(1).abs().max() < 0.06


def test_reset_and_too_few_rows():
    metric = EffectiveRank()
    metric.update(torch.randn(5, 2))
    metric.reset()
    metric.update(torch.randn(1, 2))
    with pytest.raises(ValueError, match="at least 2"):
        EffectiveRank(limit=1)
    assert metric.compute().isnan()


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="equal shapes"):
        InvarianceError().update(torch.zeros(3, 2), torch.zeros(3, 1))


def _everything():
    """Every metric with what it is fed."""
    z, g, moved = data(100)
    apart = hard_negatives(z, REPRESENTATION, generator(4))
    return [
        (InvarianceError(limit=30), (moved, z)),
        (EquivarianceError(REPRESENTATION), (moved, z, g)),
        (EffectiveRank(limit=30), (z,)),
        (Collapse(), (z,)),
        (OrbitSpearman(REPRESENTATION, limit=30), (moved, z)),
        (OrbitDistortion(REPRESENTATION, limit=30), (moved, z)),
        (OrbitRetrieval(), (moved, z, apart)),
        (HardNegativeRatio(), (apart, z)),
        (PoseSkill("C4"), (moved, g)),
    ]


def _worker(rank: int, port: int, queue) -> None:
    init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    mine = slice(0, 61) if rank == 0 else slice(61, 100)
    values = []
    for metric, columns in _everything():
        metric.update(*(column[mine] for column in columns))
        values.append(metric.compute().item())
    z, g, moved = data(100)
    each, lone = EquivarianceErrors(REPRESENTATION), InvarianceError()
    each.update(moved[mine], z[mine], g[mine])
    values += [error.item() for error in each.compute().values()]
    if rank == 0:
        lone.update(moved, z)
    values.append(lone.compute().item())
    queue.put((rank, values))
    destroy_process_group()


def test_two_processes_equal_one():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    queue = multiprocessing.get_context("spawn").SimpleQueue()
    multiprocessing.spawn(_worker, args=(port, queue), nprocs=2)
    z, g, moved = data(100)
    one = [fed(metric, *columns) for metric, columns in _everything()]
    one += [*equivariance_errors(moved, z, REPRESENTATION, g).values(), invariance_error(moved, z)]
    for _ in range(2):
        _, values = queue.get()
        assert values == pytest.approx(one, rel=1e-6)
