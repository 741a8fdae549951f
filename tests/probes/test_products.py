"""Both kernels give the same products; the convolution is used where it should be."""

from __future__ import annotations

import pytest
import torch

from lightning_invariant.probes.products import WORTH, RowProducts

ONEDNN = torch.backends.mkldnn.is_available()


@pytest.fixture
def convolutions(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shapes of the images that were convolved."""
    seen: list[tuple[int, ...]] = []
    genuine = torch.conv2d

    def noted(image: torch.Tensor, *arguments: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(image.shape))
        return genuine(image, *arguments)

    monkeypatch.setattr(torch, "conv2d", noted)
    return seen


@pytest.mark.parametrize(("count", "size", "queries"), [(1, 1, 1), (37, 5, 3), (3000, 33, 224), (4000, 129, 7)])
def test_equal_exact_products(count: int, size: int, queries: int) -> None:
    generator = torch.Generator().manual_seed(count)
    rows, block = torch.randn(count, size, generator=generator), torch.randn(queries, size, generator=generator)
    products = RowProducts(rows)(block)
    assert products.shape == (count, queries)
    assert products.is_contiguous()
    torch.testing.assert_close(products.double(), rows.double() @ block.double().T, atol=1e-4, rtol=1e-5)


def test_rows_need_not_be_contiguous() -> None:
    rows = torch.randn(300, 4000, generator=torch.Generator().manual_seed(0)).T
    torch.testing.assert_close(RowProducts(rows)(rows[:5]), rows @ rows[:5].T, atol=1e-3, rtol=1e-5)


@pytest.mark.skipif(not ONEDNN, reason="this torch was built without oneDNN")
def test_large_products_are_convolutions(convolutions: list[tuple[int, ...]]) -> None:
    rows = torch.randn(4096, 64)
    RowProducts(rows)(torch.randn(WORTH // rows.numel(), 64))
    assert convolutions == [(1, 64, 4096, 1)]


def test_small_products_and_other_precisions_are_not(
    convolutions: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    RowProducts(torch.randn(100, 8))(torch.randn(3, 8))
    RowProducts(torch.randn(4096, 64).double())(torch.randn(64, 64).double())
    monkeypatch.setattr("lightning_invariant.probes.products._onednn_is_exact", lambda: False)
    RowProducts(torch.randn(4096, 64))(torch.randn(64, 64))
    assert not convolutions


def test_products_do_not_follow_a_reduced_precision_of_convolutions() -> None:
    conv = getattr(torch.backends.mkldnn, "conv", None)
    if conv is None:
        pytest.skip("this torch has no precision of convolutions to reduce")
    before = conv.fp32_precision
    try:
        conv.fp32_precision = "bf16"
        assert not RowProducts(torch.randn(8, 2))._suits
    finally:
        conv.fp32_precision = before
