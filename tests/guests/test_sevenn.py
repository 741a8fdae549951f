"""A pretrained equivariant potential as guest: latents of atoms of SevenNet's 7net-0, which lies in its wheel."""

import warnings

import pytest
import torch

pytest.importorskip("sevenn", reason="needs sevenn (make test-guests)")

import sevenn._keys as keys
import sevenn.util
from ase.build import molecule
from sevenn.atom_graph_data import AtomGraphData
from sevenn.train.dataload import unlabeled_atoms_to_graph
from torch_geometric.loader import DataLoader

from lightning_invariant import InvariantCallback
from lightning_invariant.errors import LatentError
from tests.guests.runs import Module, number, quiet, said, wrong

LAYER = "net.2_equivariant_gate"
ATOM = "SO3: 128x0 + 64x1 + 32x2"
NAMES = ("CH3CH2OH", "CH4", "H2O", "C6H6", "NH3", "CH3OH", "C2H4", "CO2")


class Potential(Module):
    """What a user writes around a potential to look at it."""

    def validation_step(self, batch, batch_idx):
        with torch.enable_grad():  # forces are gradients
            out = self.net(batch)
        self.log("energy", out[keys.PRED_TOTAL_ENERGY].mean(), batch_size=batch.num_graphs)


@pytest.fixture(scope="module")
def potential():
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, config = sevenn.util.model_from_checkpoint("7net-0")
    model.set_is_batch_data(True)
    return model, config["cutoff"]


@pytest.fixture(scope="module")
def loader(potential):
    generator = torch.Generator().manual_seed(0)
    rows = []
    for name in NAMES * 4:
        atoms = molecule(name)
        atoms.positions += 0.05 * torch.randn(atoms.positions.shape, generator=generator).numpy()
        graph = AtomGraphData.from_numpy_dict(unlabeled_atoms_to_graph(atoms, potential[1]))
        graph.y = torch.tensor([float(len(atoms))])
        rows.append(graph)
    return DataLoader(rows, 8)


def validated(potential, loader, *arguments, **settings):
    callback = InvariantCallback(*arguments, **({"max_overhead": None, "figures": None} | settings))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quiet(callbacks=[callback], inference_mode=False).validate(Potential(potential[0]), loader, verbose=False)
    return callback


def test_the_error_lists_the_keys_with_their_shapes(potential, loader):
    with pytest.raises(LatentError, match=r"'x' \(48, 480\), .*'pos' \(48, 3\).*pick="):
        validated(potential, loader, LAYER, ATOM)
    with pytest.raises(LatentError, match=r"an output with 'features' but got .*'x' \(48, 480\)"):
        validated(potential, loader, LAYER, ATOM, pick="features")


def test_each_atom_has_a_latent_of_its_own(potential, loader):
    callback = validated(potential, loader, LAYER, ATOM, pick="x", sample_size=100)
    assert number(callback, "equivariance_error") < 1e-4
    assert number(callback, "error") < 1e-4 < 0.3 < number(callback, "error_raw")
    assert number(callback, "bank") == sum(graph.num_nodes for graph in loader.dataset)
    assert "SO3 rotates input.pos, input.edge_vec" in said(callback)
    assert not [finding for finding in wrong(callback) if "were left out" not in finding]


@pytest.mark.parametrize("how", ["sum", "mean"])
def test_molecules_are_read_out_of_projected_atoms(potential, loader, how):
    callback = validated(potential, loader, LAYER, ATOM, pick="x", pool=f"readout {how}")
    assert number(callback, "equivariance_error") < 1e-4
    assert number(callback, "error") < 1e-4 < 0.3 < number(callback, "error_raw")
    assert number(callback, "bank") == len(loader.dataset)
    assert wrong(callback) == []
    evaluation = callback._reporter.evaluation
    latents, projection = evaluation.latents, callback.projection
    sizes = latents.nodes.groups.bincount()
    atoms = projection(latents.nodes.bank).split(sizes.tolist())
    expected = torch.stack([features.sum(0) if how == "sum" else features.mean(0) for features in atoms])
    assert torch.allclose(evaluation.features, expected, rtol=1e-4, atol=1e-4)
    assert evaluation.features.shape[1] == projection.out_features


def test_the_atoms_of_a_molecule_may_be_one_set(potential, loader):
    text = "S12 x SO3: 12 points (128x0 + 64x1 + 32x2)"
    callback = validated(potential, loader, LAYER, text, pick="x", sample_size=8, bank_size=16)
    assert number(callback, "equivariance_error") < 1e-4
    assert number(callback, "error") < 1e-4
    assert wrong(callback) == []


def test_reflections_are_not_a_symmetry_of_its_parities(potential, loader):
    callback = validated(potential, loader, LAYER, "O3: 128x0e + 64x1e + 32x2e", pick="x", sample_size=100)
    assert number(callback, "equivariance_error") > 0.05


def test_descriptors_read_the_latents_of_atoms_and_forget_how_molecules_lie(tmp_path):
    from benchmarks.paper.potential_latents import atom_latents
    from benchmarks.paper.sevennet_descriptors import MAPS, RAW, _summed

    rows = [torch.tensor([[z, *r] for z, r in zip(m.numbers, m.positions, strict=True)]) for m in map(molecule, NAMES)]
    x = torch.stack([torch.nn.functional.pad(row, (0, 0, 0, 29 - len(row))) for row in rows]).float()
    first, second = (atom_latents(x, tmp_path / str(seed), seed=seed, batch=3) for seed in (0, 1))
    assert first.layers[2].shape == (sum(map(len, rows)), 480)
    for name in MAPS:
        a, b = (_summed(latents, 2, name, len(x)) for latents in (first, second))
        change = float((a - b).norm() / a.norm())
        assert change > 0.05 if name == RAW else change < 1e-4, name
