"""Latents of every kind: padded sets, token sequences, feature maps, tuples, functions instead of a layer."""

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from lightning_invariant import InvariantCallback, Representation, choose
from lightning_invariant.callback.content import Content
from lightning_invariant.callback.masked import default_masked, masked, pack, with_mask
from lightning_invariant.errors import LatentError
from lightning_invariant.projections import FSW, MaxFilter, PointSort
from tests.callback.loops import REPRESENTATION, Classifier, fit, trainer

POINTS = "S6: 6 points x 4"


def sets(rows: int, seed: int):
    """Sets of 3 to 6 points in the plane, three classes of spread, in random places of six."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(3, (rows,), generator=generator)
    x = torch.randn(rows, 6, 2, generator=generator) * (1.0 + 2 * y)[:, None, None]
    kept = torch.rand(rows, 6, generator=generator).argsort(dim=1) < torch.randint(3, 7, (rows, 1), generator=generator)
    return [{"points": x[i], "mask": kept[i], "label": y[i]} for i in range(rows)]


class Sets(pl.LightningModule):
    """One network for each point; padding holds garbage."""

    def __init__(self, *, gives: str = "latents"):
        super().__init__()
        self.gives = gives

        class Encoder(nn.Module):
            def __init__(self):
                super().__init__()
                self.net = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 4))

            def forward(self, x, mask):
                z = torch.where(mask[..., None], self.net(x), 99.0)
                return {"latents": z, "pair": (z, mask), "dict": {"z": z, "present": mask}}[gives]

        self.encoder, self.head = Encoder(), nn.Linear(4, 3)

    def forward(self, x, mask):
        z = self.encoder(x, mask)
        z = z if self.gives == "latents" else z[0] if self.gives == "pair" else z["z"]
        weights = mask.float() / mask.sum(1, keepdim=True)
        return self.head((z * weights[..., None]).sum(1))

    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch["points"], batch["mask"]), batch["label"])

    def validation_step(self, batch, batch_idx):
        self(batch["points"], batch["mask"])

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 1e-2)


def train_sets(tmp_path, callback, module=None):
    pl.seed_everything(0, verbose=False)
    run = trainer([callback], tmp_path)
    run.fit(module or Sets(), DataLoader(sets(96, 0), 16), DataLoader(sets(64, 1), 16))
    return {name: float(value) for name, value in run.callback_metrics.items()}


MASKED = {
    "mask of the batch": (lambda: Sets(), {"mask": lambda batch: batch["mask"]}),
    "own projection": (
        lambda: Sets(),
        {"mask": lambda batch: batch["mask"], "projection": FSW(POINTS, ragged=True)},
    ),
    "pair of the layer": (lambda: Sets(gives="pair"), {"projection": PointSort(POINTS, ragged=True)}),
    "picked pair": (
        lambda: Sets(gives="dict"),
        {"projection": PointSort(POINTS, ragged=True), "pick": lambda out: (out["z"], out["present"])},
    ),
    "function": (
        lambda: Sets(),
        {
            "layer": lambda module, batch: module.encoder(batch["points"], batch["mask"]),
            "mask": lambda batch: batch["mask"],
        },
    ),
}


@pytest.mark.parametrize("name", MASKED)
def test_padded_sets_are_measured_on_the_points_that_exist(tmp_path, name):
    module, settings = MASKED[name]
    settings = {"layer": "encoder", "max_overhead": None} | settings
    # A mask that only the layer gives does not reach a forward of our own, so there latents are moved as declared.
    needs = "mask" not in settings
    seen = InvariantCallback(settings.pop("layer"), POINTS, **settings)
    logged = train_sets(tmp_path, seen, module())
    assert logged["invariant/problems"] == needs, seen._findings._said
    assert logged["invariant/error"] < 1e-5 < 0.1 < logged["raw/error"]
    assert logged["equivariance/error"] < 1e-5
    assert logged["invariant/knn"] > 0.5


def test_without_masks_the_padding_would_be_taken_for_points(tmp_path):
    plain = InvariantCallback("encoder", POINTS, max_overhead=None, labels=lambda batch: batch["label"])
    seen = InvariantCallback("encoder", POINTS, max_overhead=None, mask=lambda batch: batch["mask"])
    with pytest.warns(UserWarning, match="the network's own equivariance is not measured"):
        ignored = train_sets(tmp_path, plain)
    assert ignored["raw/error"] != pytest.approx(train_sets(tmp_path, seen)["raw/error"], abs=0.01)


def test_a_projection_without_masks_is_refused():
    with pytest.raises(ValueError, match="ragged=True"):
        InvariantCallback("encoder", POINTS, mask=lambda batch: batch["mask"], projection=choose(POINTS))
    with pytest.raises(ValueError, match="takes masks"):
        InvariantCallback("encoder", CLOUDS, mask=lambda batch: batch["mask"], projection=choose(CLOUDS))
    with pytest.raises(ValueError, match="Expected points"):
        InvariantCallback("encoder", REPRESENTATION, mask=lambda batch: batch["mask"])


def test_a_ragged_projection_without_a_mask_says_where_to_give_one(tmp_path):
    with pytest.raises(LatentError, match="or read the mask off the batch with mask="):
        train_sets(tmp_path, InvariantCallback("encoder", POINTS, projection=PointSort(POINTS, ragged=True)))


CLOUDS = "S6 x O3: 2 points*0e + 2 points*1o"


class Clouds(pl.LightningModule):
    """An equivariant network of vectors for padded points in space, whose padding holds garbage."""

    def __init__(self, garbage: float = 99.0):
        super().__init__()
        self.garbage = garbage
        self.encoder, self.head = CloudEncoder(), nn.Linear(2, 3)

    def forward(self, x, mask):
        z = self.encoder(x, mask, self.garbage)
        numbers = torch.where(mask[:, None], z[:, :12].reshape(-1, 2, 6), 0.0)
        return self.head(numbers.sum(2) / mask.sum(1, keepdim=True))

    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch["points"], batch["mask"]), batch["label"])

    def validation_step(self, batch, batch_idx):
        self(batch["points"], batch["mask"])

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 1e-2)


class CloudEncoder(nn.Module):
    """Two numbers and two vectors for each point, flat, one kind after the other."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 4))

    def forward(self, x, mask, garbage=99.0):
        made = self.net(x.norm(dim=2, keepdim=True))
        numbers, vectors = made[..., :2], made[..., 2:, None] * x[:, :, None]
        parts = [numbers.transpose(1, 2)[..., None], vectors.transpose(1, 2)]
        return torch.cat([torch.where(mask[:, None, :, None], p, garbage).flatten(1) for p in parts], dim=1)


