"""What an author wrote into a README survives every export, whatever it is."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_invariant.artifact.readme import BEGIN, END, for_repository, merged
from tests.hub.small_encoder import MEASURED, export
from tests.hub.test_card import card

THEIRS = """---
license: mit
language: [en]
tags: [physics, equivariance]
model-index:
- name: mine
  results:
  - task: {type: image-classification}
    dataset: {type: digits, name: my own test set}
    metrics: [{type: accuracy, value: 0.5}]
---
# My model

A sentence of my own.
"""


def front(text: str) -> dict:
    return yaml.safe_load(text.split("---")[1])


def test_a_first_card_is_taken_as_it_is() -> None:
    assert merged(card(), None) == merged(card(), " \n") == card()


def test_sections_around_ours_stay_where_they_are() -> None:
    first = card(numbers={})
    edited = first.replace(BEGIN, f"My introduction.\n\n{BEGIN}") + "\n## Limits\n\nNone known.\n"
    text = merged(card(), edited)
    parsed = ModelCard(text)
    assert parsed.text.index("My introduction.") < parsed.text.index(BEGIN)
    assert parsed.text.index(END) < parsed.text.index("## Limits")
    assert "| kNN accuracy | 0.31 | 0.95 |" in text
    assert "Nothing was measured" not in text
    assert text.count(BEGIN) == text.count(END) == 1


def test_a_readme_without_markers_is_kept_whole_and_ours_comes_below() -> None:
    text = merged(card(), THEIRS)
    body = ModelCard(text).text
    assert body.index("A sentence of my own.") < body.index(BEGIN)
    metadata = front(text)
    assert metadata["license"] == "mit"
    assert metadata["language"] == ["en"]
    assert metadata["library_name"] == "lightning-invariant"
    assert set(metadata["tags"]) >= {"physics", "equivariance", "lightning-invariant"}
    assert len(metadata["tags"]) == len(set(metadata["tags"]))
    assert [entry["name"] for entry in metadata["model-index"]] == ["plain", "mine"]
    assert merged(card(), text) == text


def test_our_results_are_replaced_and_the_authors_kept() -> None:
    first = merged(card(numbers={"raw/knn": 0.1, "invariant/knn": 0.2}), THEIRS.replace("name: mine", "name: plain"))
    second = merged(card(numbers={"raw/knn": 0.3, "invariant/knn": 0.4}), first)
    (entry,) = front(second)["model-index"]
    assert [result["metrics"][0]["value"] for result in entry["results"]] == [0.4, 0.5]


@pytest.mark.parametrize(
    "broken",
    [
        "---\n: : :\n  - [\n---\nmy text",
        "---\n- a\n- list\n---\nmy text",
        "---\nlicense: mit\nmy text without an end",
        f"my text {BEGIN} and no end",
        f"my text {END} and no begin",
        f"{BEGIN} my text {BEGIN} twice",
        "my text \u202e 中文 \x07",
        "---\nlicense: mit\nlicense: apache-2.0\n---\nmy text",
        "---\r\nlicense: mit\r\n---\r\nmy text\r\n",
    ],
)
def test_a_broken_readme_loses_nothing_and_gives_a_valid_card(broken: str) -> None:
    text = merged(card(), broken)
    assert "my text" in ModelCard(text).text
    assert ModelCard(text).data.library_name == "lightning-invariant"
    again = merged(card(), text)
    assert "my text" in again
    assert again.count("| kNN accuracy |") == 1
    assert merged(card(), again) == again


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=60), st.booleans())
def test_any_text_around_ours_survives(text: str, before: bool) -> None:
    existing = card().replace(BEGIN, f"{text}\n{BEGIN}") if before else f"{card()}\n{text}"
    found = merged(card(numbers={}), existing)
    assert text.strip() in found
    assert "Nothing was measured" in found


def test_what_the_author_changed_in_the_new_card_comes_before_what_stood_there() -> None:
    new = card().replace(BEGIN, f"Edited before the push.\n\n{BEGIN}")
    text = merged(new, card().replace(BEGIN, f"Older.\n\n{BEGIN}"))
    assert "Edited before the push." in text
    assert "Older." not in text


def test_a_licence_that_is_given_is_ours_and_otherwise_the_authors(tmp_path: Path) -> None:
    export(tmp_path / "folder", license="apache-2.0")
    assert front((tmp_path / "folder" / "README.md").read_text())["license"] == "apache-2.0"
    export(tmp_path / "folder")
    assert front((tmp_path / "folder" / "README.md").read_text())["license"] == "apache-2.0"
    export(tmp_path / "other")
    assert "license" not in front((tmp_path / "other" / "README.md").read_text())


def test_an_export_over_an_earlier_one_keeps_the_authors_text(tmp_path: Path) -> None:
    export(tmp_path / "folder", numbers={})
    path = tmp_path / "folder" / "README.md"
    path.write_text(path.read_text() + "\n## Mine\n")
    export(tmp_path / "folder", numbers=MEASURED, training={"epochs": "3", "optimizer": "SGD|x"})
    assert "## Mine" in path.read_text()
    assert "| kNN accuracy | 0.31 | 0.95 |" in path.read_text()
    assert "| optimizer | SGD\\|x |" in path.read_text()


def test_the_snippet_names_the_repository() -> None:
    text = for_repository(card() + '\n```python\nInvariantEncoder.from_pretrained("mine")\n```\n', "user/name")
    assert 'InvariantEncoder.from_pretrained("user/name")' in text
    assert 'InvariantEncoder.from_pretrained("mine")' in text
    assert "path/or/repository" not in text
