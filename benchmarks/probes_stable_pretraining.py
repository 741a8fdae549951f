"""The part of benchmarks.probes that runs where stable-pretraining is installed; prints one line of JSON.

Run: PYTHON benchmarks/probes_stable_pretraining.py COUNT ROUNDS SIZE...

Timed are OnlineKNN's predictions for all queries at once and RankMe's score, each as the callback computes it in a
validation batch, on Gaussian latents of the same shapes. Nothing of lightning-invariant is imported.
"""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import version
from types import SimpleNamespace
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

LIBRARY = torch.library.Library("torchvision", "DEF")
for name in ("nms(Tensor dets, Tensor scores, float iou_threshold)", "qnms(Tensor a, Tensor b, float c)"):
    # torchvision's operators are declared where its wheel has none for this torch; they are never called.
    try:
        LIBRARY.define(f"{name} -> Tensor")
    except RuntimeError:
        continue


def least(function: Callable[[], object], rounds: int) -> float:
    """Least processor seconds of one call."""
    function()
    seconds = []
    for _ in range(rounds):
        start = time.process_time()
        function()
        seconds.append(time.process_time() - start)
    return min(seconds)


def row(count: int, rounds: int, size: int) -> dict[str, float]:
    """Seconds of the bare product, of OnlineKNN and of RankMe."""
    from stable_pretraining.callbacks import OnlineKNN, RankMe  # pyright: ignore[reportMissingImports]

    generator = torch.Generator().manual_seed(0)
    bank, queries = torch.randn(2, count, size, generator=generator)
    classes = torch.randint(10, (count,), generator=generator)
    knn = OnlineKNN("knn", "z", "y", count, {}, num_classes=10, k=20)
    rank = RankMe("rank", "z", count, size, verbose=False)
    rank._target_queue = SimpleNamespace(data=bank)
    trainer, module = SimpleNamespace(global_rank=0), SimpleNamespace(log=lambda *_: None)
    return {
        "size": size,
        "product": least(lambda: queries @ bank.T, rounds),
        "knn": least(lambda: knn._compute_knn_predictions(queries, bank, classes, classes), rounds),
        "rank": least(lambda: rank.on_validation_batch_end(trainer, module, {}, {}, 0), rounds),
    }


def main(count: int, rounds: int, sizes: list[int]) -> None:
    torch.set_num_threads(1)
    rows = [row(count, rounds, size) for size in sizes]
    versions = {name: version(name) for name in ("stable-pretraining", "torch")}
    print(json.dumps({"rows": rows, "versions": versions}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), [int(size) for size in sys.argv[3:]])
