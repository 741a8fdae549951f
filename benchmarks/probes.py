"""The mathematics of one report beside its bare products, and its probes beside those of other libraries.

Run: python -m benchmarks.probes [--json FILE] [--quick] [--stable-pretraining PYTHON]

faiss-cpu and scikit-learn are compared where they are installed, stable-pretraining where the Python of an environment
that has it is given. The report runs on one thread and is timed in processor seconds.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.tables import RESULTS, Section, write_json, write_report
from lightning_invariant.evaluation import Latents, evaluate, findings
from lightning_invariant.evaluation.evaluate import FEW
from lightning_invariant.groups import Representation
from lightning_invariant.metrics import spectrum
from lightning_invariant.probes import KNN, Ridge, accuracy, knn_predict, ridge_fit
from lightning_invariant.projections import choose

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from lightning_invariant.probes.knn import Metric

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
REPORT, REPORT_SIZES = 1_000, (64, 256, 512, 1024, 2048, 4096)
"""Rows of bank and queries of one report, and numbers of a latent."""
LARGEST = 512
"""Features that are asked for where latents have more than 256 numbers."""
REPORT_COLUMNS = [
    "d",
    "whole report, s",
    "of it projecting, s",
    "findings, s",
    "bare products, s",
    "report without projecting, times these",
    "kNN of one side, s",
    "linear of one side, s",
    "rank of 256 rows, s",
    "rank of all rows, s",
]
PEER_COLUMNS = [
    "d",
    "product here, s",
    "product there, s",
    "kNN, s",
    "OnlineKNN, s",
    "kNN over OnlineKNN",
    "rank, s",
    "RankMe, s",
    "rank over RankMe",
]
PEER = Path(__file__).with_name("probes_stable_pretraining.py")


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


def ours(metric: Metric) -> Method:
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


KNN_METHODS: dict[str, Method] = {
    "bare product": bare_product,
    "ours, Euclidean": ours("euclidean"),
    "ours, cosine": ours("cosine"),
    "torch mm + topk, 256 rows": usual,
    "scikit-learn brute": scikit_knn,
    "faiss-cpu flat L2": faiss_knn,
}
RIDGE_METHODS: dict[str, Method] = {
    "bare product": ridge_product,
    "ours": our_ridge,
    "torch normal equations": plain_ridge,
    "scikit-learn": scikit_ridge,
}
TASKS = {"kNN": KNN_METHODS, "ridge": RIDGE_METHODS}
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


def report_latents(size: int) -> Latents:
    """Ten classes of C8 latents; every query is transformed, with a little noise."""
    generator = torch.Generator().manual_seed(0)
    representation = Representation.parse(f"C8: {size // 8} regular")
    labels = torch.randint(CLASSES, (REPORT,), generator=generator)
    z = representation.random(CLASSES, generator)[labels] + 0.7 * representation.random(REPORT, generator)
    z = representation.transform(z, representation.group.sample(REPORT, generator)).float()
    queries, elements = torch.randperm(REPORT, generator=generator), representation.group.sample(REPORT, generator)
    moved = representation.transform(z[queries], elements)
    moved = moved + 0.05 * torch.randn(moved.shape, generator=generator)
    return Latents(z, labels, None, queries, moved, elements, round_trip=torch.zeros(REPORT))


def report_rows(sizes: Sequence[int], rounds: int) -> list[dict[str, float]]:
    """Least processor seconds of interleaved rounds."""
    return [report_row(size, rounds) for size in sizes]


def report_row(size: int, rounds: int) -> dict[str, float]:
    latents = report_latents(size)
    representation = Representation.parse(f"C8: {size // 8} regular")
    projection = choose(representation, None if size <= 256 else LARGEST)
    found = evaluate(latents, projection)
    bank, moved, own, labels = latents.bank, latents.transformed, latents.own, latents.labels
    assert moved is not None
    assert labels is not None

    def projecting() -> None:
        for part in (bank, moved):
            projection(part)

    def bare() -> None:
        """For each side distances from queries to bank, and a Gram matrix, its factor and two solutions for ridge."""
        for a, b in ((bank, moved), (found.features, found.transformed_features)):
            assert a is not None
            assert b is not None
            torch.mm(b, a.T)
            small = a if a.shape[1] <= a.shape[0] else a.T
            gram = torch.mm(small.T, small)
            gram.diagonal().add_(float(gram.trace()))
            torch.linalg.cholesky(gram)
            torch.mm(a, gram) if a.shape[1] <= a.shape[0] else torch.mm(b, a.T)

    tasks = {
        "whole": lambda: evaluate(latents, projection),
        "projecting": projecting,
        "findings": lambda: findings(found, projection, "encoder"),
        "bare": bare,
        "product": lambda: moved @ bank.T,
        "knn": lambda: KNN().leave_out(bank, labels, [moved], [own]),
        "linear": lambda: Ridge().leave_out(bank, labels, [moved], [own]),
        "rank_few": lambda: spectrum(bank[:FEW]),
        "rank": lambda: spectrum(bank),
    }
    seconds = dict.fromkeys(tasks, math.inf)
    with torch.no_grad():
        for number in range(rounds + 1):
            for name, task in tasks.items():
                start = time.process_time()
                task()
                if number:
                    seconds[name] = min(seconds[name], time.process_time() - start)
    return {"size": float(size), **seconds}


def report_cells(row: dict[str, float]) -> list[Any]:
    rest = (row["whole"] - row["projecting"]) / row["bare"]
    names = ("whole", "projecting", "findings", "bare"), ("knn", "linear", "rank_few", "rank")
    return [int(row["size"]), *(row[name] for name in names[0]), rest, *(row[name] for name in names[1])]


def peer_rows(python: str, rows: list[dict[str, float]], rounds: int) -> tuple[list[list[Any]], dict[str, Any]]:
    """stable-pretraining's times beside ours, size by size."""
    sizes = [str(int(row["size"])) for row in rows]
    command = [python, str(PEER), str(REPORT), str(rounds), *sizes]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    found = json.loads(done.stdout.splitlines()[-1])
    cells = []
    for ours, theirs in zip(rows, found["rows"], strict=True):
        knn, rank = (ours[name] / theirs[name] for name in ("knn", "rank"))
        both = [ours["product"], theirs["product"], ours["knn"], theirs["knn"], knn, ours["rank"], theirs["rank"], rank]
        cells.append([int(ours["size"]), *both])
    return cells, found


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", metavar="FILE", help="also write the numbers here")
    parser.add_argument("--quick", action="store_true", help="few and small latents, two rounds, no table")
    parser.add_argument("--stable-pretraining", metavar="PYTHON", help="Python of an environment that has it")
    parser.add_argument("--memory-of", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.memory_of:
        task, name, count, size = options.memory_of
        print(_memory(task, name, int(count), int(size)))
        return
    sizes, rounds = (REPORT_SIZES[:2], 2) if options.quick else (REPORT_SIZES, 7)
    torch.set_num_threads(1)
    report = report_rows(sizes, rounds)
    sections = [
        Section(
            "Mathematics of one report",
            REPORT_COLUMNS,
            [report_cells(row) for row in report],
            [
                f"{REPORT} bank rows, all of them queries; C8 on regular fields; one thread, processor seconds, least "
                f"of {rounds} rounds. Features: {LARGEST} above 256 numbers, else what `choose` takes.",
                "Bare products, for raw latents and features: queries times bank in float32, and the Gram matrix, "
                "Cholesky factor and one more product of its size for the ridge.",
            ],
        )
    ]
    results: dict[str, Any] = {"report": report}
    if options.stable_pretraining:
        cells, found = peer_rows(options.stable_pretraining, report, rounds)
        told = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
        note = f"Their environment: {told}. The same shapes and k; the product tells how alike the two runs were."
        sections.append(Section("kNN and rank beside stable-pretraining", PEER_COLUMNS, cells, [note]))
        results["stable_pretraining"] = found
    threads = min(2, os.cpu_count() or 1)
    torch.set_num_threads(threads)
    count, rounds = (2_000, 2) if options.quick else (10_000, 7)
    rows = [row for task in TASKS for size in (128, 512) for row in measure(task, count, size, rounds)]
    results["rows"] = rows
    note = f"{count} bank and {count} query latents, {CLASSES} classes, k = {K}; {threads} threads, {rounds} rounds."
    sections.append(Section("Probes beside other libraries", COLUMNS, [_cells(row) for row in rows], [note]))
    for section in sections:
        print(f"# {section.title}", " | ".join(section.columns), sep="\n")
        for row in section.rows:
            print(" | ".join(f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in row))
    command = "python -m benchmarks.probes" + " --quick" * options.quick
    command += " --stable-pretraining PYTHON" * bool(options.stable_pretraining)
    if options.json:
        write_json(options.json, results, command)
    if not options.quick:
        write_report(RESULTS / "probes.md", "Probes", sections, command)


if __name__ == "__main__":
    main()
