"""Latents of a network whose parameters are spread over two processes, rows uneven; run by test_distributed.

Lightning refuses FSDP on CPUs, so the wrappers of torch are put around the network by hand.
"""

import json
import os
import sys
import time
from pathlib import Path

import torch
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard

from lightning_invariant.batch import BatchReader
from lightning_invariant.callback.capture.capture import Capture, Sizes
from lightning_invariant.callback.capture.latent import LatentReader, Symmetry
from lightning_invariant.callback.report.assemble import Assembler
from lightning_invariant.callback.support.gather import gathered, process_count, process_rank
from lightning_invariant.groups import Representation
from lightning_invariant.groups.actions import member_action
from tests.callback.loops import REPRESENTATION, Classifier, data

NAMES = ("bank", "labels", "queries", "transformed", "elements")


def wrapped(network, kind: str):
    if kind == "fully_shard":
        mesh = init_device_mesh("cpu", (distributed.get_world_size(),))
        fully_shard(network.encoder, mesh=mesh)
        return fully_shard(network, mesh=mesh)
    network.encoder = FullyShardedDataParallel(network.encoder, device_id=torch.device("cpu"), use_orig_params=True)
    return network


def found(kind: str) -> dict[str, object]:
    """Most of the validation rows on process 0."""
    rank, count = process_rank(), process_count()
    torch.manual_seed(0)
    network = Classifier().eval()
    representation = Representation.parse(REPRESENTATION)
    said: dict[str, str] = {}
    reader = LatentReader("encoder", Symmetry("encoder", representation), None, None, ragged=False)
    capture = Capture(reader, None, BatchReader(), Sizes(2000, 2000), said.__setitem__)
    called = network if kind == "plain" else wrapped(network, kind)
    capture.sharded = kind != "plain"
    calls = [0]
    network.encoder.register_forward_pre_hook(lambda module, args: calls.__setitem__(0, calls[0] + 1))
    capture.begin_run()
    capture.begin_validation(network, None, None)
    rows = [column[rank::count] for column in data(33, 1).tensors]
    batches = list(zip(*(column.split(9) for column in rows), strict=True))
    with torch.no_grad():
        for number, batch in enumerate(batches):
            capture.begin_batch(network, batch, number, None, "validation_step")
            called(batch[0])
            capture.end_batch(network, batch)
    forwards = [len(batches), calls[0]]
    action = member_action(representation.group, capture.example, None, capture.way.layout)
    assembler = Assembler(capture, representation.group, 0)
    latents = assembler.assemble(0, action, "").latents
    forwards.append(calls[0])
    one = assembler.assemble(0, action, "", limit=1)  # so that a process has none to encode
    forwards.append(calls[0])
    return {
        "live": capture.copied.is_live,
        "said": sorted(said),
        "forwards": gathered(forwards),
        "one": None if one.latents is None else one.latents.transformed.double().tolist(),
        "latents": None if latents is None else {name: getattr(latents, name).double().tolist() for name in NAMES},
    }


def main(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    store = distributed.FileStore(f"{folder}/store", 2)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    results = {kind: found(kind) for kind in ("fully_shard", "wrapper")}
    if rank == 0:
        (Path(folder) / "found.json").write_text(json.dumps(results))
    # A process that leaves earlier may abort the other one, and gloo's threads may abort one that takes them down.
    store.add("done", 1)
    while store.add("done", 0) < 2:
        time.sleep(0.01)
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
