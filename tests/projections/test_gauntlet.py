"""Every projection of the table runs through the same promises."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_invariant.errors import GuaranteeError, LatentError
from lightning_invariant.guarantee import Guarantee, Separation
from lightning_invariant.projections import Projection
from lightning_invariant.testing import assert_guarantee
from tests.projections.table import ROWS, Row, scrambled

BRUTE_FORCE = 5_000
"""Largest group over which orbit distances are taken element by element."""

every_row = pytest.mark.parametrize("row", ROWS, ids=str)


def latents(projection: Projection, n: int = 6, seed: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    return projection.representation.random(n, torch.Generator().manual_seed(seed)).to(dtype)


def symmetric_latents(projection: Projection) -> Tensor:
    """Zero, a point that everything fixes as far as there is one, and a point that one element fixes."""
    rep, z = projection.representation, latents(projection, 2)
    elements = rep.group.probe_elements(32, torch.Generator().manual_seed(2))
    fixed = torch.stack([rep.transform(z[:1], g) for g in elements]).mean(dim=0)
    g, steps = elements[-1], [z[1:]]
    for _ in range(11):
        steps.append(rep.transform(steps[-1], g))
    return torch.cat([torch.zeros_like(fixed), fixed, torch.stack(steps).mean(dim=0)])


def invariance_error(projection: Projection, z: Tensor) -> float:
    g = projection.representation.group.sample(len(z), torch.Generator().manual_seed(3))
    features = projection(z)
    return float((projection(projection.representation.transform(z, g)) - features).abs().max() / features.abs().max())


def orbit_distances(projection: Projection, z: Tensor, w: Tensor) -> Tensor:
    rep = projection.representation
    return torch.stack([(z - rep.transform(w, g)).norm(dim=1) for g in rep.group.elements()]).amin(dim=0)


def is_brute(projection: Projection) -> bool:
    order = projection.representation.group.order
    return order is not None and order <= BRUTE_FORCE


class _Broken(Projection):
    """A negative control: it claims everything and keeps nothing."""

    def __init__(self, representation: str) -> None:
        super().__init__(representation)
        self.out_features = self.representation.size
        self.guarantee = Guarantee(group=str(self.representation.group), separation=Separation.ISOMETRIC)

    def project(self, z: Tensor) -> Tensor:
        return z.sort(dim=-1).values + 1e-3 * z


@every_row
def test_shape_and_layout(row: Row) -> None:
    projection = row.build()
    z = latents(projection)
    features = projection(z)
    assert features.shape == (len(z), projection.out_features)
    assert torch.equal(features, projection(z.reshape(len(z), *projection.representation.shape)))
    with pytest.raises(LatentError, match="Expected latents of shape"):
        projection(torch.zeros(2, projection.representation.size + 1))


@every_row
def test_invariance(row: Row) -> None:
    projection = row.build()
    assert invariance_error(projection, latents(projection)) < row.exact64
    assert invariance_error(projection, latents(projection, dtype=torch.float32)) < row.exact32


@every_row
def test_float32_of_any_size_is_served(row: Row) -> None:
    """Squares of float32 overflow at 1e19; the Gram matrix is quadratic and the share of points has no scale."""
    projection = row.build()
    z = latents(projection, dtype=torch.float32)
    features = projection(z)
    assert features.isfinite().all()
    if row.kind.__name__ == "Gram" or row.settings.get("ragged"):
        return
    for size in (1e19, 1e-25):
        scaled = projection(z * size)
        assert torch.allclose(scaled.double() / size, features.double(), rtol=1e-3, atol=1e-4 * features.abs().max())


def test_invariance_refutes_a_broken_projection() -> None:
    broken = _Broken("S5: 5 points")
    assert invariance_error(broken, latents(broken)) > 1e-4


@every_row
def test_bounds_hold(row: Row) -> None:
    projection = row.build()
    if not is_brute(projection):
        pytest.skip("orbit distances of large groups are compared in the projection's own test")
    z, w = latents(projection, 40, seed=4), latents(projection, 40, seed=5)
    near = z + 1e-3 * latents(projection, 40, seed=6)
    for other in (w, near, torch.zeros_like(z)):
        ratios = (projection(z) - projection(other)).norm(dim=1) / orbit_distances(projection, z, other)
        if projection.guarantee.lipschitz is not None:
            assert ratios.max() <= projection.guarantee.lipschitz * (1 + 1e-6)
        if projection.guarantee.distortion is not None:
            assert ratios.max() / ratios.min() <= projection.guarantee.distortion * (1 + 1e-6)
        if projection.guarantee.separation is Separation.ISOMETRIC:
            assert (ratios - 1).abs().max() < 1e-6


def test_bounds_refute_a_broken_projection() -> None:
    broken = _Broken("S5: 5 points")
    z, w = latents(broken, 40, seed=4), latents(broken, 40, seed=5)
    ratios = (broken(z) - broken(w)).norm(dim=1) / orbit_distances(broken, z, w)
    assert (ratios - 1).abs().max() > 1e-6


@every_row
def test_separation_of_hard_negatives(row: Row) -> None:
    projection = row.build()
    lossy = projection.guarantee.separation is Separation.LOSSY
    assert lossy == (row.merged is not None), "a lossy row needs latents that it merges, no other row may have them"
    z, other = (row.merged or scrambled)(projection.representation, latents(projection, 12))
    if is_brute(projection):
        distance = orbit_distances(projection, z, other)
        apart = distance > 1e-6
    else:
        distance = z.norm(dim=1)
        apart = torch.tensor(lossy or sum(block.copies * (block.dim > 1) for block in projection.representation) > 1)
    gap = (projection(z) - projection(other)).norm(dim=1) / distance
    if lossy:
        assert apart.any()
        assert torch.where(apart, gap, 0.0).max() < 1e-6
    else:
        assert torch.where(apart, gap, 1.0).min() > 1e-3


@every_row
def test_claims_are_not_refuted(row: Row) -> None:
    assert_guarantee(row.build(), samples=12)


def test_claims_of_a_broken_projection_are_refuted() -> None:
    with pytest.raises(GuaranteeError):
        assert_guarantee(_Broken("S5: 5 points"), samples=12)


@every_row
def test_gradients_are_finite(row: Row) -> None:
    projection = row.build()
    for z in (symmetric_latents(projection), latents(projection)):
        z = z.clone().requires_grad_()
        projection(z).sum().backward()
        assert z.grad is not None
        assert z.grad.isfinite().all()


@every_row
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_dtype_and_device_are_kept(row: Row, dtype: torch.dtype) -> None:
    projection = row.build()
    z = latents(projection, 5)
    reference = projection(z)
    slack = 1e-9 if dtype == torch.float64 else 1e-4 if dtype == torch.float32 else 0.1
    for module in (projection, row.build().to(dtype)):
        features = module(z.to(dtype))
        assert (features.dtype, features.device) == (dtype, z.device)
        jumps = not projection.guarantee.continuous and dtype == torch.bfloat16
        assert jumps or (features.double() - reference).norm() <= slack * reference.norm()


@every_row
def test_autocast_computes_in_full_precision(row: Row) -> None:
    projection = row.build()
    z = latents(projection, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (projection(z) - projection(z.double())).norm() <= 1e-4 * projection(z).norm()


@every_row
def test_small_batches_and_nan(row: Row) -> None:
    projection = row.build()
    z = latents(projection, 4)
    assert projection(z[:0]).shape == (0, projection.out_features)
    full = projection(z)
    assert torch.allclose(projection(z[:1]), full[:1], rtol=1e-9, atol=1e-12)
    z[2] = torch.nan
    features = projection(z)
    assert features[2].isnan().any()
    assert torch.allclose(features[[0, 1, 3]], full[[0, 1, 3]], rtol=1e-9, atol=1e-12)


@every_row
def test_save_and_load_are_bit_equal(row: Row) -> None:
    projection = row.build()
    config = json.loads(json.dumps(projection.config()))
    loaded = Projection.from_config(config)
    assert loaded.config() == projection.config()
    assert loaded.guarantee == projection.guarantee
    for buffer in loaded.buffers():
        if buffer.is_floating_point():
            buffer.zero_()
    loaded.load_state_dict({name: tensor.clone() for name, tensor in projection.state_dict().items()})
    z = latents(projection, dtype=torch.float32)
    assert torch.equal(loaded(z), projection(z))


@every_row
def test_repr_says_what_it_is(row: Row) -> None:
    projection = row.build()
    assert str(projection.representation) in repr(projection)
    assert str(projection.guarantee) in repr(projection)
    assert projection.guarantee.source


@every_row
def test_construction_and_forward_leave_the_random_state(row: Row) -> None:
    before = torch.get_rng_state()
    projection = row.build()
    projection(latents(projection))
    assert torch.equal(torch.get_rng_state(), before)


@every_row
def test_export_with_dynamic_batch(row: Row) -> None:
    projection = row.build().eval()
    example = latents(projection, 3, dtype=torch.float32)
    batch = {0: torch.export.Dim("batch", min=1, max=4096)}
    program = torch.export.export(_Flat(projection), (example,), dynamic_shapes=(batch,))
    for n in (1, 2, 7):
        z = latents(projection, n, seed=n, dtype=torch.float32)
        assert torch.allclose(program.module()(z), projection(z), rtol=1e-5, atol=1e-6)


@every_row
def test_compile(row: Row) -> None:
    projection = row.build()
    torch._dynamo.reset()
    compiled: Any = torch.compile(projection, backend="aot_eager")
    z = latents(projection, dtype=torch.float32)
    assert torch.allclose(compiled(z), projection(z), rtol=1e-5, atol=1e-6)


class _Flat(nn.Module):
    """One input by position, as an exported graph has it."""

    def __init__(self, projection: Projection) -> None:
        super().__init__()
        self.projection = projection

    def forward(self, z: Tensor) -> Tensor:
        return self.projection(z)
