"""The paper's command on a set of a few images: tables, means, going on after an interruption."""

import json
import math
from pathlib import Path

import pytest

from tests.zoo.tiny_mnist import write_tiny_mnist

RECIPE = "rotated-mnist-c8"


@pytest.fixture
def paper(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2])
    import benchmarks.paper.__main__ as command

    return command


@pytest.fixture
def small(monkeypatch, paper):
    """Sections at a size that trains in seconds."""
    from benchmarks.paper import augmented, hidden_layer, rotated_mnist, rotated_mnist_d4, turned_digits

    for module in (rotated_mnist, rotated_mnist_d4):
        monkeypatch.setattr(module, "QUICK", turned_digits.Sizes(64, 1, 40, 40, 60))
    monkeypatch.setattr(rotated_mnist, "SIZES", (16,))
    monkeypatch.setattr(rotated_mnist, "BEST", "MaxFilter 16")
    monkeypatch.setattr(hidden_layer, "EPOCHS", 2)
    monkeypatch.setattr(augmented, "QUICK", augmented.Sizes(64, 1, 1, 40, 40, 60))
    monkeypatch.setattr(augmented, "SAMPLES", (1, 4))
    monkeypatch.setattr(augmented, "NETWORKS", dict(list(augmented.NETWORKS.items())[:2]))
    return paper


class Counted:
    """A section that counts its runs and stops at one seed."""

    TITLE, NOTES = "Counted", ["a note"]

    def __init__(self, row):
        self.row, self.ran, self.stop = row, [], None

    def run(self, data_dir, seed, quick, folder):
        if seed == self.stop:
            raise KeyboardInterrupt
        self.ran.append(seed)
        return [self.row("T", "one", {"score": float(seed)}, {"size": 3}), self.row("T", "two", {"other": 1.0})]


@pytest.fixture
def counted(monkeypatch, paper):
    from benchmarks.paper import publishing, quoting, recipe_card, sections

    found = Counted(sections.Row)
    for module in (paper, publishing, quoting, recipe_card):
        monkeypatch.setattr(module, "section", lambda name: found)
    return found


def test_an_interrupted_run_goes_on_where_it_stopped(paper, counted, tmp_path):
    arguments = ["--recipes", RECIPE, "--work", str(tmp_path / "work"), "--out", str(tmp_path / "out")]
    counted.stop = 2
    with pytest.raises(KeyboardInterrupt):
        paper.main([*arguments, "--seeds", "0", "1", "2"])
    counted.stop = None
    assert paper.main([*arguments, "--seeds", "0", "1", "2"]) == 0
    assert counted.ran == [0, 1, 2]
    assert paper.main([*arguments, "--seeds", "1", "--fresh"]) == 0
    assert counted.ran == [0, 1, 2, 1]


def test_the_tables_give_means_intervals_and_conditions(paper, counted, tmp_path):
    data = tmp_path / "secret place"
    data.mkdir()
    arguments = [
        "--recipes",
        RECIPE,
        "--work",
        str(tmp_path / "work"),
        "--out",
        str(tmp_path),
        "--seeds",
        "1",
        "2",
        "3",
    ]
    assert paper.main([*arguments, "--data-dir", str(data)]) == 0
    text = (tmp_path / "docs" / "results.md").read_text()
    assert "| one | 3 | 2.000 ± 2.5 |  |" in text  # t(0.975, 2) = 4.303 times 1 / sqrt(3)
    assert "| two |  |  | 1.000 ± 0 |" in text
    assert "| seeds | 1 2 3 |" in text
    assert "--data-dir FOLDER" in text
    assert "secret place" not in text
    results = json.loads((tmp_path / "hub_configs" / RECIPE / "results.json").read_text())
    assert results["tables"]["T"]["one"]["score"]["values"] == [1.0, 2.0, 3.0]
    assert "FOLDER" in results["conditions"]["command"]


def test_the_interval_is_that_of_scipy(paper):
    stats = pytest.importorskip("scipy.stats")
    from benchmarks.paper.averages import mean_of

    values = [0.91, 0.94, 0.92, 0.97]
    low, high = stats.t.interval(0.95, 3, loc=sum(values) / 4, scale=stats.sem(values))
    assert mean_of(values).half == pytest.approx((high - low) / 2)
    assert mean_of([0.5]).half is None


@pytest.mark.parametrize(("values", "message"), [({"x": math.nan}, "finite numbers"), ({"y": 1.0}, "every seed")])
def test_numbers_that_cannot_be_averaged_are_refused(paper, values, message):
    from benchmarks.paper.averages import averaged
    from benchmarks.paper.sections import Row

    with pytest.raises(ValueError, match=message):
        averaged({0: [Row("T", "one", {"x": 1.0})], 1: [Row("T", "one", values)]})


