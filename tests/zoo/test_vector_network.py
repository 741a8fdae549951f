import pytest
import torch

from lightning_invariant import InvariantEncoder, choose
from lightning_invariant.encoder import export_encoder
from lightning_invariant.groups import Representation
from lightning_invariant.metrics import equivariance_error, invariance_error
from lightning_invariant.zoo.atomisation_energy import AtomisationEnergy
from lightning_invariant.zoo.molecule_action import AtomAction
from lightning_invariant.zoo.vector_network import VectorEncoder
from tests.zoo.molecules import atoms

PLACES = 9
ACTION = AtomAction(PLACES)


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return VectorEncoder(atoms=PLACES, scalars=3, vectors=2, width=8, layers=2, radial=6).eval()


@pytest.fixture
def moved():
    x = atoms(places=PLACES)
    g = ACTION.group.sample(len(x), torch.Generator().manual_seed(0))
    return x, g, ACTION.transform(x, g)


def test_latents_move_with_order_rotations_and_reflections(encoder, moved):
    x, g, y = moved
    assert equivariance_error(encoder(y), encoder(x), encoder.representation, g) < 1e-5
    assert invariance_error(encoder(y), encoder(x)) > 0.1
    assert equivariance_error(encoder(y), encoder(x), "S9 x O3: 3 points*0e + 2 points*1e", g) > 0.01


def test_translations_and_what_stands_at_empty_places_change_nothing(encoder, moved):
    x = moved[0]
    there = (x[..., :1] > 0).float()
    shifted, dirty = x.clone(), x.clone()
    shifted[..., 1:] += torch.tensor([1.0, -2.0, 0.5])
    dirty[..., 1:] += 3 * (1 - there)
    z = encoder(x)
    assert torch.allclose(encoder(shifted), z, atol=1e-5)
    assert torch.equal(encoder(dirty), z)
    s = z[:, : 3 * PLACES].unflatten(1, (3, PLACES))
    assert not s[..., -2:].any()
    assert s[..., :-2].all()


def test_gradients_are_finite_although_empty_places_coincide(encoder):
    x = atoms(places=PLACES).requires_grad_()
    encoder(x).square().sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    assert all(torch.isfinite(p.grad).all() for p in encoder.parameters())


def test_predictions_are_sums_over_atoms_that_motions_leave_alone(moved):
    torch.manual_seed(0)
    network = AtomisationEnergy(3, 2, 8, 1).eval()
    network.encoder = VectorEncoder(atoms=PLACES, scalars=3, vectors=2, width=8, layers=1).eval()
    x, _, y = moved
    assert torch.allclose(network(x), network(y), rtol=1e-4, atol=1e-3)
    far = torch.cat([x, x], dim=1)
    far[:, PLACES:, 1:] += 100.0
    assert torch.allclose(network(far), 2 * network(x), rtol=1e-4, atol=1e-3)


def test_an_exported_encoder_gives_the_same_features_for_moved_molecules(encoder, moved, tmp_path):
    x, _, y = moved
    export_encoder(tmp_path / "hub", encoder, choose(encoder.representation), x)
    pulled = InvariantEncoder.from_pretrained(tmp_path / "hub")
    with torch.no_grad():
        assert invariance_error(pulled(y), pulled(x)) < 1e-4
        assert invariance_error(pulled.latent(y), pulled.latent(x)) > 0.1


def test_the_representation_has_the_latents_size(encoder):
    assert Representation.parse(encoder.representation).size == encoder(atoms(places=PLACES)).shape[1]
