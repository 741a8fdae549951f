import pytest
import torch

from lightning_invariant.errors import LatentError
from lightning_invariant.projections import SampledMax, SampledMean


def generator():
    return torch.Generator().manual_seed(0)


def orbit(x, turns):
    """Latents of transforms of an input: the entries rolled, then a random layer."""
    layer = torch.randn(x.shape[-1], 5, generator=generator(), dtype=torch.float64)
    return torch.stack([(x.roll(int(t), dims=-1) @ layer).relu() for t in turns], dim=1)


@pytest.mark.parametrize("kind", [SampledMean, SampledMax])
def test_all_transforms_give_an_exact_invariant(kind):
    x = torch.randn(3, 8, generator=generator(), dtype=torch.float64)
    projection = kind("Sampled: 5 trivial")
    turns = range(8)
    assert torch.allclose(projection(orbit(x, turns)), projection(orbit(x.roll(3, dims=-1), turns)))
    # A negative control: some of them do not.
    assert not torch.allclose(projection(orbit(x, [0, 1])), projection(orbit(x.roll(3, dims=-1), [0, 1])))
    assert projection.guarantee.invariance == "sampled"


@pytest.mark.parametrize("kind", [SampledMean, SampledMax])
def test_residual_is_the_jackknife(kind):
    projection, z = kind("Sampled: 4 trivial"), torch.randn(3, 6, 4, generator=generator(), dtype=torch.float64)
    left_out = torch.stack([projection(torch.cat([z[:, :j], z[:, j + 1 :]], dim=1)) for j in range(6)])
    expected = (5 / 6 * (left_out - left_out.mean(dim=0)).square().sum(dim=0)).sum(dim=-1).sqrt()
    assert torch.allclose(projection.residual(z), expected)


def test_residual_of_the_mean_is_the_error_and_falls_with_the_root_of_k():
    projection = SampledMean("Sampled: 16 trivial")
    z = torch.randn(500, 64, 16, generator=generator())
    errors = {k: projection(z[:, :k]).norm(dim=1).mean() for k in (4, 16, 64)}
    residuals = {k: projection.residual(z[:, :k]).mean() for k in (4, 16, 64)}
    assert all(abs(residuals[k] / errors[k] - 1) < 0.1 for k in errors)
    assert residuals[4] / residuals[64] == pytest.approx(4, rel=0.15)


def test_layouts_of_the_latent_behind_k():
    projection, z = SampledMean("O3: 4 vectors"), torch.randn(2, 5, 4, 3, generator=generator())
    assert torch.equal(projection(z), projection(z.flatten(2)))
    assert projection(z[:0]).shape == (0, 12)
    assert projection.residual(z[:0]).shape == (0,)


@pytest.mark.parametrize("shape", [(3, 4), (3, 0, 4), (3, 2, 5), (4,)])
def test_latents_without_transforms_are_refused(shape):
    with pytest.raises(LatentError, match=r"Expected latents \(B, K, 4\)"):
        SampledMean("Sampled: 4 trivial")(torch.zeros(shape))


def test_residual_needs_two_transforms():
    with pytest.raises(LatentError, match="at least 2 sampled transforms"):
        SampledMax("Sampled: 4 trivial").residual(torch.zeros(3, 1, 4))


def test_rows_with_nan_stay_alone():
    z = torch.randn(3, 4, 2, generator=generator())
    z[1, 2, 0] = torch.nan
    for projection in (SampledMean("Sampled: 2 trivial"), SampledMax("Sampled: 2 trivial")):
        assert projection(z)[[0, 2]].isfinite().all()
        assert projection(z)[1].isnan().any()
        assert projection.residual(z)[1].isnan()


def test_half_precision_keeps_its_dtype():
    z = torch.randn(3, 4, 2, generator=generator()).bfloat16()
    assert SampledMean("Sampled: 2 trivial")(z).dtype == torch.bfloat16
    assert SampledMax("Sampled: 2 trivial").residual(z).dtype == torch.bfloat16


@pytest.mark.parametrize("kind", [SampledMean, SampledMax])
def test_export_with_a_free_batch(kind):
    projection, z = kind("Sampled: 4 trivial"), torch.randn(3, 5, 4, generator=generator())
    shapes = {"z": {0: torch.export.Dim("batch")}}
    graph = torch.export.export(projection, (z,), dynamic_shapes=shapes, strict=False).module()
    assert torch.equal(graph(z[:2]), projection(z[:2]))
