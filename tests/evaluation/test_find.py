"""Representations found from latents."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from lightning_invariant.errors import GroupError, LatentError
from lightning_invariant.evaluation import find_representation, generators
from lightning_invariant.evaluation.find.averages import intertwiner, invariant_product, invariants, stages
from lightning_invariant.groups import Cube, Cyclic, Representation, Symmetric, parse_group
from lightning_invariant.groups.actions import ImageAction
from lightning_invariant.metrics import equivariance_error, invariance_error
from lightning_invariant.projections import choose
from lightning_invariant.zoo.ordinary import SmallCNN
from lightning_invariant.zoo.quarter_turns import QuarterTurnEncoder

KNOWN = [
    "C1: 4 trivial",
    "C4: 2 trivial + 3 regular",
    "C4: 3 trivial + 2x1 + 4x2",
    "C5: 2 regular",
    "T8: 3 regular",
    "D1: 3 regular",
    "D4: 2 trivial + 3 regular",
    "D4(axis=90): 2 trivial + 3 det + 2x1",
    "Cube: 2 trivial + 2 regular",
    "FullCube: 3 vectors",
    "SO2: 3x0 + 2x1 + 3x3",
    "O2: 3x0 + 2 det + 2x1 + 3x3",
    "O2(axis=90): 2x0 + 2x1 + 3x2",
    "SO3: 4x0 + 3x1 + 2x2",
    "SO3: 2x3 + 2x4",
    "O3: 4x0e + 2x1e + 3x1o + 2x2e",
]


def pairs(text: str, change: torch.Tensor | None = None, n: int = 1200, noise: float = 0.0):
    """Latents, transformed latents and elements of a representation, behind a change of basis."""
    representation, generator = Representation.parse(text), torch.Generator().manual_seed(0)
    z = torch.randn(n, representation.size, generator=generator).relu() + 0.1
    steps = generators(representation.group)
    g = steps[torch.randint(len(steps), (n,), generator=generator)]
    w = representation.transform(z, g)
    z, w = (part + noise * torch.randn(z.shape, generator=generator) for part in (z, w))
    return (z, w, g) if change is None else (z @ change, w @ change, g)


def random_basis(size: int) -> torch.Tensor:
    return torch.linalg.qr(torch.randn(size, size, generator=torch.Generator().manual_seed(1)))[0]


def random_order(size: int) -> torch.Tensor:
    return torch.randperm(size, generator=torch.Generator().manual_seed(2))


def random_element_error(found, text: str, change: torch.Tensor) -> float:
    """Equivariance error on fresh latents and random elements, in the found basis."""
    representation, generator = Representation.parse(text), torch.Generator().manual_seed(5)
    z = torch.randn(200, representation.size, generator=generator)
    g = representation.group.sample(200, generator)
    w = representation.transform(z, g)
    return equivariance_error(found.to_standard(w @ change), found.to_standard(z @ change), found.representation, g)


@pytest.mark.parametrize("text", KNOWN)
def test_shuffled_channels_are_found_with_their_order(text):
    size = Representation.parse(text).size
    order = random_order(size)
    z, w, g = pairs(text)
    found = find_representation(z[:, order], w[:, order], parse_group(text.split(":")[0]), g)
    assert str(found.representation) == text
    assert found.order is not None
    assert torch.equal(found.to_standard(z[:, order]), z[:, order][:, found.order])
    assert found.errors.found < 1e-6
    assert random_element_error(found, text, torch.eye(size)[:, order]) < 1e-5


@pytest.mark.parametrize("text", KNOWN)
def test_a_random_orthogonal_basis_is_found(text):
    basis = random_basis(Representation.parse(text).size)
    z, w, g = pairs(text, basis)
    found = find_representation(z, w, parse_group(text.split(":")[0]), g)
    assert str(found.representation) == text
    assert found.keeps_distances
    assert torch.allclose(found.basis.mT @ found.basis, torch.eye(found.basis.shape[1], dtype=torch.float64), atol=1e-9)
    assert random_element_error(found, text, basis) < 1e-5


@pytest.mark.parametrize("text", KNOWN[1:])
def test_an_action_that_is_not_orthogonal_is_found_in_a_basis_of_its_own(text):
    size = Representation.parse(text).size
    generator = torch.Generator().manual_seed(1)
    change = torch.eye(size) + 0.5 * torch.randn(size, size, generator=generator) / size**0.5
    z, w, g = pairs(text, change)
    found = find_representation(z, w, parse_group(text.split(":")[0]), g)
    assert str(found.representation) == text
    assert not found.keeps_distances
    assert "distances are not those of the latent" in str(found)
    assert random_element_error(found, text, change) < 1e-4


@pytest.mark.parametrize("text", ["C4: 2 trivial + 3 regular/C2", "D4: 2 regular/D1 + 2x2o", "C6: 1 regular + 2x3"])
def test_shuffled_fields_that_only_an_order_tells_apart_are_found(text):
    order = random_order(Representation.parse(text).size)
    z, w, g = pairs(text)
    found = find_representation(z[:, order], w[:, order], text.split(":")[0], g)
    assert found.order is not None
    assert found.representation is not None
    assert sorted(str(found.representation).split(": ")[1].split(" + ")) == sorted(text.split(": ")[1].split(" + "))
    assert found.errors.found < 1e-6


def test_fields_that_have_no_notation_are_found_inside_regular_fields():
    # Functions on the faces of a cube, each seen from its outer normal.
    group, n = Cube(), 600
    normals = torch.cat([torch.eye(3, dtype=torch.float64), -torch.eye(3, dtype=torch.float64)])
    steps = generators(group)
    rho = torch.stack([((normals @ group.matrices()[g].mT) @ normals.mT > 0.5).double().mT for g in steps])
    generator = torch.Generator().manual_seed(0)
    z = torch.rand(n, 6, dtype=torch.float64, generator=generator)
    which = torch.randint(len(steps), (n,), generator=generator)
    found = find_representation(z, torch.einsum("nij,nj->ni", rho[which], z), group, steps[which])
    assert found.order is None
    assert str(found.representation) == "Cube: 1 regular"
    assert found.errors.found < 1e-6
    assert torch.allclose(found.basis @ found.basis.mT, torch.eye(6, dtype=torch.float64))
    assert "in 24 numbers" in str(found)


def test_latents_that_span_a_part_only_are_found_on_that_part():
    text = "C4: 2 trivial + 3 regular"
    wide = torch.randn(14, 40, generator=torch.Generator().manual_seed(3))
    for change, keeps in ((torch.linalg.qr(wide.mT)[0].mT, True), (wide, False)):
        z, w, g = pairs(text, change)
        found = find_representation(z, w, "C4", g)
        assert (str(found.representation), found.keeps_distances) == (text, keeps)
        assert "14 directions of 40" in str(found)
        assert found.errors.found < 1e-5


def test_channels_that_never_vary_count_as_trivial():
    z, w, g = pairs("C4: 3 regular")
    still = torch.zeros(len(z), 2)
    found = find_representation(torch.cat([still, z], 1), torch.cat([still, w], 1), "C4", g)
    assert str(found.representation) == "C4: 2 trivial + 3 regular"
    assert found.order is not None


@pytest.mark.parametrize("text", ["C4: 2 trivial + 3 regular", "SO3: 4x0 + 3x1 + 2x2"])
def test_an_affine_offset_is_found(text):
    size = Representation.parse(text).size
    basis, shift = random_basis(size), 5 * torch.randn(size, generator=torch.Generator().manual_seed(4))
    z, w, g = pairs(text, basis)
    found = find_representation(z + shift, w + shift, text.split(":")[0], g)
    assert str(found.representation) == text
    assert "fixed point other than 0" in str(found)
    assert found.errors.found < 1e-5
    plain = find_representation(z, w, text.split(":")[0], g)
    assert not plain.offset.any()


def test_what_no_linear_action_explains_is_refused_whatever_the_multiplicities():
    z, w, g = pairs("C4: 16 regular")
    mix = torch.randn(64, 64, generator=torch.Generator().manual_seed(6)) / 8
    found = find_representation((z @ mix).relu(), (w @ mix).relu(), "C4", g)
    assert found.representation is None
    assert found.errors.linear > 0.2
    assert str(found).startswith(f"no linear action of C4 explains this latent (error {found.errors.linear:.2g};")
    noise = torch.randn(1200, 64, generator=torch.Generator().manual_seed(7))
    nothing = find_representation(noise, noise.roll(1, 0), "C4", g)
    assert nothing.representation is None
    assert nothing.errors.linear == pytest.approx(nothing.errors.shuffled, rel=0.1)


def test_linear_maps_that_make_up_no_representation_are_refused():
    z = torch.randn(800, 6, generator=torch.Generator().manual_seed(0))
    turned = torch.linalg.matrix_exp(torch.tensor([[0.0, -0.7], [0.7, 0.0]])).to(z)
    w = z.clone()
    w[:, :2] = z[:, :2] @ turned.T  # a turn of 40 degrees has not the order 4
    found = find_representation(z, w, "C4", torch.ones(800, dtype=torch.int64))
    assert found.representation is None
    assert found.errors.linear < 1e-5
    assert "linear maps fit each generator" in str(found)


def test_noise_is_reported_for_each_element():
    z, w, g = pairs("D4: 4 regular", noise=0.01)
    found = find_representation(z, w, "D4", g)
    assert str(found.representation) == "D4: 4 regular"
    assert set(found.errors.elements) == {"90°", "0°m"}
    assert 0.005 < found.errors.found < 0.05
    assert find_representation(z, w, "D4", g, tolerance=0.001).representation is None


def test_what_is_near_and_not_found_is_named():
    z, w, g = pairs("C4: 3 regular", noise=0.06)
    found = find_representation(z, w, "C4", g)
    assert found.representation is None
    assert f"the nearest is 'C4: 3 regular' with error {found.errors.found:.2g}" in str(found)
    assert str(find_representation(z, w, "C4", g, tolerance=0.2).representation) == "C4: 3 regular"


def test_all_elements_judge_and_inverses_are_fitted_on():
    representation, generator = Representation.parse("C4: 3 regular"), torch.Generator().manual_seed(0)
    z, g = torch.randn(600, 12, generator=generator), torch.randint(4, (600,), generator=generator)
    w = representation.transform(z, g)
    found = find_representation(z, w, "C4", g)
    assert set(found.errors.elements) == {"0°", "90°", "180°"}
    w[g == 2] = w[g == 2].flip(0)
    wrong = find_representation(z, w, "C4", g)
    assert wrong.representation is None


def test_few_samples_are_no_refusal():
    basis = random_basis(64)
    z, w, g = pairs("C4: 16 regular", basis, n=100)
    with pytest.raises(LatentError, match="at least 192 samples"):
        find_representation(z, w, "C4", g)
    found = find_representation(*pairs("C4: 16 regular", n=100)[:2], "C4", g)
    assert str(found.representation) == "C4: 16 regular"


def test_what_cannot_be_searched_says_so():
    z = torch.randn(50, 6)
    with pytest.raises(GroupError, match="declare the representation"):
        find_representation(z, z, Symmetric(3), torch.arange(3).expand(50, 3))
    with pytest.raises(LatentError, match="the element that transformed each"):
        find_representation(z, z, "C4")
    with pytest.raises(LatentError, match="generators"):
        find_representation(z, z, "SO3", parse_group("SO3").sample(50))
    with pytest.raises(LatentError, match="finite latents"):
        find_representation(z * torch.nan, z, "C4", torch.ones(50, dtype=torch.int64))


@pytest.mark.parametrize("text", ["D3: 2x1 + 1 regular", "Cube: 2 vectors", "SO3: 2x0 + 1x1 + 1x4", "O3: 1x1o + 1x2e"])
def test_averages_are_those_of_the_whole_group(text):
    representation, generator = Representation.parse(text), torch.Generator().manual_seed(0)
    parts = stages(representation.group, list(representation.matrices(generators(representation.group))))
    start = torch.randn(representation.size, representation.size, dtype=torch.float64, generator=generator)
    mean = intertwiner(parts, representation, start)
    rho = representation.matrices(representation.group.sample(5, generator))
    assert torch.allclose(rho @ mean, mean @ rho, atol=1e-10)
    assert not torch.allclose(rho @ start, start @ rho, atol=1e-2)
    assert torch.allclose(invariant_product(parts), torch.eye(representation.size, dtype=torch.float64), atol=1e-10)
    known = {"D3: 2x1 + 1 regular": 1, "SO3: 2x0 + 1x1 + 1x4": 2}
    assert invariants(parts) == pytest.approx(known.get(text, 0), abs=1e-9)


def test_generators_of_the_cube_are_its_matrices():
    group = Cube()
    assert torch.equal(group.matrices()[generators(group)], torch.tensor(group.generators, dtype=torch.float64))


@pytest.fixture(scope="module")
def digits():
    images = torch.from_numpy(load_digits().images).float()[:1000, None] / 16
    return nn.functional.interpolate(images, size=(28, 28), mode="bilinear")


class Rotated(nn.Module):
    """A group convolution behind a random orthogonal change of basis."""

    def __init__(self, fields: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = QuarterTurnEncoder(fields=fields)
        self.register_buffer("basis", random_basis(4 * fields))

    def forward(self, x):
        return self.body(x).flatten(1) @ self.basis


def test_a_group_convolution_behind_a_change_of_basis_gives_invariant_features(digits):
    network = Rotated(fields=8).eval()
    found = find_representation(network, digits, "C4")
    assert str(found.representation) == "C4: 8 regular"
    assert found.keeps_distances
    action = ImageAction(Cyclic(4))
    g = torch.arange(len(digits)) % 4
    with torch.no_grad():
        z, w = network(digits), network(action.transform(digits, g))
    projection = choose(found.representation)
    own = z @ network.basis.T, w @ network.basis.T
    layer = invariance_error(projection(own[1]), projection(own[0]))
    error = invariance_error(projection(found.to_standard(w)), projection(found.to_standard(z)))
    assert error <= 3 * layer
    assert layer < 1e-4
    wrong = invariance_error(projection(w), projection(z))
    assert wrong > 0.1


def test_an_ordinary_network_is_refused(digits):
    torch.manual_seed(0)
    network = SmallCNN().train()
    found = find_representation(network, digits, ImageAction(Cyclic(4)))
    assert found.representation is None
    assert "no linear action of C4 explains this latent (error" in str(found)
    assert network.training


def test_a_linear_layer_on_pixels_is_found_in_the_group_that_it_has(digits):
    torch.manual_seed(0)
    found = find_representation(nn.Sequential(nn.Flatten(), nn.Linear(784, 300)), digits, "C4")
    assert found.representation is not None
    assert not found.keeps_distances
    assert found.errors.found < 0.05


def test_the_page_about_it_runs_and_prints_what_it_says(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "find.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL))
    script = tmp_path / "page.py"
    script.write_text(code, encoding="utf-8")
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [line[2:] for line in code.splitlines() if line.startswith("# ")]
