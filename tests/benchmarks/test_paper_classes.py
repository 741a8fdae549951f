"""The recipes for cells, outlines and volumes from end to end in miniature, and the probes that they share."""

import json

import pytest
import torch

from benchmarks.paper import __main__ as paper
from benchmarks.paper import cells, class_probes, exact_groups, outlines, volumes
from benchmarks.paper.averages import averaged
from benchmarks.paper.sections import Row
from tests.zoo.test_exact_recipes import write_outlines
from tests.zoo.tiny_cells import write_tiny_cells


@pytest.fixture
def small(monkeypatch):
    """Sections at a size that trains in seconds."""
    monkeypatch.setattr(cells, "QUICK", cells.Sizes(192, 48, 1, 150, 80))
    monkeypatch.setattr(cells, "SIDE", 16)
    monkeypatch.setattr(outlines, "EPOCHS", {True: 2})
    monkeypatch.setattr(volumes, "SIZES", {True: (64, 1)})


def measured(recipe, tmp_path, data):
    work = tmp_path / "work"
    arguments = ["--quick", "--recipes", recipe, "--work", str(work), *(["--data-dir", str(data)] if data else [])]
    assert paper.main(arguments) == 0
    folder = work / "quick" / "hub_configs" / recipe
    assert (folder / "encoder" / "config.json").is_file()
    page = (work / "quick" / "docs" / "results.md").read_text()
    assert f"## {recipe}: expected and found" in page
    return folder, json.loads((folder / "results.json").read_text())["tables"]


def test_cells_are_measured(small, tmp_path):
    folder, tables = measured("cells-o2", tmp_path, write_tiny_cells(tmp_path))
    assert {path.name for path in folder.glob("*.png")} - {"latents_umap.png"} == {
        "accuracy_against_labels.png",
        "equivariance_error.png",
        "latents_pca.png",
    }
    full, few = tables[cells.ALL], tables[cells.few_title(20)]
    assert set(full) - set(few) == {"raw, queries as they lie too"}
    assert few[class_probes.BEST]["kNN"]["mean"] > few[class_probes.RAW]["kNN"]["mean"]
    assert "ridge" not in full[class_probes.EXACT]
    exact = tables[cells.KINDS][class_probes.BEST]
    assert exact["as they lie"]["mean"] == exact["quarter turns and flips, exact"]["mean"]
    # Three test groups are too few for an interval.
    assert tables[cells.GAPS]["all labels"]["kNN gap from"]["mean"] == -1
    page = (folder / "README.md").read_text()
    assert "| all labels: the interval of the kNN gap excludes 0 in every seed |" in page


@pytest.mark.parametrize(("recipe", "section"), [("outlines-t32", outlines), ("volumes-cube", volumes)])
def test_exact_groups_are_measured(small, recipe, section, tmp_path):
    data = None
    if section is outlines:
        data = write_outlines(write_outlines(tmp_path / "data"), "ArrowHead")
    folder, tables = measured(recipe, tmp_path, data)
    name = "OSULeaf" if section is outlines else volumes.NAME
    probes, gaps, heads = exact_groups.titles(name)
    certificate = (folder / "encoder" / "certificate.json").read_text()
    assert "cannot be had" not in certificate
    assert tables[heads]["equivariant"][exact_groups.ERROR]["mean"] < exact_groups.HELD
    alone = tables[heads][class_probes.ALONE]
    assert alone["moved"]["mean"] == pytest.approx(alone["as they come"]["mean"], abs=0.05)
    assert 0 <= tables[probes][class_probes.BEST]["kNN"]["mean"] <= 1
    assert tables[gaps]["all labels"]["kNN gap from"]["mean"] < tables[gaps]["all labels"]["kNN gap to"]["mean"]
    assert (folder / "accuracy.png").stat().st_size > 5000


def clouds(seed, count=90, classes=3):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    rows = 5 * torch.nn.functional.one_hot(labels, 6).float() + torch.randn(count, 6, generator=generator)
    return class_probes.Grouped(rows, labels, torch.arange(count) // 9)


def test_balanced_accuracy_weighs_classes_alike():
    truth = torch.tensor([0] * 8 + [1] * 2)
    assert class_probes.balanced(torch.zeros(10, dtype=torch.int64), truth) == 0.5
    assert class_probes.balanced(truth, truth) == 1.0


def test_answers_are_those_of_neighbours_and_ridge():
    bank, queries = clouds(0), clouds(1)
    found = class_probes.answers(bank, queries)
    scores = class_probes.scores(found, queries.labels)
    assert min(scores[name] for name in ("kNN", "ridge", "precision at 10")) > 0.9
    order = torch.cdist(queries.rows, bank.rows).argsort(dim=1)[:, :10]
    assert torch.equal(found.near, bank.labels[order])
    exact = class_probes.answers(bank, queries, "C6: regular")
    assert exact.ridge is None
    # Under cyclic shifts of the six numbers the three classes are one.
    assert class_probes.scores(exact, queries.labels)["kNN"] < 0.7


def test_gaps_have_intervals_over_groups():
    bank, queries = clouds(0), clouds(1)
    good = class_probes.answers(bank, queries)
    bad = class_probes.Answers(queries.labels * 0, queries.labels * 0, None)
    values = class_probes.gap_row("T", "all", good, bad, queries).values
    assert values["kNN gap from"] < values["kNN gap"] < values["kNN gap to"]
    assert values["kNN gap from"] > 0
    few = queries._replace(groups=queries.groups % 2)
    unknown = class_probes.gap_row("T", "all", good, bad, few).values
    assert (unknown["kNN gap from"], unknown["kNN gap to"]) == (-1, 1)


def judged(projected, low, alone):
    scores = (
        (class_probes.RAW, 0.6),
        (class_probes.BEST, projected),
        (class_probes.EXACT, 0.75),
        (class_probes.ALONE, alone),
        (f"{class_probes.ALONE}: {class_probes.BEST}", 0.79),
    )
    rows = [Row(cells.ALL, label, {"kNN": score, "ridge": score}) for label, score in scores]
    gap = {"kNN gap": projected - 0.6, "kNN gap from": low, "kNN gap to": 1.0}
    rows += [Row(cells.GAPS, line, gap) for line in ("all labels", cells.few_title(20))]
    return [claim.holds for claim in cells.expected(averaged({0: rows}))]


def test_what_was_expected_of_cells_is_judged():
    assert judged(0.75, 0.1, 0.795) == [True] * 7
    assert judged(0.64, -0.1, 0.85) == [False] * 7
