"""Evidence of a network whose parameters are shared out among two processes, rows uneven; run by test_distributed.

Lightning refuses FSDP on CPUs, so the wrappers of torch are put around the network by hand.
"""

import json
import os
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard

from lightning_invariant.callback.collector import Collector
from lightning_invariant.callback.content import Content
from lightning_invariant.callback.source import Source
from lightning_invariant.callback.survey import Survey
from lightning_invariant.groups import Representation
from tests.callback.loops import REPRESENTATION, Classifier, data


def wrapped(network, kind: str):
    if kind == "fully_shard":
        mesh = init_device_mesh("cpu", (distributed.get_world_size(),))
        fully_shard(network.encoder, mesh=mesh)
        return fully_shard(network, mesh=mesh)
    return FullyShardedDataParallel(network, device_id=torch.device("cpu"), use_orig_params=True)


def evidence(kind: str) -> dict[str, object]:
    """All of the bank on process 0, and most of the validation rows."""
    rank = distributed.get_rank() if distributed.is_initialized() else 0
    count = distributed.get_world_size() if distributed.is_initialized() else 1
    torch.manual_seed(0)
    network = Classifier().eval()
    content = Content(None, None, None, whole=False, say=lambda key, text: None)
    source = Source("encoder", Representation.parse(REPRESENTATION), content, None, None, ragged=False)
    source.attach(network)
    called = network if kind == "plain" else wrapped(network, kind)
    collector = Collector(source, content, 2000, 2000, 2**28, 0)
    collector.begin_training()
    collector.begin_pass(None)
    collector.begin_validation(None)
    if rank == 0:
        collector.bank.add(dict(zip("xy", data(601).tensors, strict=True)))
    rows = [column[rank::count] for column in data(33, 1).tensors]
    source.tap.arm()
    with torch.no_grad():
        called(rows[0])
    collector.add_validation(rows, 0, called, nullcontext)
    found = Survey(collector, source.representation, None).evidence(called, nullcontext)
    return {
        name: getattr(part, name).double().sum(1).tolist() for part in found for name in ("bank", "queries", "moved")
    } | {"simulated": [part.simulated for part in found]}


def main(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    store = distributed.FileStore(f"{folder}/store", 2)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    found = {kind: evidence(kind) for kind in ("fully_shard", "wrapper")}
    if rank == 0:
        (Path(folder) / "found.json").write_text(json.dumps(found))
    # A process that leaves earlier may abort the other one, and gloo's threads may abort one that takes them down.
    store.add("done", 1)
    while store.add("done", 0) < 2:
        time.sleep(0.01)
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
