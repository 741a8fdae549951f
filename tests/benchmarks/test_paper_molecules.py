import math

import pytest
import torch
from safetensors.torch import save_model

from benchmarks.paper import graph_latents, molecules_o3, molecules_permutation, molecules_permutation_8
from benchmarks.paper.averages import averaged
from benchmarks.paper.hidden_layer import mlp_values
from benchmarks.paper.molecule_checks import Graphs, changes, smiles_of, tells_apart
from benchmarks.paper.molecule_maps import JOINT
from benchmarks.paper.molecule_pictures import principal
from benchmarks.paper.publishing import PICTURES, write_recipe
from benchmarks.paper.recipes import WEIGHTS, export_trained
from benchmarks.paper.sections import Row
from benchmarks.paper.value_probes import forest_predictions, knn_predictions, ridge_predictions
from lightning_invariant import InvariantEncoder
from lightning_invariant.hub.download import EXPORT
from lightning_invariant.probes import mae, r2
from lightning_invariant.zoo.atomisation_energy import AtomisationEnergy
from lightning_invariant.zoo.graph_vae import GraphVae, labels_of
from lightning_invariant.zoo.molecule_graphs import graphs_of
from lightning_invariant.zoo.vector_network import VectorEncoder
from tests.zoo.molecules import SMILES, atoms, write_qm7, write_qm9

NEEDS_RDKIT = "RDKit checks molecules; install lightning-invariant[molecules]"


def sets(count, places, seed):
    x = atoms(count, places, seed)
    return x, -100.0 * (x[..., 0] > 0).sum(dim=1) - x[..., 1:].norm(dim=-1).sum(dim=1)


@pytest.fixture(scope="module")
def o3_rows():
    torch.manual_seed(0)
    network = AtomisationEnergy(3, 2, 8, 1).eval()
    network.encoder = VectorEncoder(atoms=7, scalars=3, vectors=2, width=8, layers=1, radial=6).eval()
    rows = molecules_o3.rows_of(network, sets(60, 7, 0), sets(20, 7, 1), 0)
    return {row.label: row for row in rows}


def test_projected_errors_do_not_change_when_molecules_move_and_raw_ones_do(o3_rows):
    projected = [row for row in o3_rows.values() if row.table == molecules_o3.TABLE and "atom" in row.label]
    (rounded,) = [row for row in projected if "float32" in row.label]
    assert len(projected) == 12
    for row in projected:
        single = row is rounded
        assert row.values["relative change of ridge"] < (1e-3 if single else 1e-6), row.label
        assert row.values["relative change of kNN"] < (1 if single else 1e-6), row.label
        assert row.values["moved error of the features"] < (1e-4 if single else 1e-9), row.label
    exact = o3_rows[JOINT].values["moved error of the features"]
    assert rounded.values["moved error of the features"] > 1e3 * exact
    assert o3_rows["raw latents"].values["moved error of the features"] > 0.5
    assert o3_rows["raw latents"].values["relative change of ridge"] > 0.01


def test_the_encoder_is_equivariant_under_every_kind_of_motion(o3_rows):
    errors = [row.values[molecules_o3.ERROR] for row in o3_rows.values() if row.table == molecules_o3.EQUIVARIANCE]
    assert len(errors) == 4
    assert max(errors) < 1e-5


def test_the_bispectrum_of_three_vectors_is_the_power_spectrum(o3_rows):
    """As the notes under the table say."""
    spectra = [o3_rows[f"{name} of the sum over atoms"] for name in ("bispectrum", "power spectrum")]
    assert spectra[0].fixed["features"] == spectra[1].fixed["features"]


def test_pictures_are_drawn_from_rows(o3_rows, tmp_path):
    paths = molecules_o3.draw({0: list(o3_rows.values())}, tmp_path)
    assert len(paths) == 2
    assert all(path.stat().st_size > 5000 for path in paths)


def test_what_was_expected_is_judged_on_the_tables():
    columns = {molecules_o3.STILL: 3.0, "ridge": 3.0}
    lines = {molecules_o3.COMPOSITION: {"ridge": 15.0, molecules_o3.STILL: 15.0}, JOINT: columns}
    for moved, verdict in ((3.0, [True, True]), (3.1, [True, False]), (8.0, [False, False])):
        columns["ridge"] = moved
        tables = averaged({0: [Row(molecules_o3.TABLE, label, dict(values)) for label, values in lines.items()]})
        assert [claim.holds for claim in molecules_o3.expected(tables)] == verdict


