"""How much of the quotient each projection keeps: the tasks behind projections_quality.md."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from benchmarks.oracles import ORACLES
from lightning_invariant import projections as P
from lightning_invariant import quotient
from lightning_invariant.groups import Representation
from lightning_invariant.metrics.separation import hard_negatives

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

SAMPLES, QUICK_SAMPLES = 300, 60
SEEDS = 4
CLASSES, FACTORS, HIDDEN = 60, 4, 32
COLUMNS = (
    *("latents", "data", "projection", "size", "distortion", "99 over 1 percentile", "Spearman"),
    *("quotient 1-NN", "label 1-NN", "hard-negative ratio"),
)
NOTES = (
    f"Means over {SEEDS} draws of {SAMPLES} latents and of the templates.",
    f"Clusters: noisy copies of {CLASSES} Gaussian prototypes. Curved: a random two-layer tanh network of {FACTORS} "
    "factors, with labels by the signs of two of them. Every latent is moved at random.",
    "Hard negatives: every channel moved by itself; 0 says that they are merged.",
)


class Task(NamedTuple):
    """Latents and the maps to compare on them.

    Args:
        text: Representation.
        data: "clusters" or "curved".
        noise: Standard deviation of the noise on each number.
        maps: Name of a projection and its sizes; 0 for the one size that it has.
    """

    text: str
    data: str
    noise: float
    maps: dict[str, tuple[int, ...]]


TASKS = (
    Task(
        "C8: 8 regular",
        "clusters",
        0.5,
        {
            **dict.fromkeys(("raw", "OrbitMean", "ChannelMax"), (0,)),
            **dict.fromkeys(("RandomFeatures", "SortedCoorbits", "MaxFilter"), (128, 512)),
        },
    ),
    Task(
        "C8: 8 regular",
        "curved",
        0.1,
        {"CyclicPowerSpectrum": (0,), "CyclicBispectrum": (0,), "SortedCoorbits": (110,), "MaxFilter": (110,)},
    ),
    *(
        Task("SO2: 8x1 + 4x2", data, noise, {"raw": (0,), "PhaseInvariants": (0,), "CircleMaxFilter": (40, 96)})
        for data, noise in (("clusters", 0.5), ("curved", 0.1))
    ),
    Task(
        "C8: 64 regular",
        "curved",
        0.1,
        {
            **dict.fromkeys(("raw", "OrbitMean", "ChannelMax", "ChannelNorm"), (0,)),
            **dict.fromkeys(("RandomFeatures", "SortedCoorbits", "MaxFilter"), (256, 1024)),
        },
    ),
    Task("S9: 9 points", "clusters", 0.15, dict.fromkeys(("raw", "Sort", "OrbitMean"), (0,))),
    *(
        Task(
            "S9: 9 points x 16",
            data,
            noise,
            {
                **dict.fromkeys(("raw", "OrbitMean", "ChannelMax"), (0,)),
                **dict.fromkeys(("PointSort", "FSW"), (144, 576, 2304)),
                "max filter by assignment": (144, 576),
            },
        )
        for data, noise in (("clusters", 0.5), ("curved", 0.1))
    ),
    *(
        Task(text, data, noise, {"raw": (0,), "chosen": (0,), "max filter by nuclear norm": sizes})
        for text, sizes in (("O3: 8 vectors", (36, 96)), ("SO3: 6 vectors", (31, 96)))
        for data, noise in (("clusters", 0.5), ("curved", 0.1))
    ),
    *(
        Task(text, data, noise, dict.fromkeys(("selective bispectrum", "MaxFilter"), (128,)))
        for text in ("C8: 8 regular", "D4: 8 regular")
        for data, noise in (("clusters", 0.5), ("curved", 0.1))
    ),
)


def latents(task: Task, n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Latents, each moved by a random element, with their labels."""
    representation, generator = Representation.parse(task.text), torch.Generator().manual_seed(seed)
    z, labels = (_clusters if task.data == "clusters" else _curved)(representation, n, generator)
    z = z + task.noise * representation.random(n, generator)
    return representation.transform(z, representation.group.sample(n, generator)).double(), labels


