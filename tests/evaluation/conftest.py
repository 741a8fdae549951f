"""Latents of labelled samples in random poses, as a layer gives them that is equivariant up to some noise."""

import pytest
import torch

from lightning_invariant.evaluation import Latents
from lightning_invariant.groups import Representation

TEXT = "C4: 4 regular"


@pytest.fixture
def made():
    """A function that makes latents: classes lie around a few orbits, every input is in a pose of its own if posed."""

    def make(text=TEXT, count=200, asked=150, noise=0.02, spread=0.4, classes=4, seed=0, posed=True, **changes):
        generator = torch.Generator().manual_seed(seed)
        representation = Representation.parse(text)
        labels = torch.randint(classes, (count,), generator=generator)
        means = representation.random(classes, generator)
        z = means[labels] + spread * representation.random(count, generator)
        poses = representation.group.sample(count, generator)
        z = representation.transform(z, poses) if posed else z
        queries = torch.randperm(count, generator=generator)[:asked]
        elements = representation.group.sample(asked, generator)
        transformed = representation.transform(z[queries], elements)
        transformed = transformed + noise * transformed.std() * torch.randn(transformed.shape, generator=generator)
        known = {
            "labels": labels,
            "queries": queries,
            "transformed": transformed.float(),
            "elements": elements,
            "round_trip": torch.zeros(asked),
        }
        return Latents(z.float(), **known | changes)

    return make