def test_a_folder_that_is_not_there_is_refused_before_anything_runs(paper, counted, tmp_path, capsys):
    assert paper.main(["--data-dir", str(tmp_path / "none"), "--work", str(tmp_path / "w")]) == 2
    assert "Expected a folder with the data" in capsys.readouterr().err
    assert counted.ran == []
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize("recipe", [RECIPE, "rotated-mnist-d4", "augmented-cnn"])
def test_a_recipe_is_measured_from_end_to_end(small, recipe, tmp_path):
    data = write_tiny_mnist(tmp_path, training=130, testing=40)
    arguments = ["--quick", "--recipes", recipe, "--data-dir", str(data), "--work", str(tmp_path / "work")]
    assert small.main(arguments) == 0
    out = tmp_path / "work" / "quick"
    text = (out / "docs" / "results.md").read_text()
    assert text.count("| yes |") + text.count("| NO |") in (2, 3, 4)
    tables = json.loads((out / "hub_configs" / recipe / "results.json").read_text())["tables"]
    scores = [
        line[name]["mean"] for table in tables.values() for line in table.values() for name in line if name == "kNN"
    ]
    assert len(scores) >= 6
    assert all(0 <= score <= 1 for score in scores)
    assert (out / "hub_configs" / recipe / "encoder" / "config.json").is_file()
    drawn = {path.name for path in (out / "hub_configs" / recipe).glob("*.png")} - {"latents_umap.png"}
    assert len(drawn) == (2 if recipe == "rotated-mnist-d4" else 3)
    assert "latents_pca.png" in drawn
    if recipe != "augmented-cnn":
        held = tables["The symmetry that holds"]["error at most 0.001"]["elements that hold"]["mean"]
        assert held == 8 if recipe == "rotated-mnist-d4" else held in (4, 8)
        assert "| 90° |" in text
    else:
        table = tables["CNN, trained on turned digits"]
        assert "residual" in table["mean of 4"]
        assert "residual" not in table["mean of 1"]


def test_the_place_of_the_data_is_told_in_no_spelling(paper, counted, tmp_path):
    data = tmp_path / "secret"
    data.mkdir()
    places = ["--work", str(tmp_path / "work"), "--out", str(tmp_path / "out")]
    assert paper.main(["--recipes", RECIPE, "--seeds", "1", f"--data-dir={data}", *places]) == 0
    for path in (tmp_path / "out").rglob("*.*"):
        assert "secret" not in path.read_text(), path


def test_what_one_recipe_lacks_does_not_keep_the_others(paper, counted, monkeypatch, tmp_path, capsys):
    from lightning_invariant.errors import InvariantError

    arguments = ["--work", str(tmp_path / "work"), "--out", str(tmp_path), "--seeds", "1"]
    assert paper.main(["--recipes", "molecules-o3", *arguments]) == 0
    run = counted.run

    def fail(data_dir, seed, quick, folder):
        if "augmented" in str(folder):
            raise InvariantError("Expected a file but got none.")
        return run(data_dir, seed, quick, folder)

    monkeypatch.setattr(counted, "run", fail)
    assert paper.main(["--recipes", "augmented-cnn", RECIPE, *arguments]) == 2
    assert "augmented-cnn was not measured. Expected a file" in capsys.readouterr().err
    text = (tmp_path / "docs" / "results.md").read_text()
    assert f"## {RECIPE}: T" in text
    assert "## molecules-o3: T" in text
    assert "## augmented-cnn" not in text


def test_conditions_are_those_under_which_seeds_were_measured(paper, tmp_path):
    from benchmarks.paper.store import Store

    store = Store(tmp_path, quick=False)
    for seed, gpu in enumerate(("none", "H200", "none")):
        store.save(RECIPE, seed, [], {"gpu": gpu, "python": "3.12"})
    assert store.conditions(RECIPE, [0, 1, 2]) == {"gpu": "none; H200", "python": "3.12"}
    assert store.conditions(RECIPE, [1, 7]) == {"gpu": "H200", "python": "3.12"}


def test_an_unknown_recipe_is_refused(paper):
    from benchmarks.paper.sections import section

    with pytest.raises(ValueError, match="rotated-mnist-c8"):
        section("nothing")


def test_what_was_expected_is_judged_on_means(paper):
    from benchmarks.paper import rotated_mnist
    from benchmarks.paper.averages import averaged
    from benchmarks.paper.sections import Row

    def claims(projected):
        scores = {
            rotated_mnist.BEST: projected,
            "raw": 0.5,
            "exact quotient metric": 0.9,
            "invariant by itself": 0.95,
            f"{rotated_mnist.LINEAR} 1024": 0.93,
        }
        rows = [Row(rotated_mnist.UPRIGHT, label, {"kNN": score}) for label, score in scores.items()]
        return [claim.holds for claim in rotated_mnist.expected(averaged({0: rows}))]

    assert claims(0.94) == [True, True, True, True]
    assert claims(0.90) == [True, True, False, False]
    assert claims(0.70) == [False, False, False, False]


