import json

import pytest
import torch

from lightning_invariant.errors import InvariantError
from lightning_invariant.guarantee import Separation
from lightning_invariant.projections import (
    PCA,
    Composition,
    CyclicBispectrum,
    FourierModulus,
    Gram,
    PointSort,
    Projection,
    SampledMean,
    Standardise,
)


def generator():
    return torch.Generator().manual_seed(0)


def latents(size, count=60):
    return torch.randn(count, size, generator=generator())


def test_against_scikit_learn():
    decomposition = pytest.importorskip("sklearn.decomposition")
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    projection, z = Gram("O3: 4 vectors"), latents(12).double()
    fitted = Composition.fit(projection, z, components=3).double()
    f = preprocessing.StandardScaler().fit_transform(projection(z).numpy()) * (59 / 60) ** 0.5
    expected = torch.from_numpy(decomposition.PCA(3).fit_transform(f))
    expected = expected * (expected * fitted(z)).sum(dim=0).sign()
    assert torch.allclose(fitted(z), expected, atol=1e-5)


def test_config_and_state_rebuild_it_bit_for_bit():
    fitted = Composition.fit(CyclicBispectrum("C6: 2 regular", seed=4), latents(12), components=5)
    again = Projection.from_config(json.loads(json.dumps(fitted.config())))
    assert not torch.equal(again(latents(12)), fitted(latents(12)))
    again.load_state_dict(fitted.state_dict())
    assert torch.equal(again(latents(12)), fitted(latents(12)))
    assert again.guarantee == fitted.guarantee


@pytest.mark.parametrize(
    ("projection", "settings", "separation"),
    [
        (PointSort("S5: 5 points"), {"standardise": False}, Separation.ISOMETRIC),
        (PointSort("S5: 5 points"), {"standardise": False, "components": 5}, Separation.ISOMETRIC),
        (PointSort("S5: 5 points"), {}, Separation.BILIPSCHITZ),
        (PointSort("S5: 5 points"), {"components": 4}, Separation.LOSSY),
        (CyclicBispectrum("C5: 1 regular"), {}, Separation.GENERIC),
        (FourierModulus("C5: 1 regular"), {}, Separation.LOSSY),
    ],
)
def test_keeps_the_weaker_guarantee(projection, settings, separation):
    fitted = Composition.fit(projection, latents(5), **settings)
    assert fitted.guarantee.separation is separation
    assert fitted.guarantee.group == projection.guarantee.group
    assert fitted.guarantee.source == projection.guarantee.source


def test_all_components_are_an_isometry():
    projection = PointSort("S5: 5 points")
    fitted = Composition.fit(projection, latents(5), standardise=False, components=5)
    f, p = projection(latents(5)), fitted(latents(5))
    assert torch.allclose(torch.pdist(f), torch.pdist(p), atol=1e-5)


def test_sampled_stays_sampled_and_a_mask_is_handed_on():
    z = torch.randn(20, 4, 6, generator=generator())
    fitted = Composition.fit(SampledMean("Sampled: 6 trivial"), z, components=2)
    assert fitted.guarantee.invariance == "sampled"
    assert fitted(z).shape == (20, 2)
    ragged = PointSort("S4: 4 points x 2", ragged=True)
    mask = torch.tensor([[True, True, False, False]]).expand(20, 4)
    sets = Composition.fit(ragged, torch.randn(20, 4, 2, generator=generator()), components=2)
    x = torch.randn(20, 4, 2, generator=generator())
    assert not torch.allclose(sets(x), sets(x, mask))


def test_constant_features_are_not_blown_up():
    f = torch.cat([torch.full((50, 1), 3.0), latents(2, 50) * 1e4], dim=1)
    out = Standardise.fit(f)(f + torch.tensor([1e-3, 0.0, 0.0]))
    assert out[:, 0].abs().max() < 2e-3
    assert torch.allclose(out[:, 1:].std(dim=0), torch.ones(2), atol=1e-4)


def test_autocast_does_not_round():
    fitted = Composition.fit(PointSort("S5: 5 points x 2"), latents(10), components=3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.allclose(fitted(latents(10)), fitted(latents(10).double()).float(), atol=1e-4)


def test_half_precision_keeps_its_dtype():
    fitted = Composition.fit(PointSort("S5: 5 points x 2"), latents(10), components=3)
    assert fitted(latents(10).bfloat16()).dtype == torch.bfloat16


def test_misfits_are_refused():
    sort = PointSort("S5: 5 points")
    with pytest.raises(ValueError, match="projection's representation"):
        Composition("S4: 4 points", sort)
    with pytest.raises(ValueError, match="layer for 5 features but got one for 4"):
        Composition("S5: 5 points", sort, [Standardise(4)])
    with pytest.raises(ValueError, match="layer among"):
        Composition("S5: 5 points", sort, [{"name": "Linear", "features": 5}])
    with pytest.raises(InvariantError, match="layer among"):
        Projection.from_config({**Composition("S5: 5 points", sort).config(), "layers": [{"name": "Linear"}]})
    with pytest.raises(ValueError, match="from 1 to 5 components but got 6"):
        PCA(5, 6)
    with pytest.raises(ValueError, match="two rows of finite features"):
        Standardise.fit(torch.zeros(1, 5))
    with pytest.raises(ValueError, match="with NaN"):
        PCA.fit(torch.full((3, 5), torch.nan), 2)


def test_export_with_a_free_batch():
    fitted = Composition.fit(CyclicBispectrum("C6: 2 regular"), latents(12), components=5)

    class Wrapped(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fitted = fitted

        def forward(self, z):
            return self.fitted(z)

    z = latents(12)
    shapes = {"z": {0: torch.export.Dim("batch")}}
    graph = torch.export.export(Wrapped(), (z,), dynamic_shapes=shapes, strict=False).module()
    assert torch.allclose(graph(z[:7]), fitted(z[:7]), atol=1e-6)
