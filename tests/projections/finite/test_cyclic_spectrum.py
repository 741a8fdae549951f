import numpy as np
import pytest
import torch

from lightning_invariant.errors import GroupError
from lightning_invariant.projections import CyclicBispectrum, CyclicPowerSpectrum, FourierModulus
from lightning_invariant.projections.base.completeness import jacobian_rank
from tests.projections.exact_distances import HOMOMETRIC


def generator():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_fourier_modulus_against_numpy(n):
    projection, z = FourierModulus(f"T{n}: 2 regular"), torch.randn(4, 2, n, generator=generator(), dtype=torch.float64)
    f = projection(z)
    weight = np.array([1 if 2 * k % n == 0 else 2**0.5 for k in range(n // 2 + 1)])
    expected = np.abs(np.fft.rfft(z.numpy(), norm="ortho")) * weight
    assert np.allclose(f.reshape(4, 2, -1).numpy(), expected, rtol=1e-12)
    assert torch.allclose(f.norm(dim=1), z.flatten(1).norm(dim=1), rtol=1e-12)


def test_fourier_modulus_merges_channels_shifted_apart_and_never_stretches():
    projection = FourierModulus("T8: 3 regular")
    z, w = torch.randn(2, 50, 3, 8, generator=generator(), dtype=torch.float64)
    scrambled = torch.cat([z[:, :1].roll(3, dims=-1), z[:, 1:]], dim=1)
    distance = torch.stack([(z - w.roll(s, dims=-1)).flatten(1).norm(dim=1) for s in range(8)]).amin(dim=0)
    assert torch.allclose(projection(z), projection(scrambled), atol=1e-12)
    assert ((projection(z) - projection(w)).norm(dim=1) <= distance + 1e-9).all()


def test_tables_stay_exact_in_half_precision():
    z = torch.randn(4, 2, 8, generator=generator())
    projection = FourierModulus("C8: 2 regular").bfloat16()
    assert torch.allclose(projection(z), projection(z.roll(3, dims=-1)), atol=1e-5)
    assert torch.allclose(projection(z), FourierModulus("C8: 2 regular")(z))


def test_other_groups_have_no_fourier_modulus():
    with pytest.raises(GroupError, match="regular copies of translations"):
        FourierModulus("D4: 2 regular")


def indicator(places, n=8):
    return torch.zeros(1, n, dtype=torch.float64).index_fill(1, torch.tensor(places), 1.0)


def turn_frequencies(z, angles):
    """Multiply each Fourier coefficient by a phase of its own, the same in all channels."""
    spectrum = torch.fft.rfft(z)
    return torch.fft.irfft(spectrum * torch.polar(torch.ones_like(angles), angles), n=z.shape[-1])


@pytest.mark.parametrize("selective", [True, False])
@pytest.mark.parametrize("n", range(1, 10))
@pytest.mark.parametrize("m", [1, 3])
def test_bispectrum_loses_shifts_only(n, m, selective):
    projection = CyclicBispectrum(f"C{n}: {m} regular", selective=selective)
    z = torch.randn(2, m, n, generator=generator(), dtype=torch.float64)
    assert torch.allclose(projection(z), projection(z.roll(2, dims=-1)), atol=1e-12)
    assert jacobian_rank(projection.project, z[0].flatten()) == n * m
    if n > 2:
        assert ((projection(z) - projection(z.flip(-1))).norm(dim=1) > 1e-3).all()
    if n > 1 and m > 1:
        scrambled = torch.cat([z[:, :1].roll(1, dims=-1), z[:, 1:]], dim=1)
        assert ((projection(z) - projection(scrambled)).norm(dim=1) > 1e-3).all()


@pytest.mark.parametrize("n", [7, 8])
def test_frequencies_turned_on_their_own_are_merged_by_the_power_spectrum_only(n):
    z = torch.randn(5, 3, n, generator=generator(), dtype=torch.float64)
    angles = torch.zeros(n // 2 + 1, dtype=torch.float64)
    angles[2] = 1.0
    turned = turn_frequencies(z, angles)
    power, bispectrum = CyclicPowerSpectrum(f"C{n}: 3 regular"), CyclicBispectrum(f"C{n}: 3 regular")
    assert torch.allclose(power(z), power(turned), atol=1e-12)
    assert ((bispectrum(z) - bispectrum(turned)).norm(dim=1) > 1e-3).all()
    assert (z - turned).norm() > 0.5


def test_homometric_sets_are_merged_by_the_power_spectrum_only():
    first, second = map(indicator, HOMOMETRIC)
    power, bispectrum = CyclicPowerSpectrum("C8: 1 regular"), CyclicBispectrum("C8: 1 regular")
    assert torch.allclose(power(first), power(second), atol=1e-12)
    assert (bispectrum(first) - bispectrum(second)).norm() > 0.1


@pytest.mark.parametrize("kind", [CyclicPowerSpectrum, CyclicBispectrum])
def test_channels_shifted_apart_are_separated(kind):
    projection = kind("T6: 4 regular + 2 trivial")
    z = torch.randn(10, 26, generator=generator())
    scrambled = torch.cat([z[:, :6].roll(1, dims=1), z[:, 6:]], dim=1)
    assert ((projection(z) - projection(scrambled)).norm(dim=1) > 1e-2).all()


@pytest.mark.parametrize("kind", [CyclicPowerSpectrum, CyclicBispectrum])
def test_other_groups_are_refused(kind):
    for text in ("D4: 2 regular", "C4: 2x1", "C4: 3 trivial"):
        with pytest.raises(GroupError, match="regular copies of"):
            kind(text)
