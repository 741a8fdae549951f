"""Features of a whole data set, batch by batch, in memory that does not grow with it where the output is a file."""

from __future__ import annotations

import tempfile
import warnings
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from lightning_invariant.artifact.graph.meta_run import TooLargeError
from lightning_invariant.artifact.graph.module import GraphModule
from lightning_invariant.encoder.outputs import open_output
from lightning_invariant.encoder.progress import progress_bar
from lightning_invariant.encoder.samples import Batch, Samples, open_samples
from lightning_invariant.errors import ArtifactError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from lightning_invariant.encoder.encoder import InvariantEncoder


class Request(NamedTuple):
    """How to encode; see `InvariantEncoder.encode`."""

    batch_size: int
    device: torch.device | str | None
    latents: bool
    normalize: bool
    preprocess: bool | None
    num_workers: int
    num_processes: int


def encode(
    encoder: InvariantEncoder, data: Any, request: Request, output: str | os.PathLike[str], *, progress: bool
) -> Any:
    """Compute features of data; arguments, result and errors as in `InvariantEncoder.encode`."""
    if request.batch_size < 1 or request.num_processes < 1:
        raise ValueError(
            f"Expected a batch_size and num_processes of at least 1 but got {request.batch_size} and "
            f"{request.num_processes}."
        )
    is_path = isinstance(data, (str, Path)) and output not in ("numpy", "torch")
    if is_path and Path(data).resolve() == Path(output).resolve():
        raise ArtifactError(f"Expected another file than the input {data} as output; it would be replaced.")
    samples = open_samples(data, encoder, request.batch_size, request.num_workers)
    count = encoder.config["latent_size"] if request.latents else encoder.projection.out_features
    rows = broken = first = 0
    bar = progress_bar("Encoding", samples.length) if progress else nullcontext(lambda n: None)
    with bar as done, open_output(output, samples.length, count, encoder.dtype) as target:
        for batch, features in _computed(encoder, samples, request):
            if len(bad := (~features.isfinite().all(dim=1)).nonzero()):
                first = first if broken else rows + int(bad[0])
            broken, rows = broken + len(bad), rows + len(features)
            target.add(features, batch.labels, batch.names)
            done(len(features))
    if broken:
        warnings.warn(
            f"{broken} of {rows} rows of features are NaN or infinite, row {first} first; look for NaN or infinity in "
            "these inputs.",
            stacklevel=3,
        )
    result = target.result()
    return result[0] if samples.single and not isinstance(result, Path) else result


def _computed(encoder: InvariantEncoder, samples: Samples, request: Request) -> Iterator[tuple[Batch, Tensor]]:
    """Each batch with its features on the CPU."""
    if request.num_processes > 1:
        yield from _shared(encoder, samples, request)
        return
    home, waiting = encoder.device, None
    device = home if request.device is None else torch.device(request.device)
    try:
        encoder.to(device)
        with torch.no_grad():
            for batch in samples:
                features = _features(encoder, batch, samples, device, request)
                if waiting is not None:  # one batch is on its way back while the next is computed
                    yield waiting[0], waiting[1].cpu()
                waiting = batch, features
            if waiting is not None:
                yield waiting[0], waiting[1].cpu()
    finally:
        encoder.to(home)


def _features(
    encoder: InvariantEncoder, batch: Batch, samples: Samples, device: torch.device, request: Request
) -> Tensor:
    inputs = [_moved(x, device) for x in batch.inputs]
    raw = samples.raw if request.preprocess is None else request.preprocess
    if raw or (request.preprocess is None and _are_bytes(inputs[0], encoder)):
        inputs[0] = encoder.preprocess(inputs[0])
    if (wanted := encoder.dtype) is not None:
        inputs = [x.to(wanted) if x.is_floating_point() else x for x in inputs]
    run = encoder.latent if request.latents else encoder
    if samples.graphs:  # nodes and edges have no common rows
        parts = [run(*inputs)]
    else:
        size = fitting_batch(encoder, inputs)
        parts = [run(*part) for part in zip(*(x.split(size) for x in inputs), strict=True)]
    features = parts[0] if len(parts) == 1 else torch.cat(parts)
    return torch.nn.functional.normalize(features, dim=1) if request.normalize else features


def fitting_batch(encoder: InvariantEncoder, inputs: list[Tensor]) -> int:
    """How many of these inputs the network takes at one time within its bound on memory."""
    size, network = max(1, len(inputs[0])), encoder.network
    while isinstance(network, GraphModule) and size > 1:
        try:
            network.admit(tuple(x[:size] for x in inputs))
            break
        except TooLargeError:
            size = (size + 1) // 2
    return size


def _are_bytes(x: Tensor, encoder: InvariantEncoder) -> bool:
    takes_bytes = encoder.config["inputs"][0]["dtype"] == "uint8"
    if x.dtype == torch.uint8 and not takes_bytes and encoder.preprocessing is None:
        raise ArtifactError(
            "Expected floating inputs, since this encoder was exported without preprocessing, but got bytes; scale "
            "and normalise them as in its training."
        )
    return x.dtype == torch.uint8 and not takes_bytes


def _moved(x: Tensor, device: torch.device) -> Tensor:
    if device.type == "cuda" and x.device.type == "cpu":
        return x.pin_memory().to(device, non_blocking=True)
    return x.to(device)


def _shared(encoder: InvariantEncoder, samples: Samples, request: Request) -> Iterator[tuple[Batch, Tensor]]:
    """Parts of the data in processes of their own, in order; each gives its features by a file."""
    if not samples.parts:
        raise ArtifactError(
            "Expected data of known length (a tensor, dataset, file or folder) for num_processes but got a stream; "
            "give num_workers to its loader."
        )
    alone = request._replace(num_processes=1)
    threads = max(1, torch.get_num_threads() // request.num_processes)
    with tempfile.TemporaryDirectory() as scratch:
        context = torch.multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(request.num_processes, mp_context=context) as pool:
            bounds = samples.bounds(4 * request.num_processes)
            jobs = [
                pool.submit(_part, encoder, samples, alone, bound, Path(scratch) / str(i), threads)
                for i, bound in enumerate(bounds)
            ]
            for job in jobs:
                for labels, names, path in job.result():
                    yield Batch((), labels, names), torch.load(path, weights_only=True)
                    path.unlink()


def _part(
    encoder: InvariantEncoder, samples: Samples, request: Request, bound: tuple[int, int], folder: Path, threads: int
) -> list[tuple[Any, Any, Path]]:
    torch.set_num_threads(threads)
    folder.mkdir()
    written = []
    for batch, features in _computed(encoder, samples.part(*bound), request):
        torch.save(features, path := folder / f"{len(written)}.pt")
        written.append((batch.labels, batch.names, path))
    return written
