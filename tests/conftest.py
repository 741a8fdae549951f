"""What all tests share."""

import pytest
import torch


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Give every test the same random numbers, whichever ran before it."""
    torch.manual_seed(0)
