from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from lightning_invariant.errors import GroupError, GuaranteeError, LatentError
from lightning_invariant.groups import parse_group
from lightning_invariant.guarantee import Guarantee, Separation
from lightning_invariant.projections import (
    ArgmaxCanonical,
    ChannelMax,
    Cone,
    Gram,
    GramRoot,
    GramRows,
    MaxFilter,
    Norm,
    OrbitMean,
    PairSort,
    PhaseInvariants,
    PointFrames,
    PointSort,
    Projection,
    SampledMax,
    SampledMean,
    SignOuter,
    Sort,
)
from lightning_invariant.testing import assert_guarantee, assert_invariant
from lightning_invariant.testing.search import _of_order

INJECTIVE = Separation.INJECTIVE

HONEST = [
    ArgmaxCanonical("C8: 2 regular"),
    ChannelMax("C8: 2 regular"),
    Gram("O3: 3 vectors"),
    GramRoot("O3: 3 vectors"),
    GramRows("S4 x O3: 2 points*vectors + 1 points*trivial"),
    MaxFilter("C8: 2 regular"),
    MaxFilter("D4: 1 trivial + 2 regular"),
    Norm("O3: 1 vectors"),
    OrbitMean("S5: points x 2"),
    PhaseInvariants("SO2: 2x1 + 1x2"),
    PointFrames("S4 x SO3: 1 points*vectors"),
    PointSort("S5: points x 2"),
    SignOuter("Z2^3: 2 signs"),
    Sort("S7: points"),
]


class _Broken(Projection):
    """A function that claims what it does not keep."""

    def __init__(self, representation, function, **claims):
        super().__init__(representation)
        self.function = function
        self.out_features = function(torch.zeros(1, self.representation.size, dtype=torch.float64)).shape[1]
        defaults = {"group": str(self.representation.group), "separation": Separation.LOSSY, "continuous": False}
        self.guarantee = Guarantee(**(defaults | claims))

    def project(self, z):
        return self.function(z)


def channelwise_sort(z):
    return z.reshape(-1, 2, 4).sort(dim=-1).values.flatten(1)


def canonical(z):
    """Rolled so that the largest entry of the first channel stands first."""
    fields = z.reshape(-1, 2, 4)
    index = (torch.arange(4) + fields[:, 0].argmax(dim=1, keepdim=True)) % 4
    return fields.gather(2, index[:, None].expand(-1, 2, -1)).flatten(1)


def stretched_sort(z):
    return z.sort(dim=1).values * torch.tensor([1.0, 1, 1, 3])


def gram(z):
    points = z.reshape(-1, 3, 3)
    return (points @ points.mT).flatten(1)


def distances(z):
    x = z.reshape(-1, 4, 3)
    pairs = torch.triu_indices(4, 4, offset=1)
    between = (x[:, pairs[0]] - x[:, pairs[1]]).norm(dim=2)
    return torch.cat([between.sort(dim=1).values, x.norm(dim=2).sort(dim=1).values], dim=1)


def faintly_handed(z):
    both, handed = GramRoot("O3: 4 vectors").double(), GramRoot("SO3: 4 vectors").double()
    return torch.cat([both(z), 1e-4 * handed(z)[:, both.out_features :]], dim=1)


def small_jump(z):
    return torch.cat([z.sort(dim=1).values, 0.005 * (z.norm(dim=1, keepdim=True) > 1.3)], dim=1)


