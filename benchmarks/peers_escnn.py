"""The part of benchmarks.peers that runs where escnn is installed; prints one line of JSON.

Run: python -m benchmarks.peers_escnn [--quick]
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.maps import THREADS, Map, measure
from lightning_invariant import projections as P

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

FIELDS = 64


def comparison() -> list[Map]:
    """GroupPooling and NormPool of regular fields of C8 at one pixel, and ours."""
    from escnn import gspaces, nn  # pyright: ignore[reportMissingImports]  # lives in an environment of its own

    space = gspaces.rot2dOnR2(8)
    fields = nn.FieldType(space, [space.regular_repr] * FIELDS)

    def prepare(z: Tensor) -> Any:
        return nn.GeometricTensor(z[:, :, None, None], fields)

    def read(pooled: Any) -> Tensor:
        return pooled.tensor.flatten(1)

    text = f"C8: {FIELDS} regular"
    return [
        Map("GroupPooling", nn.GroupPooling(fields), prepare=prepare, read=read),
        Map("NormPool", nn.NormPool(fields), prepare=prepare, read=read),
        Map("ChannelMax", P.ChannelMax(text), beside="GroupPooling", same=lambda y: y),
        Map("ChannelNorm", P.ChannelNorm(text), beside="NormPool", same=lambda y: y),
        Map("MaxFilter", P.MaxFilter(text), beside="GroupPooling"),
        Map("SortedCoorbits", P.SortedCoorbits(text), beside="GroupPooling"),
    ]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    options = parser.parse_args(argv)
    torch.set_num_threads(THREADS)
    rows = measure("escnn", f"C8: {FIELDS} regular", comparison(), quick=options.quick)
    versions = {name: version(name) for name in ("escnn", "torch", "numpy")}
    told = ", ".join(f"{name} {number}" for name, number in versions.items())
    print(json.dumps({"rows": rows, "note": f"escnn's environment: {told}, python {platform.python_version()}."}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