def _clusters(representation: Representation, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    labels = torch.randint(CLASSES, (n,), generator=generator)
    return representation.random(CLASSES, generator)[labels], labels


def _curved(representation: Representation, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    factors = torch.randn(n, FACTORS, generator=generator)
    hidden = torch.tanh(factors @ torch.randn(FACTORS, HIDDEN, generator=generator))
    z = hidden @ torch.randn(HIDDEN, representation.size, generator=generator) / HIDDEN**0.5
    return z, (factors[:, :2] > 0).long() @ torch.tensor([1, 2])


def quotient_distances(text: str, z: Tensor, w: Tensor) -> Tensor:
    """Return min_g |z_i - rho(g) w_j|, shape (n, m): by elements for small groups, else by `quotient.distance`."""
    representation = Representation.parse(text)
    if (representation.group.order or 65) <= 64:
        moved = (representation.transform(w, g) for g in representation.group.elements())
        return torch.stack([torch.cdist(z, other) for other in moved]).amin(dim=0)
    return quotient.distance(z, w, representation, pairwise=True)


def kept(text: str, project: Callable[[Tensor], Tensor], data: tuple[Tensor, Tensor], exact: Tensor) -> list[float]:
    """Distortion, its 1 to 99 percentiles, Spearman, 1-NN agreement, label 1-NN, hard-negative ratio."""
    z, labels = data
    features, n = project(z), len(z)
    found = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")
    i, j = torch.triu_indices(n, n, offset=1)
    ratios = found[i, j] / exact[i, j]
    low, high = ratios.quantile(torch.tensor([0.01, 0.99], dtype=ratios.dtype)).tolist()
    ranks = torch.stack([v[i, j].argsort().argsort().double() for v in (found, exact)])
    nearest = [(d + torch.diag(torch.full((n,), math.inf))).argmin(dim=1) for d in (found, exact)]
    apart = hard_negatives(z, text, torch.Generator().manual_seed(1))
    distance = quotient_distances(text, z[:100], apart[:100]).diagonal()
    hard = (features[:100] - project(apart[:100])).norm(dim=1)[distance > 1e-6] / distance[distance > 1e-6]
    return [
        float(ratios.max() / ratios.min()) if ratios.min() > 0 else math.inf,
        high / low,
        float(torch.corrcoef(ranks)[0, 1]),
        float((nearest[0] == nearest[1]).double().mean()),
        float((labels[nearest[0]] == labels).double().mean()),
        float(hard.median() / ratios.median()),
    ]


def quality(*, quick: bool) -> list[list[Any]]:
    """One row a task and map: means over seeds of what `kept` gives."""
    samples, seeds = (QUICK_SAMPLES, 1) if quick else (SAMPLES, SEEDS)
    return [row for task in TASKS for row in _compared(task, samples, seeds)]


def _compared(task: Task, samples: int, seeds: int) -> list[list[Any]]:
    found: dict[tuple[str, int], list[list[float]]] = {}
    for seed in range(seeds):
        data = latents(task, samples, seed)
        exact = quotient_distances(task.text, data[0], data[0])
        for name, sizes in task.maps.items():
            for size in sizes:
                project, width = _projection(name, task.text, size, seed)
                found.setdefault((name, width), []).append(kept(task.text, project, data, exact))
    return [
        [task.text, task.data, name, width, *torch.tensor(rows).mean(dim=0).tolist()]
        for (name, width), rows in found.items()
    ]


def _projection(name: str, text: str, size: int, seed: int) -> tuple[Callable[[Tensor], Tensor], int]:
    if name == "raw":
        return (lambda z: z), Representation.parse(text).size
    if name == "chosen":
        projection = P.choose(text, size or None)
        return projection, projection.out_features
    if name in ORACLES:
        return ORACLES[name](text, size, seed), size
    sized = {"out_features": size, "seed": seed} if size else {}
    projection = P.Projection.from_config({"name": name, "representation": text, **sized})
    return projection, projection.out_features