BROKEN = {
    "not invariant": (_Broken("C4: 2 regular", lambda z: z[:, :5]), "leaves alone.*but got"),
    "invariant to quarter of the group only": (
        _Broken("C4: regular", lambda z: z.reshape(-1, 2, 2).sum(1)),
        "for the element 90°|for the element 270°",
    ),
    "collapsed": (_Broken("C4: 2 regular", lambda z: 0 * z + 1), "constant says nothing"),
    "not finite": (_Broken("C4: 2 regular", lambda z: (z - 1e9).log()), "finite features"),
    "channels apart": (
        _Broken("C4: 2 regular", channelwise_sort, separation=Separation.GENERIC),
        "hard negatives latents at orbit distance",
    ),
    "not injective": (
        _Broken("O3: 1 vectors", lambda z: z.norm(dim=1, keepdim=True).clamp(max=1e3), separation=Separation.INJECTIVE),
        "injective map to tell different orbits apart but huge latents",
    ),
    "Lipschitz bound": (
        _Broken("S4: points", lambda z: 2 * z.sort(dim=1).values, lipschitz=1.0),
        "at most 1 times the orbit distance .* have 2",
    ),
    "distortion bound": (
        _Broken(
            "S4: points",
            stretched_sort,
            separation=Separation.BILIPSCHITZ,
            distortion=1.5,
        ),
        "distortion at most 1.5",
    ),
    "isometric": (
        _Broken("S4: points", stretched_sort, separation=Separation.ISOMETRIC),
        "distortion at most 1 ",
    ),
    "bi-Lipschitz below": (
        _Broken("O3: 3 vectors", gram, separation=Separation.BILIPSCHITZ),
        "bi-Lipschitz map but",
    ),
    "bi-Lipschitz above": (
        _Broken("O3: 1 vectors", lambda z: z.square().sum(1, keepdim=True), separation=Separation.BILIPSCHITZ),
        "bi-Lipschitz map but",
    ),
    "not continuous": (_Broken("C4: 2 regular", canonical, continuous=True), "continuous map but features jump by"),
    "jumps at zero": (
        _Broken("Z2: 2 signs", lambda z: z[:, :1] * z / z.square().sum(1, keepdim=True).clamp(1e-30), continuous=True),
        "jump by",
    ),
    "gradients": (
        _Broken("O3: 1 vectors", lambda z: z.square().sum(1, keepdim=True).sqrt(), continuous=True),
        "finite gradients but got .*nan",
    ),
    "a factor of 1.0005": (
        _Broken("S5: points", lambda z: 1.0005 * z.sort(dim=1).values, separation=Separation.ISOMETRIC, lipschitz=1.0),
        "at most 1 times the orbit distance",
    ),
    "a number dropped": (
        _Broken("S5: points", lambda z: z.sort(dim=1).values[:, :4], separation=Separation.BILIPSCHITZ),
        "1 directions leave them alone",
    ),
    "too few columns": (
        _Broken("S4: 4 points x 2", PointSort("S4: 4 points x 2", 4).double(), separation=Separation.BILIPSCHITZ),
        "4 directions leave them alone",
    ),
    "power spectrum": (
        _Broken("C8: regular", lambda z: torch.fft.rfft(z).abs(), separation=Separation.GENERIC),
        "3 directions leave them alone",
    ),
    "not invariant by 1e-7": (
        _Broken("C4: regular", lambda z: z.sort(dim=1).values.sum(1, keepdim=True) + z[:, 1:] * 0 + 1e-7 * z[:, :1]),
        "leaves alone",
    ),
    "not invariant far away": (
        _Broken("S3: points", lambda z: z.sort(dim=1).values + z[:, :1] * (z.norm(dim=1, keepdim=True) > 9)),
        "leaves alone",
    ),
    "distances without their places": (
        _Broken("S4 x O3: 1 points*vectors", distances, separation=Separation.INJECTIVE),
        "a search found latents at orbit distance",
    ),
    "mirror images": (
        _Broken("SO3: 4 vectors", GramRoot("O3: 4 vectors").double(), separation=Separation.GENERIC),
        "tell different orbits apart but opposite latents",
    ),
    "mirror images in effect": (
        _Broken("SO3: 4 vectors", faintly_handed, separation=Separation.GENERIC),
        "noise does not merge but opposite latents",
    ),
    "rows of a Gram root": (
        _Broken("S4 x O3: 1 points*vectors", GramRows("S4 x O3: 1 points*vectors").double(), separation=INJECTIVE),
        "published latents at orbit distance",
    ),
    "one step of message passing": (
        _Broken("S6: 1 pairs", PairSort("S6: 1 pairs", marks=0).double(), separation=INJECTIVE),
        "published latents at orbit distance",
    ),
    "a Lipschitz bound a little too small": (
        _Broken("O3: 3 vectors", GramRoot("O3: 3 vectors").double(), separation=INJECTIVE, lipschitz=1.35),
        "searched latents have 1.4",
    ),
    "a distortion bound a little too small": (
        _Broken("C4: 1x1", Cone("C4: 1x1").double(), separation=Separation.BILIPSCHITZ, distortion=1.5),
        r"from 0\.65\d+ \(searched latents\) to 1",
    ),
    "a jump of half a percent": (
        _Broken("S3: points", small_jump, continuous=True),
        r"features jump by 0\.005 between",
    ),
    "not invariant at one size": (
        _Broken("S3: points", lambda z: z.sort(dim=1).values + z * ((z.norm(dim=1) - 120).abs() < 60)[:, None]),
        r"at a latent of norm \d+\.?\d* the element",
    ),
    "another group": (_Broken("C4: 2 regular", channelwise_sort, group="C8"), "guarantee under C4 but it says C8"),
}


@pytest.mark.parametrize("projection", HONEST, ids=lambda p: f"{type(p).__name__} {p.representation}")
def test_honest_projections_pass(projection):
    state = torch.get_rng_state()
    assert_guarantee(projection)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", BROKEN)
def test_false_claims_are_refuted(name):
    projection, message = BROKEN[name]
    with pytest.raises(GuaranteeError, match=message):
        assert_guarantee(projection)


def test_the_same_maps_pass_with_modest_claims():
    for name in ("channels apart", "not injective", "Lipschitz bound", "isometric", "not continuous"):
        projection = BROKEN[name][0]
        modest = _Broken(projection.representation, projection.function)
        assert_guarantee(modest)


