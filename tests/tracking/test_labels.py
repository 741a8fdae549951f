import numpy as np
import pytest
import torch

from lightning_invariant.tracking.labels import label_columns, metadata_table, plain_values


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
