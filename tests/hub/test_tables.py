"""What makes a projection invariant follows from its settings, whatever a file says; templates are its own."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lightning_invariant.encoder import InvariantEncoder, export_encoder
from lightning_invariant.encoder.tables import load_tables
from lightning_invariant.errors import ArtifactError
from lightning_invariant.projections import (
    CyclicBispectrum,
    FourierModulus,
    GramRoot,
    MaxFilter,
    OrbitMean,
    Projection,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

C8 = "C8: 1 regular"


def crafted(folder: Path, projection: Projection, change: Callable[[dict[str, Tensor]], object]) -> Path:
    """An export whose projection's tensors were changed, hashes and all."""
    network = nn.Linear(4, projection.representation.size).eval()
    export_encoder(folder, network, projection, torch.randn(2, 4))
    path = folder / "model.safetensors"
    tensors = load_file(path)
    own = {name.removeprefix("projection."): t for name, t in tensors.items() if name.startswith("projection.")}
    change(own)
    save_file(tensors | {f"projection.{name}": t for name, t in own.items()}, path)
    config = json.loads((folder / "config.json").read_text())
    config["files"][path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def put(name: str, value: Callable[[Tensor], Tensor]) -> Callable[[dict[str, Tensor]], object]:
    return lambda tensors: tensors.update({name: value(tensors[name])})


@pytest.mark.parametrize(
    ("projection", "change", "message"),
    [
        (lambda: FourierModulus(C8), put("table_real", torch.randn_like), "features are not invariant"),
        (lambda: MaxFilter(C8), put("products.table0", torch.randn_like), "features are not invariant"),
        (lambda: CyclicBispectrum(C8), put("first", lambda t: t * 0 + 10**9), "'first' that the settings give"),
        (lambda: CyclicBispectrum(C8), put("second", lambda t: t.flip(0)), "'second' that the settings give"),
        (lambda: GramRoot("O3: 4 vectors"), put("triangle.entries", lambda t: t + 2**40), "entries' that the settings"),
        (lambda: MaxFilter(C8), put("products.templates", torch.zeros_like), "not all zero"),
        (
            lambda: MaxFilter(C8),
            put("products.templates", lambda t: t * (torch.arange(len(t)) > 0)[:, None]),
            "whole row",
        ),
        (lambda: MaxFilter(C8), put("products.templates", lambda t: t[:1].repeat(len(t), 1)), "depend on each other"),
        (lambda: MaxFilter(C8), put("products.templates", lambda t: t @ t[:7].mT @ t[:7]), "depend on each other"),
        (lambda: CyclicBispectrum(C8), put("reference", torch.zeros_like), "not all zero"),
        (lambda: MaxFilter(C8), put("products.templates", lambda t: t * float("nan")), "finite numbers"),
        (lambda: FourierModulus(C8), put("table_real", lambda t: t * float("inf")), "finite numbers"),
        (lambda: MaxFilter(C8), put("products.templates", lambda t: t[:, :3].clone()), "of shape"),
    ],
)
def test_tensors_that_break_the_guarantee_are_refused(
    tmp_path: Path, projection: Callable[[], Projection], change: Callable[[dict[str, Tensor]], object], message: str
) -> None:
    folder = crafted(tmp_path / "folder", projection(), change)
    with pytest.raises(ArtifactError, match=message):
        InvariantEncoder.from_pretrained(folder)


def test_other_templates_are_taken_as_they_are(tmp_path: Path) -> None:
    folder = crafted(tmp_path / "folder", MaxFilter(C8), put("products.templates", lambda t: t.roll(1, 0)))
    projection = InvariantEncoder.from_pretrained(folder).projection
    assert torch.equal(projection.get_buffer("products.templates"), MaxFilter(C8).products.templates.roll(1, 0))


def test_another_basis_of_the_same_subspace_is_taken_as_it_is() -> None:
    """As LAPACK may find it on another machine; a basis of another subspace is not."""
    representation = "C4: 1 regular"
    there, here = OrbitMean(representation), OrbitMean(representation)
    state = there.state_dict()
    turned = {"table0": -state["table0"]}
    load_tables(here, turned)
    assert torch.equal(here.get_buffer("table0"), turned["table0"])
    with pytest.raises(ArtifactError, match="not invariant"):
        load_tables(OrbitMean(representation), {"table0": state["table0"].flip(0) * torch.tensor([[1.0, 2, 1, 1]]).T})


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_tables_may_be_rounded_to_the_type_of_the_network(tmp_path: Path, dtype: torch.dtype) -> None:
    network = nn.Linear(4, 8).eval()
    for i, projection in enumerate([FourierModulus(C8), MaxFilter(C8), CyclicBispectrum(C8)]):
        encoder = export_encoder(tmp_path / str(i), network, projection, torch.randn(2, 4))
        encoder.to(dtype).save_pretrained(tmp_path / f"{i}-{dtype}")
        again = InvariantEncoder.from_pretrained(tmp_path / f"{i}-{dtype}")
        for name, tensor in encoder.projection.state_dict().items():
            assert torch.equal(tensor, again.projection.state_dict()[name])