PAGE = "# Page\n\nBefore.\n\n{start}\nold\n{end}\n\nAfter 0.5.\n"


@pytest.fixture
def quoted(counted):
    from benchmarks.paper import quoting
    from benchmarks.paper.sections import Headline

    counted.headline = lambda tables: [Headline("score", 0.25, tables[0].cell("one", "score"))]
    return quoting


def test_pages_quote_what_the_command_wrote(paper, quoted, counted, tmp_path):
    page = tmp_path / "hub_configs" / "README.md"
    page.parent.mkdir()
    page.write_text(PAGE.format(start=quoted.START, end=quoted.END))
    untouched = tmp_path / "README.md"
    untouched.write_text("# No marks\n")
    arguments = ["--recipes", RECIPE, "--work", str(tmp_path / "work"), "--out", str(tmp_path)]
    assert paper.main([*arguments, "--seeds", "0", "1", "2"]) == 0
    text = page.read_text()
    assert f"| {RECIPE} | score | 0.25 | 1.000 ± 2.5 |" in text
    assert "Full run, means of 3 seeds" in text
    assert "old" not in text
    assert text.startswith("# Page\n\nBefore.\n")
    assert text.endswith("After 0.5.\n")
    assert untouched.read_text() == "# No marks\n"
    assert paper.main([*arguments, "--seeds", "0", "1", "2"]) == 0
    assert page.read_text() == text
    page.write_text(PAGE.format(start=quoted.START, end=quoted.END))
    counted.ran.clear()
    assert paper.main(["--pages", "--fresh", *arguments]) == 0
    assert page.read_text() == text
    assert counted.ran == []


@pytest.mark.parametrize("marks", ["{start}", "{end}", "{end}{start}", "{start}{end}{start}{end}"])
def test_a_page_with_half_of_the_marks_is_left_alone(quoted, tmp_path, marks):
    page = tmp_path / "README.md"
    page.write_text(marks.format(start=quoted.START, end=quoted.END))
    with pytest.raises(ValueError, match="mend the page"):
        quoted.write_quotes(tmp_path)
    assert page.read_text() == marks.format(start=quoted.START, end=quoted.END)


def test_the_pages_here_quote_the_results_here(paper):
    from benchmarks.paper.quoting import END, LISTED, LISTED_END, PAGES, START, listed, quoted

    root = Path(__file__).parents[2]
    for name, most in PAGES.items():
        lines = "\n".join(quoted(root, most))
        assert lines.count("| rotated-mnist-c8 |") == 1
        assert most is None or lines.count("\n| ") <= most + 1
        assert f"{START}\n\n{lines}\n\n{END}" in (root / name).read_text(encoding="utf-8"), name
    lines = "\n".join(listed(root))
    page = (root / "hub_configs" / "README.md").read_text(encoding="utf-8")
    assert f"{LISTED}\n\n{lines}\n\n{LISTED_END}" in page
    results = (root / "docs" / "results.md").read_text(encoding="utf-8")
    assert "\n".join(quoted(root)) in results


def test_recipes_are_listed_by_the_first_sentence_of_their_file(paper, tmp_path):
    from benchmarks.paper.quoting import listed

    folder = tmp_path / "hub_configs" / "one"
    (folder / "encoder").mkdir(parents=True)
    (folder / "recipe.yaml").write_text("# A network\n# on data.\n# Run it: now\nmodel: x\n# later\n")
    config = {"representation": "C4: 2 regular", "projection": {"name": "MaxFilter"}, "features": 16}
    (folder / "encoder" / "config.json").write_text(json.dumps(config))
    (tmp_path / "hub_configs" / "two").mkdir()
    (tmp_path / "hub_configs" / "two" / "recipe.yaml").write_text("# Another.\n")
    assert listed(tmp_path)[2:] == [
        "| [one](one/recipe.yaml) | A network on data | `C4: 2 regular` | MaxFilter | 16 |",
        "| [two](two/recipe.yaml) | Another |  |  |  |",
    ]


def test_one_page_quotes_one_figure_a_recipe(quoted, counted, tmp_path):
    from benchmarks.paper.sections import SECTIONS, Headline

    counted.headline = lambda tables: [Headline("first", 1, 2), Headline("second", 3, 4)]
    for recipe in SECTIONS:
        folder = tmp_path / "hub_configs" / recipe
        folder.mkdir(parents=True)
        content = {"tables": {}, "conditions": {"seeds": "0", "run": "full"}}
        (folder / "results.json").write_text(json.dumps(content))
    rows = [line for line in quoted.quoted(tmp_path, 3) if "first" in line or "second" in line]
    assert [line.split(" | ")[1] for line in rows] == ["first"] * 3
    assert len([line for line in quoted.quoted(tmp_path) if "| second |" in line]) == len(SECTIONS)
