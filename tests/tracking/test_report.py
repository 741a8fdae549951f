import copy
import dataclasses
import pickle

import pytest
import torch

from lightning_invariant.tracking.report import Embedding, Report


def test_a_report_does_not_change_with_the_dictionary_it_was_made_from():
    scalars = {"invariant/knn": 0.5}
    report = Report(3, scalars)
    scalars["invariant/knn"] = 0.9
    assert report.scalars == {"invariant/knn": 0.5}


def test_fields_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Report(3).step = 4
    with pytest.raises(dataclasses.FrozenInstanceError):
        Embedding(torch.zeros(2, 2)).points = None


def test_a_report_travels():
    report = Report(3, {"a": 1.0}, {"raw": Embedding(torch.eye(2), labels=[0, 1])}, messages=["well"])
    for other in (copy.deepcopy(report), pickle.loads(pickle.dumps(report))):
        assert other.messages == ("well",)
        assert torch.equal(other.embeddings["raw"].points, torch.eye(2))
