import math

import pytest
import torch

from lightning_invariant import choose
from lightning_invariant.callback.evidence import Evidence, joined
from lightning_invariant.callback.measure import measure, project
from lightning_invariant.callback.names import CEILING, ERRORS, HEALTH, SCORES
from lightning_invariant.errors import LatentError

REP = choose("C4: 3 regular").representation


def evidence(rows=80, spread=0.05, seed=0, **changes):
    """Five classes, each around a latent of its own; queries moved exactly as declared."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(5, REP.size, generator=generator)

    def draw():
        y = torch.randint(5, (rows,), generator=generator)
        return centres[y] + spread * torch.randn(rows, REP.size, generator=generator), y

    (bank, bank_labels), (queries, labels) = draw(), draw()
    g = REP.group.sample(rows, generator)
    values = {
        "bank": bank,
        "bank_labels": bank_labels,
        "queries": queries,
        "moved": REP.move(queries, g),
        "elements": g,
        "labels": labels,
    }
    return Evidence(**(values | changes))


def test_an_exact_action_is_undone_by_the_projection():
    found = measure(evidence(), choose(REP), neighbours=5).numbers
    assert set(found) == set(SCORES) | set(ERRORS) | set(HEALTH)
    assert found["invariant/knn"] == found["upright/knn"] == 1.0
    assert found["raw/knn"] < 0.7
    assert found["invariant/error"] < 1e-6 < 0.3 < found["raw/error"]
    assert found["equivariance/error"] < 1e-6


def test_a_wrong_declaration_is_seen():
    turned_back = evidence()
    wrong = Evidence(**{**vars(turned_back), "elements": REP.group.inverse(turned_back.elements)})
    assert measure(wrong, choose(REP), neighbours=5).numbers["equivariance/error"] > 0.2


def test_scores_agree_with_scikit_learn():
    neighbors, linear_model = pytest.importorskip("sklearn.neighbors"), pytest.importorskip("sklearn.linear_model")
    e = evidence(spread=1.0)
    found = measure(e, choose(REP), neighbours=5).numbers
    knn = neighbors.KNeighborsClassifier(5).fit(e.bank, e.bank_labels).score(e.moved, e.labels)
    assert found["raw/knn"] == pytest.approx(knn, abs=1e-6)
    ridge = linear_model.RidgeClassifier(1e-3).fit(e.bank, e.bank_labels).score(e.moved, e.labels)
    assert found["raw/linear"] == pytest.approx(ridge, abs=0.05)


def test_a_bank_smaller_than_k_and_one_class_only():
    small = evidence(rows=3)
    assert measure(small, choose(REP), neighbours=50).numbers["raw/knn"] >= 0
    zeros = torch.zeros(80, dtype=torch.int64)
    one = evidence(labels=zeros, bank_labels=zeros)
    assert measure(one, choose(REP), neighbours=5).numbers["raw/knn"] == 1.0


def test_labels_that_the_bank_lacks_count_as_errors():
    unseen = measure(evidence(labels=torch.full((80,), 9)), choose(REP), neighbours=5).numbers
    assert unseen["invariant/knn"] == 0.0


def test_a_collapsed_encoder_does_not_look_perfect():
    same = torch.ones(80, REP.size)
    found = measure(evidence(bank=same, queries=same, moved=same), choose(REP), neighbours=5).numbers
    assert found["raw/error"] == found["invariant/error"] == CEILING
    assert all(math.isfinite(value) for value in found.values())


@pytest.mark.parametrize("rows", [{"queries": 1, "bank": 80}, {"queries": 80, "bank": 0}])
def test_too_few_rows_are_refused(rows):
    e, q = evidence(), rows["queries"]
    cut = Evidence(e.bank[: rows["bank"]], e.bank_labels, e.queries[:q], e.moved[:q], e.elements[:q], e.labels)
    with pytest.raises(LatentError, match="at least 2 queries"):
        measure(cut, choose(REP), neighbours=5)


def test_rows_that_are_not_finite_leave_together():
    e = evidence()
    e.bank[0, 0], e.queries[1, 0], e.moved[2, 0] = math.nan, math.inf, math.nan
    clean, dropped = e.finite()
    assert dropped == 3
    assert (len(clean.bank), len(clean.bank_labels)) == (79, 79)
    assert {len(clean.queries), len(clean.moved), len(clean.labels), len(clean.elements)} == {78}
    assert evidence().finite()[1] == 0


def test_halves_are_disjoint_and_parts_join_again():
    e = evidence()
    half = e.halved()
    assert (len(half.bank), len(half.queries)) == (40, 40)
    assert torch.equal(torch.stack([half.bank, half.queries], 1).flatten(0, 1), e.queries)
    both = joined([e, half])
    assert (len(both.bank), len(both.moved), len(both.labels)) == (120, 120, 120)


def test_projecting_in_chunks_changes_nothing():
    p, z = choose(REP), evidence().queries
    assert torch.allclose(project(p, z, chunk=7), p(z), atol=1e-6)
    assert project(p, z[:0]).shape == (0, p.out_features)