def clouds(rows: int, seed: int):
    plane = sets(rows, seed)
    generator = torch.Generator().manual_seed(seed)
    for row in plane:
        row["points"] = torch.cat([row["points"], torch.randn(6, 1, generator=generator)], dim=1)
    return plane


def train_clouds(tmp_path, callback, garbage=99.0):
    pl.seed_everything(0, verbose=False)
    run = trainer([callback], tmp_path)
    run.fit(Clouds(garbage), DataLoader(clouds(96, 0), 16), DataLoader(clouds(64, 1), 16))
    timed = ("invariant/seconds", "invariant/overhead")
    return {name: float(value) for name, value in run.callback_metrics.items() if name not in timed}


def test_padded_points_in_space_are_measured_on_those_that_exist(tmp_path):
    def seen():
        return InvariantCallback("encoder", CLOUDS, mask=lambda batch: batch["mask"], max_overhead=None)

    callback = seen()
    logged = train_clouds(tmp_path, callback)
    assert logged["invariant/problems"] == 0, callback._findings._said
    assert logged["equivariance/error"] < 1e-5
    assert logged["invariant/error"] < 1e-4 < 0.1 < logged["raw/error"]
    assert logged == train_clouds(tmp_path, seen(), garbage=-7.0)  # what stands in the padding does not matter


@pytest.mark.parametrize("text", [CLOUDS, "S6 x SO3: 1 points*vectors + 2 trivial", "S6 x O2: 3 points*vectors"])
def test_clouds_that_carry_their_mask_have_the_features_of_what_is_there(text):
    rep, generator = Representation.parse(text), torch.Generator().manual_seed(0)
    z, mask = rep.random(5, generator), torch.rand(5, 6, generator=generator) < 0.6
    mask[:, 0] = True
    inner = default_masked(rep, None)
    outer, packed = masked(inner), pack(z, mask, rep)
    assert outer.representation == with_mask(rep) == Representation.parse(f"{rep} + 1 points*trivial")
    assert torch.equal(outer(packed), inner(z, mask))
    assert not torch.allclose(outer(packed), inner(z, torch.ones_like(mask)), atol=1e-2)
    moved = outer.representation.move(packed, outer.representation.group.sample(5, generator))
    assert torch.allclose(outer(moved), outer(packed), atol=1e-4)
    # Nothing is hidden: the mask changes nothing, whatever it is.
    whole = torch.ones_like(mask)
    assert torch.allclose(outer(pack(z, whole, rep)), inner(z), atol=1e-6)