@pytest.mark.parametrize("section", [molecules_permutation, molecules_permutation_8])
def test_what_was_expected_of_the_auto_encoders_is_judged_on_the_tables(section):
    projected, brought = section.SETTING.projected, section.SETTING.brought
    columns = [f"{name}, {probe}" for name in ("gap", "logP", "weight") for probe in graph_latents.PROBES]

    def verdicts(better, rebuilt, valid):
        lines = (("raw", 0.5), (projected, 0.5 + better))
        rows = [Row(graph_latents.PROPERTIES, label, dict.fromkeys(columns, value)) for label, value in lines]
        rows += [Row(graph_latents.DECODING, "raw", {graph_latents.REBUILT: rebuilt})]
        rows += [Row(graph_latents.DECODING, brought, {graph_latents.SAME: 1.0})]
        rows += [
            Row(graph_latents.PATHS, label, {graph_latents.VALID: v}) for label, v in (("raw", 0.1), (brought, valid))
        ]
        return [claim.holds for claim in section.expected(averaged({0: rows}))]

    assert verdicts(0.3, section.REBUILT, section.VALID) == [True] * 6
    assert verdicts(0.1, section.REBUILT - 0.01, section.VALID - 0.01) == [False, False, True, False, False, False]


def test_probes_find_what_a_line_hides():
    x = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    y = 10 + 3 * x[:, 0]
    bank, query, truth = x[:200], x[200:], y[200:]
    assert mae(ridge_predictions(bank, y[:200], [query])[0].float(), truth) < 1e-3
    for predictions in (
        knn_predictions(bank, y[:200], [query]),
        mlp_values(bank, y[:200], [query], 0),
        forest_predictions(bank, y[:200], [query], 0),
    ):
        assert r2(predictions[0].float(), truth) > 0.6
        assert r2(predictions[0].float().roll(1), truth) < 0.5


@pytest.fixture(scope="module", params=[molecules_permutation, molecules_permutation_8])
def auto_encoder(request):
    """A section, an untrained network, and some molecules."""
    pytest.importorskip("rdkit", reason=NEEDS_RDKIT)
    torch.manual_seed(0)
    size = 1 if request.param is molecules_permutation else 8
    network, (x, _) = GraphVae(width=8, layers=1, size=size).eval(), graphs_of(SMILES)
    columns = (x, *(torch.rand(len(x), generator=torch.Generator().manual_seed(i)) for i in range(3)))
    return request.param, network, columns


@pytest.fixture(scope="module")
def permutation_rows(auto_encoder):
    section, network, columns = auto_encoder
    names = ["gap", "logP", "weight"]
    return section, graph_latents.rows_of(section.SETTING, network, columns, columns, names, 0, pairs=5)


def test_other_orders_of_the_nodes_lose_nothing_of_what_is_decoded(permutation_rows):
    section, rows = permutation_rows
    table, brought = graph_latents.DECODING, section.SETTING.brought
    (line,) = [row for row in rows if (row.table, row.label) == (table, brought)]
    assert line.values["same graph as from raw latents"] == 1
    assert line.values["same SMILES as from raw latents"] == 1


def test_paths_between_orbits_are_not_longer(permutation_rows, tmp_path):
    section, rows = permutation_rows
    lines = {row.label: row.values for row in rows if row.table == graph_latents.PATHS}
    assert lines[section.SETTING.brought]["length of a path"] < lines["raw"]["length of a path"]
    for line in lines.values():
        parts = line["steps that repeat an end's molecule"] + line["new molecules"]
        assert parts == pytest.approx(line[graph_latents.VALID])
    (path,) = section.draw({0: rows}, tmp_path)
    assert path.stat().st_size > 5000


def test_shares_of_a_path_are_counted_on_inner_steps(auto_encoder, monkeypatch):
    """Five points: an end, the same molecule, another one, none, the other end."""
    section, network, columns = auto_encoder
    texts = iter([["CC"], ["CC"], ["CO"], [""], ["CN"]] * 2)
    monkeypatch.setattr(graph_latents, "STEPS", 4)
    monkeypatch.setattr(graph_latents, "smiles_of", lambda graphs: next(texts))
    generator = torch.Generator().manual_seed(0)
    asked = graph_latents._moved(network, columns, ["gap", "logP", "weight"], generator)
    for row in graph_latents._paths(section.SETTING, network, asked, 1, generator):
        assert row.values[graph_latents.VALID] == pytest.approx(2 / 3)
        assert row.values["steps that repeat an end's molecule"] == pytest.approx(1 / 3)
        assert row.values["new molecules"] == pytest.approx(1 / 3)
        assert row.values["valid among the others"] == 0.5


def test_principal_components_say_what_they_explain():
    z = torch.randn(4000, 9, generator=torch.Generator().manual_seed(0)) * torch.tensor([3.0, 2.0, *[0.0] * 7])
    placed = principal(z)
    assert placed.explained.tolist() == pytest.approx([9 / 13, 4 / 13], abs=0.03)
    assert placed.points.var(dim=0).tolist() == pytest.approx([9, 4], rel=0.1)


