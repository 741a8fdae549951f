"""What the recipes on turned digits share: images as they come and turned, probes of latents, errors by element."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from benchmarks.paper.recipes import Fitted, encoded
from benchmarks.paper.sections import Row
from lightning_invariant.groups import O2, SO2, Representation
from lightning_invariant.groups.actions import ImageAction, mean_distance
from lightning_invariant.metrics import equivariance_errors, holding_subgroup
from lightning_invariant.probes import accuracy
from lightning_invariant.zoo.mnist import load_mnist

if TYPE_CHECKING:
    from torch import Tensor

HEADS, ELEMENTS, HOLDS = "The networks' own classifiers", "Equivariance error by angle", "The symmetry that holds"
ASKED = "accuracy of 5 nearest upright digits on turned ones"
COPIES = 8
"""Turned copies of each bank image for the probe that is augmented."""
LIMITS = (1e-3, 0.05, 0.3)
"""Equivariance errors, over the distance between different digits, up to which an angle is said to hold: rounding, what
the callback accepts where images are moved exactly, and the most that it lets interpolation excuse."""
CHECKED = 500


class Sizes(NamedTuple):
    """How many images are trained on, in how many epochs; how many the probes and the callback's report see."""

    train: int
    epochs: int
    bank: int
    queries: int
    validation: int

    def changes(self, data_dir: str | None) -> dict[str, Any]:
        """Of a recipe's configuration."""
        return of_set(data_dir, self.train, self.validation) | {"trainer.max_epochs": self.epochs}


FULL, QUICK = Sizes(58_000, 2, 4000, 5000, 2000), Sizes(3000, 2, 1000, 1000, 500)


def of_set(data_dir: str | None, train: int, validation: int) -> dict[str, Any]:
    """Changes of a recipe's configuration for one set of images.

    Args:
        data_dir: The set, which may have fewer images than MNIST and other classes; None for MNIST itself.
        train: Training images, or all that there are.
        validation: Validation images, or a fifth of all.
    """
    changes: dict[str, Any] = {"data.data_dir": data_dir, "data.train_size": train, "data.validation_size": validation}
    if data_dir is not None:
        (images, labels), (_, tested) = load_mnist(data_dir)
        held = min(validation, len(images) // 5)
        changes["data.validation_size"] = held
        changes["data.train_size"] = min(train, len(images) - held)
        changes["model.classes"] = max(int(labels.max()), int(tested.max())) + 1
    return changes


class Digits(NamedTuple):
    """Images and labels of the bank and of the queries, as they come and turned."""

    bank: Tensor
    bank_labels: Tensor
    turned_bank: Tensor
    copies: Tensor
    upright: Tensor
    queries: Tensor
    labels: Tensor


def digits_of(data: Any, sizes: Sizes, seed: int, *, mirrored: bool = False) -> Digits:
    """The first images of the training and of the test set, turned at random, and mirrored if wished."""
    generator = torch.Generator().manual_seed(seed)
    bank, bank_labels = (column[: sizes.bank] for column in data.training.tensors)
    upright, labels = (column[: sizes.queries] for column in data.testing.tensors)
    turn = partial(_turned, generator=generator, mirrored=mirrored)
    copies = torch.cat([bank, *(turn(bank) for _ in range(COPIES - 1))])
    return Digits(bank, bank_labels, turn(bank), copies, upright, turn(upright), labels)


def _turned(x: Tensor, generator: torch.Generator, *, mirrored: bool) -> Tensor:
    group = O2() if mirrored else SO2()
    return ImageAction(group).transform(x, group.sample(len(x), generator))


def score_row(table: str, label: str, scores: dict[str, float], text: str, size: int | None = None) -> Row:
    """A line of probes' scores; the size is that of the latent if there are no features."""
    return Row(table, label, scores, {"size": Representation.parse(text).size if size is None else size})


def heads(fits: dict[str, Fitted], digits: Digits) -> list[Row]:
    """Accuracy of the classifiers that the networks were trained with."""
    rows = []
    for label, fit in fits.items():
        with torch.no_grad():
            found = {
                name: accuracy(torch.cat([fit.network(part).argmax(1) for part in x.split(256)]), digits.labels)
                for name, x in (("upright", digits.upright), ("turned", digits.queries))
            }
        rows.append(Row(HEADS, label, found))
    return rows


def elements(network: Any, representation: str, images: Tensor) -> list[Row]:
    """The error of each element on the first images, and the order of the subgroup that holds."""
    group, x = Representation.parse(representation).group, images[:CHECKED]
    z, action = encoded(network.encoder, x), ImageAction(group)
    rows, errors = [], {}
    for g in group.elements()[1:]:
        every = g.expand(len(x))
        errors |= equivariance_errors(encoded(network.encoder, action.transform(x, every)), z, representation, every)
        values = {"error": errors[group.label(g)], "images moved there and back": _round_trip(action, x, every)}
        rows.append(Row(ELEMENTS, group.label(g), values))
    orders = {f"error at most {limit:g}": holding_subgroup(errors, group, limit) for limit in LIMITS}
    return rows + [Row(HOLDS, name, {"elements that hold": float(_order(found))}) for name, found in orders.items()]


def _round_trip(action: ImageAction, x: Tensor, g: Tensor) -> float:
    """What an element and its inverse change, over the mean distance between images."""
    back = action.transform(action.transform(x, g), action.group.inverse(g))
    return (back - x).flatten(1).norm(dim=1).mean().item() / mean_distance(x)


def _order(name: str) -> int:
    """Of C_n, D_n or the identity."""
    return (2 if name[0] == "D" else 1) * int(name[1:]) if name[1:].isdigit() else 1
