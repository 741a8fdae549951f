"""Networks of usual size are exported and loaded, however busy and slow the machine is."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_invariant.encoder import InvariantEncoder, export_encoder
from lightning_invariant.projections import MaxFilter
from tests.hub.honest_networks import HONEST, UNet, ViT, resnet50, volumes

SMALL: dict[str, tuple[Any, tuple[int, ...]]] = {
    "volumes": (lambda: volumes(4, 16), (1, 32, 32, 32)),
    "resnet50": (lambda: resnet50(16), (3, 64, 64)),
    "vit": (lambda: ViT(64, 2, 4, 16).eval(), (3, 224, 224)),
    "unet": (lambda: UNet(8, 3, 16).eval(), (1, 64, 64)),
}
ROOT = Path(__file__).parents[2]


def trip(folder: Path, network: torch.nn.Module, shape: tuple[int, ...], out: int) -> None:
    x, projection = torch.randn(2, *shape), MaxFilter(f"C4: {out // 4} regular")
    export_encoder(folder, network, projection, x)
    with torch.no_grad():
        assert torch.equal(InvariantEncoder.from_pretrained(folder)(x), projection(network(x)))


@pytest.mark.parametrize("name", SMALL)
def test_usual_networks_come_back_bit_for_bit(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    make, shape = SMALL[name]
    trip(tmp_path / "folder", make(), shape, 16)


@pytest.mark.slow
@pytest.mark.parametrize("name", HONEST)
def test_networks_of_usual_size_come_back_bit_for_bit(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    make, shape = HONEST[name]
    trip(tmp_path / "folder", make(), shape, 64)


SLOW = """
import os, sys, time
import torch
class Slow:
    def find_spec(self, name, path=None, target=None):
        if name.startswith(("torch._meta", "torch._refs", "torch._decomp", "sympy")) and not Slow.slept:
            Slow.slept = True
            time.sleep(3)
Slow.slept = False
sys.meta_path.insert(0, Slow())
from lightning_invariant import InvariantEncoder
children = []
for _ in range(int(sys.argv[2])):
    child = os.fork()
    if child == 0:
        try:
            InvariantEncoder.from_pretrained(sys.argv[1])
        finally:
            os._exit(int(sys.exc_info()[0] is not None))
    children.append(child)
print([os.waitpid(child, 0)[1] for child in children].count(0), Slow.slept)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_slow_import_and_many_processes_refuse_nothing(tmp_path: Path) -> None:
    torch.manual_seed(0)
    make, shape = SMALL["vit"]
    trip(tmp_path / "folder", make(), shape, 16)
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(3 * (os.cpu_count() or 1))]
    try:
        time.sleep(0.5)
        done = subprocess.run(
            [sys.executable, "-c", SLOW, str(tmp_path / "folder"), "8"],
            env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        for process in busy:
            process.kill()
            process.wait()
    assert done.stdout.split()[0] == "8", done.stderr
