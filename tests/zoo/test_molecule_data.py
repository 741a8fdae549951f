import numpy as np
import pytest
import torch

from lightning_invariant.errors import InvariantError
from lightning_invariant.zoo.graph_vae import GraphVae, labels_of
from lightning_invariant.zoo.molecule_graphs import ATOMS, TIES, MoleculeGraphs, graphs_of, read_molecules
from lightning_invariant.zoo.qm7 import Qm7, load_qm7
from tests.zoo.molecules import write_qm7, write_qm9

NEEDS_RDKIT = "RDKit reads SMILES; install lightning-invariant[molecules]"


def test_qm7_is_split_without_overlap(tmp_path):
    data = Qm7(str(write_qm7(tmp_path)), limit=20)
    data.setup("fit")
    x, y = data.training.tensors
    assert x.shape == (16, 23, 4)
    assert y.shape == (16,)
    assert not set(y.tolist()) & set(data.validation.tensors[1].tolist())


def test_qm7_may_lie_in_a_folder_of_molecules(tmp_path):
    (tmp_path / "molecules").mkdir()
    write_qm7(tmp_path / "molecules")
    assert load_qm7(str(tmp_path))[0].shape == (24, 23, 4)


@pytest.mark.parametrize("place", [".", "data"])
def test_qm7_is_read_from_xyz_files_too(tmp_path, place):
    (tmp_path / "qm7").mkdir()
    (tmp_path / "qm7" / "0001.xyz").write_text("2\ncharge = 0\n C 0.5 -0.25 0.0\n H -0.5 0.0 1.0")
    (tmp_path / "qm7" / "0004.xyz").write_text("1\n\n O 0.0 0.0 2.0\n")
    (tmp_path / place).mkdir(exist_ok=True)
    (tmp_path / place / "hof_qm7.txt").write_text("0001.xyz -417.5 -400.0\n0004.xyz -711.25 -700.0\n")
    atoms, energy = load_qm7(str(tmp_path))
    assert atoms.shape == (2, 23, 4)
    assert atoms[0, :3].tolist() == [[6, 0.5, -0.25, 0], [1, -0.5, 0, 1], [0, 0, 0, 0]]
    assert energy.tolist() == [-417.5, -711.25]


@pytest.mark.parametrize("content", ["2\n\n C 0 0 0", "1\n\n Xe 0 0 0", "what is this", "1\n\n C 0 0", None])
def test_a_molecule_that_cannot_be_read_is_named(tmp_path, content):
    (tmp_path / "qm7").mkdir()
    (tmp_path / "hof_qm7.txt").write_text("0001.xyz -417.5 -400.0\n")
    if content is not None:
        (tmp_path / "qm7" / "0001.xyz").write_text(content)
    with pytest.raises(InvariantError, match=r"Expected an xyz file .*0001.xyz"):
        load_qm7(str(tmp_path))


@pytest.mark.parametrize("data", [Qm7, MoleculeGraphs])
def test_missing_data_says_what_to_get(data, tmp_path):
    with pytest.raises(InvariantError, match=r"Expected a data folder with qm[79].*--data-dir"):
        data(str(tmp_path)).setup("fit")


def test_other_content_is_refused(tmp_path):
    np.savez(tmp_path / "qm7.npz", Z=np.zeros((2, 23)))
    with pytest.raises(InvariantError, match="R, E_col1 is missing"):
        load_qm7(str(tmp_path))
    np.savez(tmp_path / "qm7.npz", Z=np.zeros((2, 23)), R=np.zeros((2, 20, 3)), E_col1=np.zeros(2))
    with pytest.raises(InvariantError, match=r"\(2, 20, 3\)"):
        load_qm7(str(tmp_path))
    table = tmp_path / "qm9.csv"
    for text, properties, message in (
        ("SMILES,homo\nC,1\n", ["gap"], r"and gap in .*got the columns SMILES, homo.*--data\.properties"),
        ("molecule,gap\nC,1\n", None, "a column SMILES .*got the columns molecule, gap"),
        ("SMILES,gap\nC,1\n", [], "at least one property"),
        ("SMILES,gap\nC,1\nN,\n", None, "a number in column gap of .* got ''"),
        ("SMILES,gap\nC,1\nN,nan\n", None, "got 'nan'"),
        ("SMILES,gap\nC\n", None, "got None"),
    ):
        table.write_text(text)
        with pytest.raises(InvariantError, match=message):
            read_molecules(table, properties)


def test_any_table_of_molecules_will_do(tmp_path):
    pytest.importorskip("rdkit", reason=NEEDS_RDKIT)
    (tmp_path / "others.csv").write_text("smiles,boiling point\nCO,64.7\nCC,-88.6\nCN,-6.6\nCF,-78.4\nCCCl,12.3\n")
    data = MoleculeGraphs(str(tmp_path), validation_share=0.5)
    data.setup("fit")
    assert data.properties == ["logp", "mol_weight"]
    assert len(data.training.tensors) == 3
    data = MoleculeGraphs(str(tmp_path), validation_share=0.5, properties=["boiling point", "mol_weight"])
    data.setup("fit")
    assert data.properties == ["boiling point", "mol_weight"]
    both = [torch.cat(columns) for columns in zip(data.training.tensors, data.validation.tensors, strict=True)]
    found = sorted((round(t, 1), round(w)) for t, w in zip(both[1].tolist(), both[2].tolist(), strict=True))
    assert found == [(-88.6, 30), (-78.4, 34), (-6.6, 31), (64.7, 32)]


