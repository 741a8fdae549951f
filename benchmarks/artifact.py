"""How fast an exported encoder loads and runs, beside the network that it was exported from.

Run: python -m benchmarks.artifact [--json FILE] [--quick]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.tables import RESULTS, Section, write_json, write_report
from lightning_invariant.encoder import InvariantEncoder, export_encoder
from lightning_invariant.projections import MaxFilter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

COLD = """
import json, sys, time
import torch
started = time.perf_counter()
import lightning_invariant
imported = time.perf_counter() - started
modules = [name for name in ("pytorch_lightning", "lightning", "huggingface_hub") if name in sys.modules]
encoder = lightning_invariant.InvariantEncoder.from_pretrained(sys.argv[1])
with torch.no_grad():
    features = encoder(torch.zeros(2, 3, 32, 32))
print(json.dumps({"import": imported, "features": time.perf_counter() - started, "modules": modules}))
"""


MEMORY = """
import sys, threading, time
import torch
from torch import nn
from lightning_invariant import InvariantEncoder, export_encoder
from lightning_invariant.projections import MaxFilter

def network(width, layers):
    body = [layer for _ in range(layers) for layer in (nn.Linear(width, width), nn.ReLU())]
    return nn.Sequential(nn.Linear(16, width), *body, nn.Linear(width, 64)).eval()

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

def peak(run):
    most, done, before = [0], threading.Event(), resident()
    def watch():
        while not done.wait(0.002):
            most[0] = max(most[0], resident())
    thread = threading.Thread(target=watch)
    thread.start()
    kept = run()
    done.set()
    thread.join()
    return most[0] - before

folder, projection, x = sys.argv[1], MaxFilter("C4: 16 regular"), torch.randn(2, 16)
export_encoder(folder + "-small", network(16, 2), projection, x)
live = network(2800, 16)
size = 4 * sum(p.numel() for p in live.parameters())
exported = peak(lambda: export_encoder(folder, live, projection, x)) / size
loaded = peak(lambda: InvariantEncoder.from_pretrained(folder)) / size
print(exported, loaded, size)
"""


class Residual(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        layers = [nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        self.body = nn.Sequential(*layers, nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        """Of a batch."""
        return torch.relu(x + self.body(x))


def convolutional() -> nn.Module:
    """Ten million parameters."""
    stem = [nn.Conv2d(3, 192, 4, stride=4), nn.BatchNorm2d(192), nn.ReLU()]
    blocks = [Residual(192) for _ in range(15)]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(192, 128))


class Transformer(nn.Module):
    """A vision transformer of ten million parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 384, 8, 8)
        layers = [nn.TransformerEncoderLayer(384, 6, 1536, batch_first=True, activation="gelu") for _ in range(6)]
        self.blocks, self.head = nn.ModuleList(layers), nn.Linear(384, 128)

    def forward(self, x: Tensor) -> Tensor:
        """Of a batch."""
        z = self.patches(x).flatten(2).transpose(1, 2)
        for block in self.blocks:
            z = block(z)
        return self.head(z.mean(1))


NETWORKS: dict[str, Callable[[], nn.Module]] = {"convolutional": convolutional, "transformer": Transformer}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    parser.add_argument("--quick", action="store_true", help="few rounds: does it run at all; results are not kept")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    torch.backends.mha.set_fastpath_enabled(False)  # cannot be traced, so that it would compare two algorithms
    rounds = 3 if options.quick else 15
    command = " ".join(["python -m benchmarks.artifact", *(sys.argv[1:] if arguments is None else arguments)])
    with tempfile.TemporaryDirectory() as scratch:
        memory = _memory(Path(scratch) / "large")
        sections = {name: _measure(Path(scratch) / name, make, rounds) for name, make in NETWORKS.items()}
        sections["memory"] = memory
        path = (Path(scratch) if options.quick else RESULTS) / "artifact.md"
        write_report(path, "Loading and running an exported encoder", list(sections.values()), command)
        print(path.read_text(encoding="utf-8"))
    if options.json:
        write_json(options.json, {name: section.numbers for name, section in sections.items()}, command)
    return 0 if all(section.holds for section in sections.values()) else 1


