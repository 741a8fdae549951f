"""Configurations and certificates that ask for much, or claim what is not so, are refused before anything is made."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lightning_invariant import InvariantEncoder
from lightning_invariant.artifact.config import CERTIFICATE, CONFIG, WEIGHTS
from lightning_invariant.artifact.files import file_hash
from lightning_invariant.encoder.description import Limited, claims_more
from lightning_invariant.errors import ArtifactError
from lightning_invariant.guarantee import Guarantee, Separation
from lightning_invariant.probes import ridge_fit
from lightning_invariant.projections import Projection
from tests.hub.small_encoder import export

if TYPE_CHECKING:
    from collections.abc import Callable

FEATURES = 16


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    head = ridge_fit(torch.randn(30, FEATURES), torch.arange(30) % 3)
    export(tmp_path / "folder", head=head)
    return tmp_path / "folder"


def edit(folder: Path, change: Callable[[dict[str, Any]], object], name: str = CONFIG) -> None:
    data = json.loads((folder / name).read_text())
    change(data)
    (folder / name).write_text(json.dumps(data))
    if name != CONFIG:
        edit(folder, lambda c: c["files"].update({name: file_hash(folder / name)}))


HUGE = [
    "S10000000000: 8 trivial",
    "Z2^10000000000: 8 trivial",
    "C4 x S10000000000: 8 trivial*trivial",
    "C99999999: 1 regular",
    "S16385: 8 trivial",
    "C4: 99999999999 regular",
    "SO3: 1x999999999",
]


@pytest.mark.parametrize("text", HUGE)
def test_huge_groups_are_refused_within_a_second(folder: Path, text: str) -> None:
    for change in (
        lambda c: c.update(representation=text),
        lambda c: c["projection"].update(representation=text),
        lambda c: c["projection"].update(more=[{"representation": text}]),
        lambda c: c["guarantee"].update(group=text.partition(":")[0] + "9" * 9),
    ):
        kept = (folder / CONFIG).read_bytes()
        edit(folder, change)
        started = time.perf_counter()
        with pytest.raises(ArtifactError):
            InvariantEncoder.from_pretrained(folder)
        assert time.perf_counter() - started < 1
        (folder / CONFIG).write_bytes(kept)
    InvariantEncoder.from_pretrained(folder)


@pytest.mark.parametrize("settings", [{"out_features": 10**7}, {"representation": "C16000: 1 regular"}])
def test_settings_that_need_much_are_refused(folder: Path, settings: dict[str, Any]) -> None:
    edit(folder, lambda c: c["projection"].update(settings))
    edit(folder, lambda c: c["projection"].update(settings), CERTIFICATE)
    with pytest.raises(ArtifactError):
        InvariantEncoder.from_pretrained(folder)


CLAIMS: dict[str, dict[str, Any]] = {
    "distortion": {"distortion": 1.0},
    "lipschitz": {"lipschitz": 1e-9},
    "group": {"group": "O3"},
    "separation": {"separation": "isometric"},
    "long number": {"lipschitz": 10**400},
    "negative": {"lipschitz": -(10**400)},
}


def test_projections_of_many_steps_are_refused() -> None:
    settings = {"name": "Chamber", "representation": "C16384: " + " + ".join(["1 trivial"] * 900)}
    with pytest.raises(ArtifactError, match="at most 100000 operations"), Limited():
        Projection.from_config(settings)


@pytest.mark.parametrize("where", [CONFIG, CERTIFICATE])
@pytest.mark.parametrize("claim", CLAIMS)
def test_a_guarantee_that_does_not_hold_is_refused(folder: Path, claim: str, where: str) -> None:
    edit(folder, lambda data: data["guarantee"].update(CLAIMS[claim]), where)
    with pytest.raises(ArtifactError):
        InvariantEncoder.from_pretrained(folder)


def test_each_entry_of_a_guarantee_is_compared() -> None:
    held = Guarantee("C4", Separation.GENERIC, "sampled", lipschitz=2.0, distortion=3.0, continuous=False)
    assert claims_more(held, held) == []
    weaker = Guarantee("C4", Separation.LOSSY, "sampled", lipschitz=2.5, distortion=None, continuous=False)
    assert claims_more(weaker, held) == []
    more = Guarantee("C5", Separation.BILIPSCHITZ, "exact", lipschitz=1.0, distortion=1.0, continuous=True)
    wrong = ["group", "separation", "invariance", "lipschitz", "distortion", "continuous"]
    assert claims_more(more, held) == wrong


CERTIFICATES: dict[str, Callable[[dict[str, Any]], object]] = {
    "representation": lambda c: c.update(representation="C8: 1 regular"),
    "projection": lambda c: c["projection"].update(seed=7),
    "accuracy": lambda c: c["measured"].update({"invariant/knn": 17}),
    "accuracy by its later name": lambda c: c["measured"].update({"knn": 17}),
    "negative error": lambda c: c["measured"].update({"error": -1.0}),
    "long number": lambda c: c["measured"].update(x=10**400),
    "text": lambda c: c["measured"].update(x="0.9"),
    "list": lambda c: c.update(measured=[1]),
    "none": lambda c: c.pop("measured"),
    "samples": lambda c: c.update(samples={"bank": -1}),
    "versions": lambda c: c.update(versions={"torch": 2}),
}


@pytest.mark.parametrize("name", CERTIFICATES)
def test_a_certificate_that_cannot_be_is_refused(folder: Path, name: str) -> None:
    edit(folder, CERTIFICATES[name], CERTIFICATE)
    with pytest.raises(ArtifactError, match=CERTIFICATE):
        InvariantEncoder.from_pretrained(folder)


def test_a_gap_of_scores_below_zero_may_be_above_one(folder: Path) -> None:
    edit(folder, lambda c: c["measured"].update({"gap/knn": 2.3, "knn_gap": 2.3, "raw/knn": -1.4}), CERTIFICATE)
    InvariantEncoder.from_pretrained(folder)


def set_head(name: str, value: torch.Tensor) -> Callable[[dict[str, torch.Tensor]], object]:
    return lambda tensors: tensors.update({f"head.{name}": value})


HEADS: dict[str, tuple[Callable[[dict[str, torch.Tensor]], object], str]] = {
    "nan": (lambda t: t["head.weight"].fill_(float("nan")), r"head\.weight"),
    "infinite bias": (lambda t: t["head.bias"].fill_(float("inf")), r"head\.bias"),
    "zeros": (lambda t: t["head.weight"].zero_(), r"head\.weight"),
    "half": (set_head("weight", torch.ones(FEATURES, 3, dtype=torch.float16)), r"head\.weight in float32"),
    "integers": (set_head("weight", torch.ones(FEATURES, 3, dtype=torch.int64)), r"head\.weight in float32"),
}


@pytest.mark.parametrize("name", HEADS)
def test_a_head_that_scores_nothing_is_refused(folder: Path, name: str) -> None:
    change, words = HEADS[name]
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS)
    edit(folder, lambda c: c["files"].update({WEIGHTS: file_hash(folder / WEIGHTS)}))
    with pytest.raises(ArtifactError, match=words):
        InvariantEncoder.from_pretrained(folder)


@pytest.mark.parametrize(
    "entry", [{"scale": 0}, {"std": [1e-300]}, {"std": [0.0]}, {"mean": [1e300]}, {"scale": 1e300}, {"std": [10**400]}]
)
def test_a_preprocessing_that_divides_by_nothing_is_refused(folder: Path, entry: dict[str, Any]) -> None:
    plain = {"size": None, "scale": 1.0, "mean": [0.0], "std": [1.0]}
    edit(folder, lambda c: c.update(preprocessing=plain))
    InvariantEncoder.from_pretrained(folder)
    edit(folder, lambda c: c.update(preprocessing=plain | entry))
    with pytest.raises(ArtifactError, match="size, scale, mean and std"):
        InvariantEncoder.from_pretrained(folder)


def test_a_half_encoder_with_a_head_is_saved_and_loads(folder: Path, tmp_path: Path) -> None:
    encoder = InvariantEncoder.from_pretrained(folder, dtype="float16")
    encoder.save_pretrained(tmp_path / "half")
    again = InvariantEncoder.from_pretrained(tmp_path / "half")
    assert again.dtype == torch.float16
    assert again.head is not None
    x = torch.randn(2, 1, 6, 6).half()
    assert again.classify(x).labels == encoder.classify(x).labels
