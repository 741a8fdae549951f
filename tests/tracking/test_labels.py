import numpy as np
import pytest
import torch

from lightning_invariant.tracking.labels import coloured_column, label_columns, metadata_table, plain_values


@pytest.mark.parametrize(
    "column", [[1, 2], (1, 2), torch.tensor([1, 2]), np.array([1, 2]), [torch.tensor(1), np.int64(2)], range(1, 3)]
)
def test_numbers_of_any_kind_become_pythons_own(column):
    assert plain_values(column) == [1, 2]
    assert {type(value) for value in plain_values(column)} == {int}


def test_columns_by_name():
    assert label_columns(None) == {}
    assert label_columns([1]) == {"label": [1]}
    assert label_columns({"digit": [1]}) == {"digit": [1]}


def test_rows_are_picked_in_their_order():
    assert metadata_table(["a", "b", "c"], [2, 0]) == b"c\na\n"
    assert metadata_table({"x": [1, 2], "y": [0.5, float("nan")]}, [1]) == b"x\ty\n2\tnan\n"


@pytest.mark.parametrize(
    ("labels", "column"),
    [
        ([1, 2, 1], "label"),
        ({"digit": [1, 2, 1]}, "label"),  # a lone column is written without a header
        ({"digit": [1, 2, 1], "name": list("abc")}, "digit"),
        ({"a\tb": [1, 2, 1], "name": list("abc")}, "a\\tb"),
        (np.linspace(0, 1, 60), "label"),
        ([f"word {i}" for i in range(51)], None),
        ([f"word {i}" for i in range(50)], "label"),
        ([*np.linspace(0, 1, 60), float("nan")], None),
        ({"name": [f"word {i}" for i in range(60)], "digit": [3] * 60}, "digit"),
    ],
)
def test_the_column_that_the_projector_colours_by(labels, column):
    count = len(next(iter(label_columns(labels).values())))
    assert coloured_column(labels, range(count)) == column
