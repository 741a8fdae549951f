"""Nearest neighbours and ridge regression beside scikit-learn, faiss, the usual torch code and the bare matrix product.

Run: python -m benchmarks.probes [--json FILE] [--quick]

faiss-cpu and scikit-learn are compared where they are installed.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.tables import RESULTS, write_json, write_table
from lightning_invariant.probes import accuracy, knn_predict, ridge_fit

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    Method = Callable[[Tensor, Tensor, Tensor], Tensor | None]

CLASSES, K, ALPHA = 10, 20, 1e-3
COLUMNS = [
    "task",
    "d",
    "method",
    "seconds",
    "times the fastest other",
    "times the bare product",
    "accuracy, %",
    "extra MiB",
]
TARGETS = (
    "Aimed at: at most 1.1 times the fastest other, at most 1.3 times the bare product, under 40 MiB extra memory."
)


def latents(count: int, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Bank, its classes, queries and theirs: Gaussian classes that overlap."""
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(CLASSES, size, generator=generator) * 2.2 / math.sqrt(size)
    classes = torch.randint(CLASSES, (2, count), generator=generator)
    points = means[classes] + torch.randn(2, count, size, generator=generator)
    return points[0].contiguous(), classes[0], points[1].contiguous(), classes[1]


def bare_product(bank: Tensor, classes: Tensor, queries: Tensor) -> None:
    """Every inner product, 256 queries at a time, into one buffer: what a search cannot do without."""
    out = torch.empty(256, len(bank))
    for block in queries.split(256):
        torch.mm(block, bank.T, out=out[: len(block)])


def ours(metric: str) -> Method:
    return lambda bank, classes, queries: knn_predict(bank, classes, queries, k=K, metric=metric)


def usual(bank: Tensor, classes: Tensor, queries: Tensor) -> Tensor:
    """The usual code of self-supervised learning: normalise, mm and topk on 256 rows, a weighted vote."""
    bank, queries = (torch.nn.functional.normalize(x, dim=1) for x in (bank, queries))
    predictions = []
    for block in queries.split(256):
        similarity, rows = torch.mm(block, bank.T).topk(K, dim=1)
        votes = torch.zeros(len(block), CLASSES).scatter_add_(1, classes[rows], (similarity / 0.1).exp())
        predictions.append(votes.argmax(1))
    return torch.cat(predictions)


def scikit_knn(bank: Tensor, classes: Tensor, queries: Tensor) -> Tensor:
    from sklearn.neighbors import KNeighborsClassifier

    fitted = KNeighborsClassifier(K, algorithm="brute").fit(bank.numpy(), classes.numpy())
    return torch.from_numpy(fitted.predict(queries.numpy()))


def faiss_knn(bank: Tensor, classes: Tensor, queries: Tensor) -> Tensor:
    import faiss

    index = faiss.IndexFlatL2(bank.shape[1])
    index.add(bank.numpy())
    rows = torch.from_numpy(index.search(queries.numpy(), K)[1])
    return torch.nn.functional.one_hot(classes[rows], CLASSES).sum(1).argmax(1)


def ridge_product(bank: Tensor, classes: Tensor, queries: Tensor) -> None:
    """The Gram matrix and the scores: the two products that ridge cannot do without."""
    torch.mm(bank.T, bank)
    torch.mm(queries, bank[:CLASSES].T)


def our_ridge(bank: Tensor, classes: Tensor, queries: Tensor) -> Tensor:
    return ridge_fit(bank, classes, alpha=ALPHA).predict(queries)


def scikit_ridge(bank: Tensor, classes: Tensor, queries: Tensor) -> Tensor:
    from sklearn.linear_model import RidgeClassifier

    fitted = RidgeClassifier(alpha=ALPHA * len(bank)).fit(bank.numpy(), classes.numpy())
    return torch.from_numpy(fitted.predict(queries.numpy()))


def plain_ridge(bank: Tensor, classes: Tensor, queries: Tensor) -> Tensor:
    """Normal equations in float32, centred, without standardising."""
    mean, onehot = bank.mean(0), torch.nn.functional.one_hot(classes, CLASSES).float()
    x = bank - mean
    shift = torch.eye(bank.shape[1]) * ALPHA * len(bank)
    weight = torch.linalg.solve(x.T @ x + shift, x.T @ (onehot - onehot.mean(0)))
    return ((queries - mean) @ weight + onehot.mean(0)).argmax(1)


