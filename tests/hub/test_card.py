"""The model card: valid for the Hub's client whatever its names hold, and true where it shows code."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch
import yaml
from huggingface_hub import ModelCard

from lightning_invariant.artifact.card import Card, model_card
from lightning_invariant.guarantee import Guarantee, Separation
from lightning_invariant.projections import MaxFilter
from tests.hub.small_encoder import MEASURED, export, images

NASTY = [
    "plain",
    "colon: and 'quotes' and \"double\"",
    "two\nlines\r\n---\nlicense: mit",
    "---",
    "# heading | `code` *bold* <script>alert(1)</script> [link](x) ![image](y)",
    "{braces: [1, 2]}",
    "!!python/object/apply:os.system ['true']",
    "&anchor *alias",
    "中文 \u202e \u0000 \x07 é 🦜",
    "null",
    "0.5",
    "   ",
    "x" * 1000,
]


def card(name: str = "plain", numbers: dict[str, float] = MEASURED, representation: str = "C4: 2 regular") -> str:
    description = {
        "inputs": [{"shape": ["batch", 1, 6, 6], "dtype": "float32"}],
        "network": {"kind": "graph"},
        "preprocessing": None,
        "head": None,
        "latent_size": 8,
        "features": 16,
        "representation": representation,
        "projection": {"name": "MaxFilter"},
    }
    guarantee = Guarantee("C4", Separation.GENERIC, source="a <b> & c | d", note="max_g <rho(g) z, t>")
    projection = MaxFilter("C4: 2 regular")
    projection.guarantee, projection.reason = guarantee, "Chosen: it's *short*."
    return model_card(Card(name), description, projection, numbers, {"torch": "2"})


@pytest.mark.parametrize("name", NASTY)
def test_any_name_gives_a_valid_card(name: str) -> None:
    text = card(name)
    parsed = ModelCard(text)
    shown = parsed.data.model_name
    assert isinstance(shown, str)
    assert shown.strip()
    assert len(shown) <= 200
    assert shown.isprintable()
    assert shown.split() == "".join(c if c.isprintable() or c.isspace() else "" for c in name)[:200].split() or (
        name.strip() == "" and shown == "encoder"
    )
    assert parsed.data.license is None
    assert parsed.data.library_name == "lightning-invariant"
    assert yaml.safe_load(re.findall(r"^---\n(.*?)\n---$", text, re.S | re.M)[0])["model-index"][0]["name"] == shown
    titles = [line for line in parsed.text.splitlines() if line.startswith("#")]
    assert [title.partition(" ")[0] for title in titles] == ["#", "##", "##"]
    assert not re.search(r"(?<!\\)<script", parsed.text)


@pytest.mark.parametrize("representation", ["C4: `x`", "a``b`c", "two\nlines | pipe", "Matrices[[[0,-1],[1,0]]]: 1 x"])
def test_any_representation_stays_one_code_span(representation: str) -> None:
    line = next(line for line in card(representation=representation).splitlines() if line.startswith("- Latent: "))
    found = re.fullmatch(r"- Latent: (`+)( ?)(.*)\2\1", line)
    assert found
    assert found[3] == " ".join(representation.split())
    assert found[1] not in re.findall("`+", found[3])


def test_special_characters_of_sentences_are_escaped() -> None:
    text = card()
    assert r"a \<b\> \& c \| d" in text
    assert r"max\_g \<rho(g) z, t\>" in text
    assert r"it's \*short\*" in text


def test_metadata_holds_plain_finite_numbers() -> None:
    numbers = {"raw/knn": 0.3, "invariant/knn": torch.tensor(0.95), "raw/linear": 0.2, "invariant/linear": math.nan}
    text = card(numbers=numbers)  # pyright: ignore[reportArgumentType]
    results = ModelCard(text).data.eval_results
    assert results is not None
    assert [(result.metric_name, result.metric_value) for result in results] == [("kNN accuracy", 0.95)]
    assert "!!python" not in text
    assert not re.search(r"\bnan\b", text, re.IGNORECASE)


def test_table_shows_what_was_measured() -> None:
    assert "| kNN accuracy | 0.31 | 0.95 |\n| invariance error | 0.8 | 3e-07 |" in card()
    assert "linear probe" not in card()
    text = card(numbers={"raw/knn": 0.3, "raw/error": math.inf, "invariant/error": 1.0})
    assert "Nothing was measured before this export." in text
    assert "|---|" not in text
    assert ModelCard(text).data.eval_results is None


def test_scores_of_values_are_not_called_accuracies() -> None:
    numbers = {"raw/knn": -1.5, "invariant/knn": 0.8, "raw/knn_mae": 3.0, "invariant/knn_mae": 1.0}
    shown = card(numbers=numbers)
    assert "| kNN R² | -1.5 | 0.8 |" in shown
    assert "accuracy" not in shown
    assert "type: r_squared" in shown


def test_the_picture_is_shown_where_there_is_one(tmp_path: Path) -> None:
    export(tmp_path / "folder", figure=b"picture")
    assert "](embeddings.png)" in (tmp_path / "folder" / "README.md").read_text()
    export(tmp_path / "folder")
    assert "embeddings.png" not in (tmp_path / "folder" / "README.md").read_text()


def test_the_snippet_of_an_exported_card_runs(tmp_path: Path) -> None:
    export(tmp_path / "folder")
    text = ModelCard.load(tmp_path / "folder" / "README.md").text
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    assert '"path/or/repository"' in code
    names: dict = {}
    exec(code.replace("path/or/repository", str(tmp_path / "folder")), names)
    assert names["features"].shape == (2, 16)
    assert names["latents"].shape == (2, 8)
    assert torch.equal(names["encoder"](images(2)), names["encoder"].projection(names["encoder"].latent(images(2))))


def test_the_snippet_of_integer_inputs_runs(tmp_path: Path) -> None:
    from lightning_invariant.encoder import export_encoder
    from tests.hub.test_export import Tokens

    export_encoder(
        tmp_path / "folder", Tokens().eval(), MaxFilter("C4: 2 regular"), torch.zeros(2, 5, dtype=torch.long)
    )
    text = ModelCard.load(tmp_path / "folder" / "README.md").text
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    names: dict = {}
    exec(code.replace("path/or/repository", str(tmp_path / "folder")), names)
    assert names["x"].dtype == torch.int64


def test_the_score_of_several_labels_is_called_what_it_is(tmp_path: Path) -> None:
    export(tmp_path / "folder", numbers={"raw/knn": 0.2, "invariant/knn": 0.7, "head/map": 0.8}, targets="labels")
    text = (tmp_path / "folder" / "README.md").read_text()
    assert "| kNN mean average precision | 0.2 | 0.7 |" in text
    assert "accuracy" not in text
    results = ModelCard(text).data.eval_results
    assert [(r.metric_type, r.metric_name) for r in results] == [
        ("mean_average_precision", "kNN mean average precision")
    ]