def _measure(folder: Path, make: Callable[[], nn.Module], rounds: int) -> Section:
    torch.manual_seed(0)
    network, projection = make().eval(), MaxFilter("C4: 32 regular")
    export_encoder(folder, network, projection, torch.randn(2, 3, 32, 32))
    encoder = InvariantEncoder.from_pretrained(folder)
    live = nn.Sequential(network, projection)
    parameters = sum(p.numel() for p in encoder.parameters())
    cold = [_cold(folder) for _ in range(max(2, rounds // 3))]
    x = torch.randn(32, 3, 32, 32)
    with torch.no_grad():
        difference = float((encoder(x) - live(x)).abs().max() / live(x).abs().max())
        again = torch.equal(encoder(x), InvariantEncoder.from_pretrained(folder)(x))
        eager = _ratio(lambda: live(x), lambda: encoder(x), rounds)
        compiled = _ratio(*_compiled(live, encoder, x), rounds)
        busy = _busy(encoder, max(2, rounds // 3))
    rows = [
        ["load once warm (s)", 0.5, _seconds(lambda: InvariantEncoder.from_pretrained(folder), rounds), "<="],
        ["cold process: features after import torch (s)", 2.0, median(c["features"] for c in cold), "<="],
        ["import lightning_invariant beyond torch (s)", 0.3, median(c["import"] for c in cold), "<="],
        ["throughput over the live network", 0.95, eager, ">="],
        ["throughput over the live network, both compiled", 0.95, compiled, ">="],
        ["encode over a bare loop over the loader", 0.9, busy, ">="],
        ["largest difference from the live features, relative", 1e-6, difference, "<="],
    ]
    held = [got <= want if sign == "<=" else got >= want for _, want, got, sign in rows]
    modules = sorted({name for c in cold for name in c["modules"]})
    notes = [
        f"{parameters / 1e6:.1f} million parameters, inputs 3 x 32 x 32, batches of 32, {rounds} rounds, medians.",
        "Ratios: live and loaded in turn, median of the ratios of neighbours.",
        f"Reload is {'' if again else 'NOT '}bit-identical. Of Lightning and the Hub's client the import alone loads "
        f"{', '.join(modules) or 'nothing'}.",
    ]
    words = ["yes" if ok else "NO" for ok in held]
    shown = [[name, f"{sign} {want}", got, word] for (name, want, got, sign), word in zip(rows, words, strict=True)]
    numbers: dict[str, Any] = {name: {"asked": want, "measured": got} for name, want, got, _ in rows}
    numbers |= {"parameters": parameters, "bit_identical": again, "modules": modules}
    return Section(
        folder.name.capitalize(),
        ["figure", "asked", "measured", "holds"],
        shown,
        notes,
        numbers,
        holds=all(held) and again and not modules,
    )


def _memory(folder: Path) -> Section:
    command = [sys.executable, "-c", MEMORY, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    exported, loaded, size = map(float, done.stdout.split())
    rows = [["export, beside the live network", 2.0, exported], ["load", 2.0, loaded]]
    return Section(
        "Memory",
        ["most memory over the weights' size", "asked", "measured", "holds"],
        [[name, f"<= {want}", got, "yes" if got <= want + 0.05 else "NO"] for name, want, got in rows],
        [f"{size / 2**20:.0f} MB of weights; resident memory of a process, looked at every 2 ms."],
        {name: {"asked": want, "measured": got} for name, want, got in rows},
        holds=all(got <= want + 0.05 for _, want, got in rows),
    )


def _cold(folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-c", COLD, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def _seconds(run: Callable[[], object], rounds: int) -> float:
    run()
    return median(_once(run) for _ in range(rounds))


def _once(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def _ratio(live: Callable[[], object], loaded: Callable[[], object], rounds: int) -> float:
    """Throughput of loaded over live; the machine's speed drifts, so neighbours are compared."""
    live()
    loaded()
    pairs = [(_once(live), _once(loaded)) if i % 2 else (_once(loaded), _once(live))[::-1] for i in range(rounds)]
    return median(one / other for one, other in pairs)


def _compiled(live: nn.Module, encoder: nn.Module, x: Tensor) -> tuple[Callable[[], object], Callable[[], object]]:
    one, other = torch.compile(live), torch.compile(encoder)
    return lambda: one(x), lambda: other(x)


def _busy(encoder: InvariantEncoder, rounds: int) -> float:
    data = TensorDataset(torch.randn(512, 3, 32, 32), torch.arange(512))
    loader = DataLoader(data, batch_size=32)

    def bare() -> None:
        for x, _ in loader:
            encoder(x)

    return _ratio(bare, lambda: encoder.encode(loader, progress=False), rounds)


if __name__ == "__main__":
    sys.exit(main())
