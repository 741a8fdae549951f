"""Descriptors from a potential's latents: their maps, shapes of molecules, probes and tables, without the potential."""

import math

import numpy as np
import pytest
import torch

from benchmarks.paper import sevennet_descriptors as paper
from benchmarks.paper.averages import averaged
from benchmarks.paper.potential_latents import LAYERS, REPRESENTATION, AtomLatents, Molecules, asphericity, handedness
from benchmarks.paper.sections import Row
from benchmarks.paper.value_probes import kernel_predictions, ridge_predictions
from lightning_invariant import InvariantEncoder
from lightning_invariant.groups import SO3, Representation
from tests.zoo.molecules import atoms

COUNT = 40


def turned(x, seed=1):
    g = SO3().sample(len(x), torch.Generator().manual_seed(seed)).to(x)
    return torch.cat([x[..., :1], x[..., 1:] @ g.mT], dim=-1)


def test_asphericity_is_that_of_rods_and_balls():
    rod = torch.tensor([[6.0, 0, 0, -2], [6, 0, 0, 0], [6, 0, 0, 2], [0, 9, 9, 9]])
    ball = torch.tensor([[6.0, 1, 1, 1], [6, 1, -1, -1], [6, -1, 1, -1], [6, -1, -1, 1]])
    x = torch.stack([rod, ball])
    assert torch.allclose(asphericity(x), torch.tensor([1.0, 0.0]), atol=1e-6)
    assert torch.allclose(asphericity(turned(x)), asphericity(x), atol=1e-6)


def test_handedness_changes_its_sign_in_a_mirror_alone():
    x = atoms(places=9)
    mirrored = x * torch.tensor([1.0, 1.0, 1.0, -1.0])
    found = handedness(x)
    assert found.abs().min() > 1e-4
    assert torch.allclose(handedness(mirrored), -found, atol=1e-4)
    assert torch.allclose(handedness(turned(x)), found, atol=1e-4)
    assert torch.allclose(handedness(x.flip(1)), found, atol=1e-4)


@pytest.fixture(scope="module")
def latents():
    """Atoms' latents of some molecules, and the same turned, an element a molecule."""
    generator = torch.Generator().manual_seed(0)
    molecule = torch.arange(COUNT).repeat_interleave(3)
    charges = torch.tensor([1, 6, 8]).repeat(COUNT)
    z = [torch.randn(len(molecule), 480, generator=generator) for _ in LAYERS]
    g = SO3().sample(COUNT, generator)[molecule]
    moved = [Representation.parse(REPRESENTATION).transform(part, g) for part in z]
    return [AtomLatents([np.asarray(part) for part in parts], molecule, charges) for parts in (z, moved)]


@pytest.mark.parametrize("name", [*paper.MAPS, *paper.BY_ELEMENT])
def test_maps_do_not_change_when_molecules_turn_and_raw_latents_do(latents, name):
    a, b = (paper._summed(part, 1, name, COUNT) for part in latents)
    change = float((a - b).norm() / a.norm())
    assert change > 0.5 if name == paper.RAW else change < 1e-4


def test_sums_are_over_atoms_and_over_those_of_each_element(latents):
    z = torch.from_numpy(latents[0].layers[0])[:, : paper.SCALARS].unflatten(0, (COUNT, 3))
    assert torch.allclose(paper._summed(latents[0], 0, paper.ONLY, COUNT), z.sum(dim=1), atol=1e-5)
    each = paper._summed(latents[0], 0, f"{paper.ONLY}{paper.EACH}", COUNT).unflatten(1, (len(paper.ELEMENTS), -1))
    assert torch.allclose(each[:, [paper.ELEMENTS.index(z) for z in (1, 6, 8)]], z, atol=1e-5)
    assert not each[:, paper.ELEMENTS.index(7)].any()


def test_controls_are_as_large_as_what_they_control(latents):
    sizes = {name: paper._summed(latents[0], 0, name, COUNT).shape[1] for name in paper.MAPS}
    assert sizes[paper.SMALL] == sizes[paper.NORMS] == 224
    assert sizes[paper.CONTROL] == sizes[paper.POWER] <= paper.SIZE == sizes[paper.BISPECTRUM]


def test_a_seed_gives_finite_errors_for_every_map_and_probe(latents, tmp_path):
    np.savez(
        tmp_path / "features.npz",
        **{f"0 {name}": paper._summed(latents[0], 0, name, COUNT).numpy() for name in (*paper.MAPS, *paper.BY_ELEMENT)},
    )
    generator = torch.Generator().manual_seed(0)
    molecules = Molecules(torch.zeros(COUNT, 3, 4), {paper.ENERGY: torch.randn(COUNT, generator=generator)})
    rows = paper.rows_of(paper.descriptors(molecules, tmp_path), "QM7", 0)
    assert {row.table for row in rows} == {paper.table_of("QM7", probe) for probe in paper.PROBES}
    assert all(math.isfinite(value) for row in rows for value in row.values.values())
    assert {row.fixed["features"] for row in rows if row.label.endswith(f": {paper.ONLY}")} == {paper.SCALARS}


def test_kernel_ridge_finds_what_a_line_cannot():
    x = torch.randn(500, 3, generator=torch.Generator().manual_seed(0))
    y = torch.stack([x[:, 0] * x[:, 1], x[:, 2]], dim=1)
    bank, queries, truth = x[:400], x[400:], y[400:]
    curved, line = kernel_predictions(bank, y[:400], queries), ridge_predictions(bank, y[:400], [queries])[0]
    assert (curved - truth).abs().mean(dim=0).max() < 0.1
    errors = (line - truth).abs().mean(dim=0)
    assert errors[1] < 1e-3 < 0.3 < errors[0]


def test_what_was_expected_is_judged_on_the_tables():
    names = (paper.ONLY, paper.POWER, paper.CONTROL, paper.BISPECTRUM)

    def verdicts(power, control, bispectrum):
        errors = dict(zip(names, (1.0, power, control, bispectrum), strict=True))
        rows = [
            Row(paper.table_of(paper.SETS[target], "kernel ridge"), f"layer {layer}: {name}", {})
            for target in (paper.ENERGY, paper.GAP)
            for layer in LAYERS
            for name in names
        ]
        whole = {
            paper.SETS[target]: [t for t in paper.SETS if paper.SETS[t] == paper.SETS[target]] for target in paper.SETS
        }
        filled = [
            Row(
                row.table,
                row.label,
                {
                    target: (1.0 if name == paper.POWER else error) if target == paper.HANDEDNESS else error
                    for target in whole[row.table.partition(",")[0]]
                },
            )
            for row in rows
            for name, error in errors.items()
            if row.label.endswith(f": {name}")
        ]
        return [claim.holds for claim in paper.expected(averaged({0: filled}))]

    assert verdicts(0.85, 0.9, 0.5) == [True] * 7
    assert verdicts(0.85, 0.8, 0.5) == [True, False] * 3 + [True]
    assert verdicts(0.95, 0.9, 0.9) == [False, False] * 3 + [False]


def test_the_projection_is_published_alone_with_its_base_model(tmp_path):
    errors = {paper.ENERGY: 1.0}
    row = Row(paper.table_of("QM7", "kernel ridge"), f"layer 0: {paper.POWER}", errors)
    paper._export([row], tmp_path / "encoder")
    pulled = InvariantEncoder.from_pretrained(tmp_path / "encoder")
    z = torch.randn(4, 480, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(pulled.projection(z), paper.projection()(z), atol=1e-5)
    assert paper.BASE in (tmp_path / "encoder" / "README.md").read_text()
