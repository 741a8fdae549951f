import pytest
import torch

from lightning_invariant.groups.grammar import parse_group
from lightning_invariant.metrics import element_classes


@pytest.mark.parametrize(
    ("text", "count", "first", "last"),
    [
        ("C8", 8, "0°", "315°"),
        ("D4", 8, "0°", "270°m"),
        ("S3", 6, "[0, 1, 2]", "[2, 1, 0]"),
        ("S9", None, None, "9 moved"),
        ("Z2^9", 10, "0 flipped", "9 flipped"),
        ("SO2", 16, "0°", "337.5°"),
        ("O2", 32, "0°", "337.5°m"),
        ("SO3", None, None, "180°"),
        ("O3", None, None, "180°m"),
        ("SO4", 1, "all", "all"),
        ("T100", 1, "all", "all"),
        ("C4 x Z2", 8, "0° -", "270° +"),
    ],
)
def test_classes_are_few_and_cover_all(text, count, first, last):
    group = parse_group(text)
    names, rows = element_classes(group, group.sample(5000, torch.Generator().manual_seed(0)))
    assert count is None or len(names) == count
    assert first is None or names[0] == first
    assert names[-1] == last
    assert rows.unique().tolist() == list(range(len(names)))


def test_the_angle_is_that_of_the_rotation():
    angle = torch.deg2rad(torch.tensor([0.0, 10.0, 12.0, 350.0, 181.0], dtype=torch.float64))
    turns = torch.stack([torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])])
    names, rows = element_classes(parse_group("SO2"), turns.permute(2, 0, 1))
    assert [names[row] for row in rows.tolist()] == ["0°", "0°", "22.5°", "0°", "180°"]
