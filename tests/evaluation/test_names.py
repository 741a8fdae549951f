"""The table of names."""

from lightning_invariant.evaluation import headlines, names
from lightning_invariant.probes import KNN, PROBES


def test_at_most_twelve_headlines_stand_first_whatever_the_probes():
    for probes in (["knn"], ["knn", "linear"], list(PROBES), [KNN(k=1, name="one"), "logistic"]):
        table, first = names(probes), headlines(probes)
        assert len(first) <= 12
        assert tuple(table)[: len(first)] == first
        assert set(first) <= set(table)
    assert headlines() == (
        "knn", "knn_raw", "knn_gap", "linear", "linear_raw", "linear_gap", "error", "error_raw", "equivariance_error",
        "findings", "overhead", "queries",
    )  # fmt: skip


def test_headlines_are_those_of_the_first_two_probes():
    first = headlines(["weighted_knn", KNN(k=1, name="one"), "linear"])
    assert first[:6] == ("weighted_knn", "weighted_knn_raw", "weighted_knn_gap", "one", "one_raw", "one_gap")
    assert "linear_gap" in names(["weighted_knn", KNN(k=1, name="one"), "linear"])


def test_no_name_is_the_folder_of_another_and_each_says_what_is_better():
    table = names()
    assert not [name for name in table if "/" in name]
    assert {entry.better for entry in table.values()} == {"higher", "lower", ""}
    assert all(entry.text for entry in table.values())
    assert table["error"].better == table["distortion"].better == table["knn_mae"].better == "lower"
    assert table["knn_upright_raw"].better == table["rank"].better == table["equivariance_held"].better == "higher"