def test_of_two_unknown_tables_none_is_taken(tmp_path):
    for name in ("a.csv", "b.csv.gz"):
        (tmp_path / name).write_text("")
    with pytest.raises(InvariantError, match=r"one \.csv or \.csv\.gz file.*with a\.csv, b\.csv\.gz"):
        MoleculeGraphs(str(tmp_path)).setup("fit")


@pytest.mark.parametrize("data", [Qm7, MoleculeGraphs])
def test_a_share_outside_0_and_1_is_refused(data):
    with pytest.raises(ValueError, match="between 0 and 1"):
        data(validation_share=1.0)


def test_smiles_become_graphs():
    pytest.importorskip("rdkit", reason=NEEDS_RDKIT)
    graphs, kept = graphs_of(["CC=O", "O=CC", "c1ccoc1", "C[N+](C)(C)C", "CCCCCCCCCC", "no molecule", "CS"])
    assert kept == [0, 2]
    atoms, bonds = labels_of(graphs)
    assert atoms[0, :3].tolist() == [1, 1, 1 + ATOMS.index("O")]
    assert bonds[0, :3, :3].tolist() == [[0, 1, 0], [1, 0, 2], [0, 2, 0]]
    assert sorted(bonds[1][torch.triu_indices(9, 9, 1).unbind()].tolist()) == [0] * 31 + [1, 1, 1, 2, 2]
    assert torch.equal(graphs, graphs.transpose(1, 2))


def test_nodes_that_a_symmetry_exchanges_are_numbered():
    pytest.importorskip("rdkit", reason=NEEDS_RDKIT)
    graphs, _ = graphs_of(["FC(F)(F)CO", "CC(C)C"])
    numbers = graphs[..., TIES].diagonal(dim1=1, dim2=2)
    assert sorted(numbers[0, [0, 2, 3]].tolist()) == [0, 1, 2]
    assert not numbers[0, [1, 4, 5, 6, 7, 8]].any()
    assert sorted(numbers[1, [0, 2, 3]].tolist()) == [0, 1, 2]
    assert not (graphs[..., TIES] * (1 - torch.eye(9))).any()


def test_the_numbers_of_nodes_do_not_depend_on_how_a_molecule_is_written():
    chem = pytest.importorskip("rdkit.Chem", reason=NEEDS_RDKIT)
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    encoder = GraphVae(width=8, layers=4).double().eval().encoder
    for text in ("FC(F)(F)CO", "CC(C)CC(C)C", "C1CCC1", "OC1CC(O)C1", "c1ccccc1C"):
        molecule = chem.MolFromSmiles(text)
        other = chem.RenumberAtoms(molecule, torch.randperm(molecule.GetNumAtoms(), generator=generator).tolist())
        written = chem.MolToSmiles(other, canonical=False)
        z, w = (encoder(graphs_of([smiles])[0].double()).sort(dim=1).values for smiles in (text, written))
        assert torch.allclose(z, w, atol=1e-12), text
        assert len(z[0].round(decimals=9).unique()) == molecule.GetNumAtoms() + 1, text  # one for all empty places


def test_properties_that_rdkit_computes_may_be_missing(tmp_path):
    pytest.importorskip("rdkit", reason=NEEDS_RDKIT)
    (tmp_path / "qm9.csv").write_text("mol_id,smiles,gap\n1,CO,0.3\n2,CC,0.4\n3,CN,0.5\n4,CF,0.6\n")
    data = MoleculeGraphs(str(tmp_path), validation_share=0.25)
    data.setup("fit")
    _, gap, logp, weight = data.training.tensors
    expected = {0.3: (-0.3915, 32.042), 0.4: (1.0262, 30.07), 0.5: (-0.425, 31.058), 0.6: (0.586, 34.033)}
    for row in zip(gap.tolist(), logp.tolist(), weight.tolist(), strict=True):
        assert row[1:] == pytest.approx(expected[round(row[0], 1)], abs=2e-3)


def test_no_molecule_that_fits_is_refused():
    pytest.importorskip("rdkit", reason=NEEDS_RDKIT)
    with pytest.raises(InvariantError, match="at most 9 atoms"):
        graphs_of(["CCCCCCCCCCCC"])


def test_properties_stay_with_their_molecule(tmp_path):
    pytest.importorskip("rdkit", reason=NEEDS_RDKIT)
    data = MoleculeGraphs(str(write_qm9(tmp_path)))
    data.setup("fit")
    x, gap, logp, weight = data.training.tensors
    assert x.shape[1:] == (9, 9, 8)
    assert torch.allclose((gap - 5) / 10, logp, atol=1e-5)
    assert torch.allclose(weight - 16, 100 * logp, atol=1e-4)