def test_a_mask_of_another_shape_is_refused(tmp_path):
    seen = InvariantCallback("encoder", POINTS, mask=lambda batch: batch["mask"][:, :5])
    with pytest.raises(LatentError, match=r"Expected a boolean mask of shape \(16, 6\)"):
        train_sets(tmp_path, seen)


def test_latents_that_carry_their_mask():
    rep = Representation.parse(POINTS)
    z, mask = torch.randn(5, 6, 4), torch.rand(5, 6) < 0.7
    mask[:, 0] = True
    inner = PointSort(POINTS, ragged=True)
    outer, packed = masked(inner), pack(z.flatten(1), mask, rep)
    assert outer.representation == with_mask(rep) == Representation.parse("S6: 6 points x 5")
    assert torch.equal(outer(packed), inner(z, mask))
    g = outer.representation.group.sample(5, torch.Generator().manual_seed(0))
    assert torch.allclose(outer(outer.representation.move(packed, g)), outer(packed), atol=1e-5)
    assert default_masked(rep, None).ragged
    with pytest.raises(ValueError, match="takes masks"):
        masked(MaxFilter(POINTS))


# -- token sequences, functions --


class Tokens(Classifier):
    """The picture's latent stands at every one of seven places of a sequence, with noise away from the first."""

    def __init__(self):
        super().__init__()
        inner = self.encoder

        class Sequence(nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = inner

            def forward(self, x):
                z = self.inner(x).flatten(1)
                return torch.stack([z * (1 + place) for place in range(7)], dim=1)

        self.encoder = Sequence()

    def forward(self, x):
        return self.head(self.encoder(x)[:, 0])


@pytest.mark.parametrize(
    "settings", [{"pool": "mean"}, {"pool": "max"}, {"pick": lambda tokens: tokens[:, 0]}], ids=["mean", "max", "class"]
)
def test_token_sequences(tmp_path, settings):
    seen = InvariantCallback("encoder", REPRESENTATION, max_overhead=None, **settings)
    _, run = fit([seen], tmp_path, Tokens())
    assert run.callback_metrics["invariant/problems"] == 0
    assert run.callback_metrics["invariant/error"] < 1e-5 < run.callback_metrics["raw/error"]


def latent(module, batch):
    return module.encoder(batch[0])


def test_a_function_gives_the_numbers_of_the_layer(tmp_path):
    by_name = fit([InvariantCallback("encoder", REPRESENTATION, max_overhead=None)], tmp_path)[1].callback_metrics
    by_function = fit([InvariantCallback(latent, REPRESENTATION, max_overhead=None)], tmp_path)[1].callback_metrics
    for name in ("raw/knn", "invariant/linear", "raw/error", "equivariance/error"):
        assert by_function[name] == pytest.approx(float(by_name[name]), abs=1e-5)


def test_a_function_that_does_not_fit_is_refused_before_the_training(tmp_path):
    module = Classifier()
    with pytest.raises(LatentError, match="Expected latents of shape"):
        fit([InvariantCallback(latent, "C4: 5 regular")], tmp_path, module)
    with pytest.raises(TypeError, match="list indices"):
        fit([InvariantCallback(lambda module, batch: batch["none"], REPRESENTATION)], tmp_path, module)
    assert module.steps == 0


@pytest.mark.parametrize(
    "batch",
    [
        (torch.randn(4, 3), torch.arange(4)),
        {"x": torch.randn(4, 3), "y": torch.arange(4), "extra": torch.randn(4, 2), "scale": torch.tensor(2.0)},
        [torch.randn(4, 3), {"deep": (torch.arange(4), "text")}],
    ],
    ids=["tuple", "dict", "nested"],
)
def test_a_batch_is_taken_apart_and_put_together_again(batch):
    content = Content(None, None, None, whole=True, say=lambda key, text: None)
    columns = content.columns(batch)
    assert content.movable
    again = content.rebuilt(columns)
    assert str(again) == str(batch)
    rows = torch.tensor([2, 0])
    fewer = content.rebuilt({name: column[rows] for name, column in columns.items()})
    x = fewer["x"] if isinstance(fewer, dict) else fewer[0]
    assert torch.equal(x, columns["x"][rows])


def test_inputs_made_anew_have_no_place_in_the_batch(tmp_path):
    seen = InvariantCallback(latent, REPRESENTATION, inputs=lambda batch: batch[0] * 1.0, max_overhead=None)
    with pytest.warns(UserWarning, match="moved inputs have no place in it"):
        _, run = fit([seen], tmp_path)
    assert run.callback_metrics["invariant/knn"] > 0
    assert run.callback_metrics["invariant/error"] < 1e-5
