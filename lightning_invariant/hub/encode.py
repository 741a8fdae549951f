"""Features of a whole data set, batch by batch, in memory that does not grow with it where the output is a file."""

from __future__ import annotations

from contextlib import ExitStack, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from lightning_invariant.errors import ArtifactError
from lightning_invariant.hub.collect import open_output
from lightning_invariant.hub.samples import Samples, open_samples

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from typing import TypeAlias

    from lightning_invariant.hub.encoder import InvariantEncoder

    Data: TypeAlias = Any
    Output: TypeAlias = str | os.PathLike[str]


class Request(NamedTuple):
    """How to encode; see `InvariantEncoder.encode`."""

    batch_size: int
    device: torch.device | str | None
    output: Output
    latents: bool
    preprocess: bool | None
    num_workers: int
    progress: bool


def encode(encoder: InvariantEncoder, data: Data, request: Request) -> Any:
    """Features of data; arguments, result and errors as in `InvariantEncoder.encode`."""
    if request.batch_size < 1:
        raise ValueError(f"Expected a batch_size of at least 1 but got {request.batch_size}.")
    samples = open_samples(data, encoder, request)
    device = encoder.device if request.device is None else torch.device(request.device)
    count = encoder.config["latent_size"] if request.latents else encoder.projection.out_features
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(_placed(encoder, device))
        bar = stack.enter_context(_bar(samples.length, shown=request.progress))
        output = stack.enter_context(open_output(request.output, samples.length, count, encoder.dtype))
        run = encoder.latent if request.latents else encoder
        for batch, features in _computed(encoder, samples, device, run, request.preprocess):
            output.add(features, batch.labels, batch.names)
            bar(len(features))
    return output.result()


def _computed(
    encoder: InvariantEncoder, samples: Samples, device: torch.device, run: Any, preprocess: bool | None
) -> Iterator[tuple[Any, Tensor]]:
    """Each batch with its features on the CPU; one batch is on its way back while the next is computed."""
    waiting: tuple[Any, Tensor] | None = None
    for batch in samples:
        inputs = [_moved(x, device) for x in batch.inputs]
        raw = samples.raw if preprocess is None else preprocess
        if raw or (preprocess is None and _are_bytes(inputs[0], encoder)):
            inputs[0] = encoder.preprocess(inputs[0])
        wanted = encoder.dtype
        inputs = [x.to(wanted) if wanted is not None and x.is_floating_point() else x for x in inputs]
        features = run(*inputs)
        if waiting is not None:
            yield waiting[0], waiting[1].cpu()
        waiting = batch, features
    if waiting is not None:
        yield waiting[0], waiting[1].cpu()


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


class _placed:  # noqa: N801  (a context manager, used as a verb)
    """The encoder on another device for the time."""

    def __init__(self, encoder: InvariantEncoder, device: torch.device) -> None:
        self.encoder, self.device, self.home = encoder, device, encoder.device

    def __enter__(self) -> None:
        if self.device != self.home:
            self.encoder.to(self.device)

    def __exit__(self, *error: object) -> None:
        if self.device != self.home:
            self.encoder.to(self.home)


def _bar(length: int | None, *, shown: bool) -> AbstractContextManager[Any]:
    """A function that is told how many more rows are done."""
    from lightning_invariant.hub.progress import progress_bar

    return progress_bar("Encoding", length) if shown else nullcontext(lambda count: None)