def test_pictures_of_a_seed_go_beside_the_others(permutation_rows, tmp_path):
    section, found = permutation_rows
    kept = tmp_path / "seed" / PICTURES
    kept.mkdir(parents=True)
    (kept / "interpolation.png").write_bytes(b"picture")
    rows = {0: found}
    about = {"command": "python -m benchmarks.paper", "run": "quick", "seeds": "0"}
    folder = write_recipe(tmp_path, section.RECIPE, rows, tmp_path / "seed", about)
    assert (folder / "interpolation.png").read_bytes() == b"picture"
    assert {path.name for path in folder.iterdir()} == {
        "README.md",
        "interpolation.png",
        "properties.png",
        "results.json",
    }
    card = (folder / "README.md").read_text()
    assert card.index("](properties.png)") < card.index("](interpolation.png)")
    assert "| yes |" in card
    assert "from_pretrained" not in card


def test_smiles_of_graphs_are_those_they_came_from():
    chem = pytest.importorskip("rdkit.Chem", reason=NEEDS_RDKIT)
    graphs, kept = graphs_of(SMILES)
    expected = [chem.MolToSmiles(chem.MolFromSmiles(SMILES[i])) for i in kept]
    truth = Graphs(*labels_of(graphs))
    assert smiles_of(truth) == expected
    index = torch.stack([torch.randperm(9) for _ in kept])
    assert smiles_of(truth.ordered(index)) == expected


def test_what_is_no_molecule_has_no_smiles():
    pytest.importorskip("rdkit", reason=NEEDS_RDKIT)
    atoms_, bonds = torch.zeros(3, 9, dtype=torch.int64), torch.zeros(3, 9, 9, dtype=torch.int64)
    atoms_[0, :2] = 1  # two pieces
    atoms_[1, :3] = 4  # fluorine with two bonds
    bonds[1, 0, 1] = bonds[1, 1, 0] = bonds[1, 1, 2] = bonds[1, 2, 1] = 1
    assert smiles_of(Graphs(atoms_, bonds)) == ["", "", ""]


def test_nodes_alike_with_other_neighbours_cannot_be_rebuilt():
    bonds = torch.zeros(3, 9, 9, dtype=torch.int64)
    for row, pairs in enumerate([[(0, 1), (1, 2), (2, 3)], [(0, 1), (0, 2)], [(0, 1), (1, 2), (2, 3)]]):
        for i, j in pairs:
            bonds[row, i, j] = bonds[row, j, i] = 1
    z = torch.arange(9.0).repeat(3, 1)
    z[0, 3], z[0, 2], z[1, 2] = z[0, 0], z[0, 1], z[1, 1]  # a chain of four by its symmetry, a fork by its own
    assert tells_apart(z, Graphs(torch.ones(3, 9, dtype=torch.int64), bonds)).tolist() == [False, True, True]


def test_changes_count_nodes_and_bonds_along_a_path():
    none, one = torch.zeros(1, 9, dtype=torch.int64), torch.zeros(1, 9, 9, dtype=torch.int64)
    both, bond = none.clone(), one.clone()
    both[0, :2], bond[0, 0, 1] = 1, 2
    assert changes([Graphs(none, one), Graphs(both, one), Graphs(both, bond)]).tolist() == [[2, 1]]
    assert not changes([Graphs(both, bond)] * 3).any()


TINY = {"trainer.max_epochs": 1, "trainer.callbacks": [], "model.width": 8, "model.layers": 1}


def test_a_run_trains_from_the_recipe(tmp_path, monkeypatch):
    monkeypatch.setattr(molecules_o3, "QUICK", TINY)
    rows = molecules_o3.run(str(write_qm7(tmp_path, 60)), 0, True, tmp_path / "seed")
    assert {row.table for row in rows} >= {molecules_o3.TABLE, molecules_o3.EQUIVARIANCE}
    assert all(math.isfinite(value) for row in rows for value in row.values.values())


def test_a_run_on_graphs_keeps_its_figures(tmp_path, monkeypatch):
    pytest.importorskip("rdkit", reason=NEEDS_RDKIT)
    monkeypatch.setattr(graph_latents, "QUICK", TINY)
    folder = tmp_path / "seed"
    rows = molecules_permutation_8.run(str(write_qm9(tmp_path)), 0, True, folder)
    assert {row.table for row in rows} == {graph_latents.PROPERTIES, graph_latents.DECODING, graph_latents.PATHS}
    assert all(math.isfinite(value) for row in rows for value in row.values.values())
    assert (folder / PICTURES / "properties_pca.png").stat().st_size > 5000


def test_weights_that_were_trained_elsewhere_are_measured_and_exported_as_they_are(tmp_path):
    pytest.importorskip("rdkit", reason=NEEDS_RDKIT)
    torch.manual_seed(0)
    network, folder = GraphVae(width=8, layers=1).eval(), tmp_path / "seed"
    folder.mkdir()
    save_model(network, str(folder / WEIGHTS))
    data = {"data.data_dir": str(write_qm9(tmp_path)), "model.width": 8, "model.layers": 1}
    export_trained(molecules_permutation.RECIPE, folder, 0, data)
    x = graphs_of(SMILES)[0]
    with torch.no_grad():
        assert torch.allclose(
            InvariantEncoder.from_pretrained(folder / EXPORT).latent(x), network.encoder(x), atol=1e-5
        )
