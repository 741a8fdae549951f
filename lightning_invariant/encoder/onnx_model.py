"""An encoder as ONNX, for programs without Python; no part of what `InvariantEncoder` loads."""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lightning_invariant.artifact.config import MASK, input_names
from lightning_invariant.artifact.graph.operators import DTYPES
from lightning_invariant.errors import ArtifactError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lightning_invariant.encoder.encoder import InvariantEncoder

INSTALL = 'pip install "lightning-invariant[onnx]"'
OUTPUTS = ("features", "latents")
LARGEST = 2 * 10**9
"""Most bytes of weights: one file of the format holds no more."""


class OnnxError(ArtifactError):
    """An encoder that cannot be written as ONNX."""


def require_packages() -> None:
    """See that what writes ONNX is installed."""
    if missing := [package for package in ("onnx", "onnxscript") if find_spec(package) is None]:
        raise OnnxError(f"Expected {' and '.join(missing)} to be installed to write ONNX: {INSTALL}.")


def onnx_model(encoder: InvariantEncoder, example: tuple[Tensor, ...] | None = None) -> bytes:
    """The encoder, on the CPU, as one ONNX file: inputs as in its configuration, outputs `features` and `latents`.

    Named axes have any length; in an example that is 2 or more. Where ONNX Runtime is installed its numbers are
    compared with the encoder's.

    Raises:
        OnnxError: A package is missing, ONNX has no such operator, the model is too large, or ONNX Runtime
            computes something else.
    """
    require_packages()
    if sum(tensor.numel() * tensor.element_size() for tensor in encoder.state_dict().values()) > LARGEST:
        raise OnnxError(f"Expected weights of at most {LARGEST} bytes for ONNX but there are more; leave it out.")
    inputs = _example(encoder.config["inputs"]) if example is None else tuple(x.detach().cpu() for x in example)
    content = _exported(encoder, inputs)
    if find_spec("onnxruntime") is not None:
        _require_equal(content, encoder, inputs)
    return content


class _Both(nn.Module):
    """Features and latents of one call."""

    def __init__(self, encoder: InvariantEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.training = False

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        return self.encoder(*inputs), self.encoder.latent(*inputs)


def _exported(encoder: InvariantEncoder, inputs: tuple[Tensor, ...]) -> bytes:
    specs: list[dict[str, Any]] = encoder.config["inputs"]
    names = {size for spec in specs for size in spec["shape"] if isinstance(size, str)}
    dims = {name: torch.export.Dim(name, min=1) for name in names}
    shapes = tuple({i: dims[s] for i, s in enumerate(spec["shape"]) if isinstance(s, str)} for spec in specs)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]), _quiet():
            program = torch.onnx.export(
                _Both(encoder),
                inputs,
                dynamo=True,
                dynamic_shapes=(shapes,),
                input_names=input_names(len(specs), encoder.config.get(MASK)),
                output_names=list(OUTPUTS),
                verbose=False,
            )
    except Exception as error:  # the exporter can fail in any way on what it does not know
        reason = " ".join(str(error.__cause__ or error).split())
        raise OnnxError(
            f"Expected a network and a projection that ONNX can hold but got {type(error).__name__}: {reason[-300:]}; "
            "leave ONNX out, or take others: matrix decompositions, as in GramRoot, have no place in ONNX."
        ) from error
    assert program is not None
    model = program.model_proto
    _require_named(model, specs)
    _strip(model)
    return model.SerializeToString(deterministic=True)


def _require_named(model: Any, specs: Sequence[Mapping[str, Any]]) -> None:
    """Refuse a model in which an axis of any length became one of the example's, as the exporter does silently."""
    for value, spec in zip(model.graph.input, specs, strict=True):
        for dim, size in zip(value.type.tensor_type.shape.dim, spec["shape"], strict=True):
            if isinstance(size, str) and not dim.dim_param:
                raise OnnxError(
                    f"Expected input {value.name!r} with the axis {size!r} of any length but ONNX has one of "
                    f"{dim.dim_value}, since the network's code depends on that length; leave ONNX out."
                )


def _strip(model: Any) -> None:
    """Leave out what the exporter knows of this machine: source lines, paths, names of classes."""
    graphs = [model.graph, *model.functions]
    nodes = [node for graph in graphs for node in graph.node]
    values = [value for part in ("input", "output", "value_info") for value in getattr(model.graph, part)]
    for entry in (model, *graphs, *nodes, *values, *model.graph.initializer):
        del entry.metadata_props[:]
        entry.doc_string = ""


def _require_equal(content: bytes, encoder: InvariantEncoder, inputs: tuple[Tensor, ...]) -> None:
    """ONNX Runtime gives the encoder's numbers, for these inputs and for the first of them."""
    import onnxruntime  # pyright: ignore[reportMissingImports]

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    batched = [spec["shape"][0] == encoder.config["inputs"][0]["shape"][0] for spec in encoder.config["inputs"]]
    firsts = tuple(x[:1] if first else x for x, first in zip(inputs, batched, strict=True))
    for given in (inputs, firsts):
        feed = {value.name: x.numpy() for value, x in zip(session.get_inputs(), given, strict=True)}
        with torch.no_grad():
            wanted = _Both(encoder)(*given)
        try:
            results = session.run(list(OUTPUTS), feed)
        except Exception as error:  # the runtime's errors share no base
            raise OnnxError(
                f"Expected ONNX Runtime to take inputs of shapes {[tuple(x.shape) for x in given]} but got: "
                f"{str(error)[:300]}; leave ONNX out."
            ) from error
        for name, want, got in zip(OUTPUTS, wanted, results, strict=True):
            found = torch.as_tensor(got)
            tolerance = torch.finfo(want.dtype).eps ** 0.5
            scale = float(want.abs().max())
            if found.shape != want.shape or not float((found - want).abs().max()) <= tolerance * scale:
                raise OnnxError(
                    f"Expected ONNX Runtime to give the encoder's {name} of shape {tuple(want.shape)} within "
                    f"{tolerance:.2g} but it does not; leave ONNX out."
                )


def _example(specs: Sequence[Mapping[str, Any]]) -> tuple[Tensor, ...]:
    """Inputs of the configuration's shapes: random numbers, zeros of integers, true booleans."""
    generator = torch.Generator().manual_seed(0)
    made = []
    for spec in specs:
        shape, dtype = [size if isinstance(size, int) else 4 for size in spec["shape"]], DTYPES[spec["dtype"]]
        if dtype.is_floating_point or dtype.is_complex:
            made.append(torch.randn(shape, generator=generator).to(dtype))
        else:
            made.append(torch.ones(shape, dtype=dtype) if dtype == torch.bool else torch.zeros(shape, dtype=dtype))
    return tuple(made)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on packages that it does not need."""
    disabled = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(disabled)
