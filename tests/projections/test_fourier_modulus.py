import numpy as np
import pytest
import torch

from lightning_invariant.errors import GroupError
from lightning_invariant.projections import FourierModulus


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


def test_other_groups_are_refused():
    with pytest.raises(GroupError, match="regular copies of translations"):
        FourierModulus("D4: 2 regular")