def test_the_message_holds_the_numbers():
    with pytest.raises(GuaranteeError, match=r"from 1 \(.*\) to 2\.\d+ \(") as caught:
        assert_guarantee(BROKEN["isometric"][0])
    assert "latents" in str(caught.value)


@pytest.mark.parametrize("kind", [SampledMean, SampledMax])
def test_maps_of_sampled_transforms_are_held_to_their_residual(kind):
    assert_guarantee(kind("Sampled: 4 trivial"))


class _Spread(SampledMean):
    """A negative control: as uncertain with many transforms as with few."""

    def project(self, z):
        return z.std(dim=1) * z.shape[1] ** 0.5

    def residual(self, z):
        return 10 * super().residual(z[:, :2])


class _Sure(SampledMean):
    """Another: it states a tenth of its error."""

    def residual(self, z):
        return 0.1 * super().residual(z)


class _Weighted(SampledMean):
    """Another: its features depend on which transform came first, but less and less."""

    def project(self, z):
        return z.mean(dim=1) + z[:, 0] / z.shape[1]


def test_false_claims_of_sampled_maps_are_refuted():
    exact = SampledMean("Sampled: 4 trivial")
    exact.guarantee = Guarantee(group="Sampled(augmentation)", separation=Separation.LOSSY)
    with pytest.raises(GuaranteeError, match="claim sampled invariance"):
        assert_guarantee(exact)
    with pytest.raises(GuaranteeError, match="order of the transforms"):
        assert_guarantee(_Weighted("Sampled: 4 trivial"))
    with pytest.raises(GuaranteeError, match="come together with more transforms"):
        assert_guarantee(_Spread("Sampled: 4 trivial"))
    with pytest.raises(GuaranteeError, match="within 4 residuals"):
        assert_guarantee(_Sure("Sampled: 4 trivial"))


def test_single_latents_of_sampled_groups_cannot_be_checked():
    with pytest.raises(GroupError, match="use assert_guarantee"):
        assert_invariant(nn.Identity(), "Sampled: 4 trivial")


def test_any_module_or_function_is_checked_for_invariance():
    assert_invariant(lambda z: z.sum(dim=-1), "C8: 4 regular")
    assert_invariant(nn.Sequential(nn.Flatten(), MaxFilter("C8: 4 regular"), nn.Linear(64, 3)), "C8: 4 regular")
    with pytest.raises(GuaranteeError, match="leaves alone"):
        assert_invariant(nn.Sequential(nn.Flatten(), nn.Linear(32, 3)), "C8: 4 regular")


def test_the_worst_element_is_named():
    def halves(z):
        return z.reshape(-1, 4, 2).sum(dim=1)

    with pytest.raises(GuaranteeError, match=r"for the element 1?\d+°") as caught:
        assert_invariant(halves, "C8: regular")
    assert "90°" not in str(caught.value)


def test_modules_are_run_in_eval_mode_and_given_back_unchanged():
    norm = nn.BatchNorm1d(4)
    module = nn.Sequential(ChannelMax("C8: 4 regular"), norm, nn.Dropout(0.5))
    module[2].eval()
    before = norm.running_mean.clone()
    assert_invariant(module, "C8: 4 regular")
    assert torch.equal(norm.running_mean, before)
    assert [part.training for part in module] == [True, True, False]
    with pytest.raises(GuaranteeError):
        assert_invariant(nn.Sequential(nn.Flatten(), nn.Linear(32, 2)), "C8: 4 regular", tolerance=1e-6)


def test_own_latents_dtype_and_tolerance():
    z = torch.randn(16, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def nearly(x):
        return x.sort(dim=1).values + 1e-3 * x

    assert_invariant(nearly, "S8: points", z=z, tolerance=1e-2)
    with pytest.raises(GuaranteeError, match=r"up to 0\.0001"):
        assert_invariant(nearly, "S8: points", z=z)
    with pytest.raises(LatentError):
        assert_invariant(nearly, "S9: points", z=z)


def test_collapse_and_nan_do_not_pass():
    with pytest.raises(GuaranteeError, match="constant"):
        assert_invariant(lambda z: torch.ones(len(z), 3), "C8: regular")
    with pytest.raises(GuaranteeError, match="nan"):
        assert_invariant(lambda z: z * math.nan, "C8: regular")


@pytest.mark.parametrize("name", ["C8", "S100", "Cube", "O3", "SO3", "U3", "SU2"])
@pytest.mark.parametrize("order", [2, 3, 4])
def test_elements_that_leave_symmetric_latents_alone_have_the_order_asked_for(name, order):
    group, generator, found = parse_group(name), torch.Generator().manual_seed(0), []
    for _ in range(12):
        g = power = _of_order(group, order, generator)
        for _ in range(order - 1):
            power = group.compose(g, power)
        assert torch.allclose(power.double(), group.identity().double(), atol=1e-9)
        found.append(torch.allclose(g.double(), group.identity().double(), atol=1e-9))
    assert not all(found) or (name == "C8" and order == 3)  # no rotation by eighths has order 3