KNN: dict[str, Method] = {
    "bare product": bare_product,
    "ours, Euclidean": ours("euclidean"),
    "ours, cosine": ours("cosine"),
    "torch mm + topk, 256 rows": usual,
    "scikit-learn brute": scikit_knn,
    "faiss-cpu flat L2": faiss_knn,
}
RIDGE: dict[str, Method] = {
    "bare product": ridge_product,
    "ours": our_ridge,
    "torch normal equations": plain_ridge,
    "scikit-learn": scikit_ridge,
}
TASKS = {"kNN": KNN, "ridge": RIDGE}
NEEDS = {"scikit": "sklearn", "faiss": "faiss"}


def installed(name: str) -> bool:
    return all(importlib.util.find_spec(module) for prefix, module in NEEDS.items() if name.startswith(prefix))


def measure(task: str, count: int, size: int, rounds: int) -> list[dict[str, Any]]:
    """Least seconds of interleaved rounds; each method runs once before, unmeasured."""
    bank, classes, queries, answers = latents(count, size)
    methods = {name: method for name, method in TASKS[task].items() if installed(name)}
    predictions = {name: method(bank, classes, queries) for name, method in methods.items()}
    seconds = dict.fromkeys(methods, math.inf)
    for _ in range(rounds):
        for name, method in methods.items():
            gc.collect()
            start = time.perf_counter()
            method(bank, classes, queries)
            seconds[name] = min(seconds[name], time.perf_counter() - start)
    fastest = min(value for name, value in seconds.items() if not name.startswith(("ours", "bare")))
    rows: list[dict[str, Any]] = []
    for name in TASKS[task]:
        row: dict[str, Any] = {"task": task, "size": size, "method": name}
        if name in methods:
            predicted = predictions[name]
            row |= {
                "seconds": seconds[name],
                "to_fastest": seconds[name] / fastest,
                "to_bare": seconds[name] / seconds["bare product"],
                "accuracy": None if predicted is None else 100 * accuracy(predicted, answers),
                "extra_mib": _extra_mebibytes(task, name, count, size),
            }
        rows.append(row)
    return rows


def _extra_mebibytes(task: str, name: str, count: int, size: int) -> float | None:
    """Rise of the peak resident memory in a fresh process, after a small call that loads the libraries."""
    if not Path("/proc/self/status").exists():
        return None
    command = [sys.executable, "-m", "benchmarks.probes", "--memory-of", task, name, str(count), str(size)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _memory(task: str, name: str, count: int, size: int) -> float:
    torch.set_num_threads(2)
    method, (bank, classes, queries, _) = TASKS[task][name], latents(count, size)
    method(bank[:300], classes[:300], queries[:300])
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak starts again from what is held now
    before = _peak_kibibytes()
    method(bank, classes, queries)
    return (_peak_kibibytes() - before) / 1024


def _peak_kibibytes() -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def _cells(row: dict[str, Any]) -> list[Any]:
    if "seconds" not in row:
        return [row["task"], row["size"], row["method"], "not installed", "", "", "", ""]
    own = [row["task"], row["size"], row["method"], row["seconds"], row["to_fastest"], row["to_bare"]]
    return own + ["" if row[key] is None else f"{row[key]:.1f}" for key in ("accuracy", "extra_mib")]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", metavar="FILE", help="also write the numbers here")
    parser.add_argument("--quick", action="store_true", help="a fifth of the points, two rounds, no table")
    parser.add_argument("--memory-of", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.memory_of:
        task, name, count, size = options.memory_of
        print(_memory(task, name, int(count), int(size)))
        return
    torch.set_num_threads(min(2, os.cpu_count() or 1))
    count, rounds = (2_000, 2) if options.quick else (10_000, 15)
    rows = [row for task in TASKS for size in (128, 512) for row in measure(task, count, size, rounds)]
    for row in rows:
        print(" | ".join(f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in _cells(row)))
    command = "python -m benchmarks.probes" + " --quick" * options.quick
    if options.json:
        write_json(options.json, {"rows": rows}, command)
    if not options.quick:
        notes = [
            f"{count} bank and {count} query latents, {CLASSES} classes, k = {K}; least of {rounds} rounds.",
            TARGETS,
        ]
        write_table(RESULTS / "probes.md", "Probes", COLUMNS, [_cells(row) for row in rows], command, notes)


if __name__ == "__main__":
    main()
