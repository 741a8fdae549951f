"""Runs a checked graph on tensors without storage: what loads fits together, within bounds of memory and computation.

PyTorch's own shape functions tell what every operator makes before one byte is allocated, those inside an einsum or a
recurrent layer included. The bounds are a number of bytes and a count of numbers, the same on every machine.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils.flop_counter import flop_registry

from lightning_invariant.artifact.graph.guards import RECURRENT, guarded
from lightning_invariant.artifact.graph.operators import DTYPES
from lightning_invariant.artifact.graph.values import Ambient, CheckedGraph, Ref, TensorSpec, references, resolve
from lightning_invariant.errors import GraphError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_BYTES = 4 * 2**30
"""Most bytes of values that exist at one time, weights and inputs apart, unless the caller allows another number."""
MAX_COUNT = 4 * 10**9
"""Most numbers that may be computed, beside those that inputs and weights allow."""
PER_INPUT, PER_WEIGHT = 10**6, 10**4
"""Numbers that may be computed more for each one of the inputs and of the weights."""
GROWTH = 4
"""How much more than in proportion longer inputs may take."""
PER_ELEMENT = 50
"""What a number that is read or written counts, where a multiplication or an addition of a product counts 1."""
MAX_TENSORS = 50_000
"""Most tensors that the operators of a call may take, those of single steps inside operators included."""
MAX_RANK = 32
"""Most axes of any of them."""
_META = torch.device("meta")
_UNCHECKED_AXES = frozenset({"aten._softmax.default", "aten._log_softmax.default", "aten.sort.default"})

_SLOW = """
logaddexp logaddexp2 hardswish hardswish_ special_entr hardsigmoid hardsigmoid_ native_group_norm logit _safe_softmax
hardtanh hardtanh_ native_batch_norm xlogy native_layer_norm softshrink nan_to_num_ heaviside roll logsumexp
_weight_norm_interface elu elu_ mish mish_
"""
_SLOWISH = """
gelu clamp clamp_ clamp_min clamp_min_ clamp_max clamp_max_ triu triu_ tril tril_ _log_softmax addmv im2col col2im sinc
affine_grid_generator polar log_sigmoid_forward celu celu_ softplus _prelu_kernel copysign lerp lerp_ diag_embed
_trilinear logical_and logical_or logical_xor linalg_vector_norm norm leaky_relu leaky_relu_
"""
_STEPS = {
    "upsample_bicubic2d": 640,
    **dict.fromkeys(("upsample_trilinear3d", "grid_sampler_2d", "grid_sampler_3d"), 190),
    **dict.fromkeys(("upsample_bilinear2d", "upsample_linear1d", "floor_divide"), 110),
    **dict.fromkeys(_SLOW.split(), 20),
    **dict.fromkeys(_SLOWISH.split(), 8),
}
"""What operators count whose shape functions PyTorch writes in many steps of Python, a step about 50 microseconds."""


class TooLargeError(GraphError):
    """A call that needs more memory than it may."""


class Need(NamedTuple):
    """Bytes of values that exist at one time in a call, those inside operators included, and numbers computed."""

    live: int
    computed: int


def meta_run(
    checked: CheckedGraph,
    lengths: Mapping[str, int] | None = None,
    dtype: torch.dtype | None = None,
    *,
    max_bytes: int = MAX_BYTES,
    max_count: int | None = None,
) -> Need:
    """Refuse a graph whose operations do not fit together, or that needs much memory or computation.

    Lengths of dynamic axes and the floating type are those of the graph unless given; `max_count` is what inputs and
    weights allow.
    """
    exported = None if checked.dtype is None else DTYPES[checked.dtype]
    made = _Specs({**checked.dims, **(lengths or {})}, exported, dtype or exported)
    if max_count is None:
        inputs, weights = (
            sum(made.empty(spec).numel() for spec in specs) for specs in (checked.inputs, checked.tensors.values())
        )
        max_count = MAX_COUNT + PER_INPUT * inputs + PER_WEIGHT * weights
    with _disable_current_modes():
        return _Run(checked, made, _Watch(max_bytes, max_count)).run()


def allowed_count(checked: CheckedGraph, count: int, lengths: Mapping[str, int]) -> int:
    """What a call at these lengths may compute, where one at the graph's own lengths computes `count` numbers.

    It grows with the batch, and with the square of other axes, as attention does.
    """
    first = {spec.shape[0] for spec in (*checked.inputs, checked.output_spec) if spec.shape}
    growth = GROWTH
    for name, length in lengths.items():
        ratio = max(1, -(-length // checked.dims[name]))
        growth *= ratio if name in first else ratio**2
    return max(MAX_COUNT, growth * count)


class _Watch(TorchDispatchMode):
    """Looks at every operator that the graph's operators consist of; `where` says which node is run."""

    def __init__(self, max_bytes: int, max_count: int) -> None:
        super().__init__()
        self.max_bytes, self.max_count, self.where = max_bytes, max_count, ""
        self.kept, self.inside, self.scratch, self.live, self.count = 0, 0, 0, 0, 0
        self.tensors = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # to skip it, PyTorch would import it

    def begin(self, where: str, kept: int) -> None:
        self.where, self.kept, self.inside, self.scratch = where, kept, 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if _takes_device(func):
            kwargs["device"] = _META  # a factory that names no device would allocate
        self.require_few(func, args)
        result = func(*args, **kwargs)
        if (rank := max((tensor.dim() for tensor in tensors_in(result)), default=0)) > MAX_RANK:
            raise GraphError(
                f"Expected tensors of at most {MAX_RANK} axes but {self.where} makes {rank}; the graph is refused."
            )
        if not func.is_view:
            self.charge(func, args, kwargs, result)
        return result

    def require_few(self, func: Any, args: Any) -> None:
        """Refuse one tensor too many, and an axis that the tensor has not, where kernels do not look."""
        self.add(_STEPS.get(func._overloadpacket.__name__, 0) + sum(1 for _ in tensors_in(args)))
        first = args[0] if args else None
        if not isinstance(first, Tensor):
            return
        if str(func) in _UNCHECKED_AXES and len(args) > 1:
            rank = max(first.dim(), 1)
            if not -rank <= args[1] < rank:
                raise GraphError(
                    f"Expected an axis of {first.dim()} but {self.where} goes along {args[1]}; the graph is refused."
                )
        returns = func._schema.returns
        if len(returns) == 1 and str(returns[0].type) != "Tensor":
            self.add(max(first.shape, default=0))

    def add(self, tensors: int) -> None:
        """Count tensors, before a long axis is taken apart."""
        self.tensors += tensors
        if self.tensors > MAX_TENSORS:
            raise GraphError(
                f"Expected operators that take at most {MAX_TENSORS} tensors, single steps included, but "
                f"{self.where} goes beyond; shorten sequences or lists, or the graph is refused."
            )

    def charge(self, func: Any, args: Any, kwargs: dict[str, Any], result: Any) -> None:
        """Add up the bytes that an operator makes, and the numbers that it computes."""
        if not func._schema.is_mutable:
            self.inside += sum(t.nbytes for t in tensors_in(result))
        self.scratch = max(self.scratch, scratch(func, args, result))
        self.live = max(self.live, self.kept + self.inside + self.scratch)
        self.count += count(func, args, kwargs, result)
        self.require_within()

    def repeat(self, times: float, count: int) -> None:
        """Take what this node made, and computed beyond a count, for one of so many equal parts."""
        self.inside = int(self.inside * times)
        self.live = max(self.live, self.kept + self.inside)
        self.count = count + int((self.count - count) * times)
        self.require_within()

    def require_within(self) -> None:
        """Refuse more bytes or numbers than are allowed."""
        if self.live > self.max_bytes:
            raise TooLargeError(
                f"Expected at most {self.max_bytes} bytes of values at one time but {self.where} needs "
                f"{self.live}; give fewer inputs at a time, or allow more if you trust the encoder: "
                f"from_pretrained(..., max_bytes={2 ** self.live.bit_length()})."
            )
        if self.count > self.max_count:
            raise GraphError(
                f"Expected a network that computes at most {self.max_count:.3g} numbers from inputs and weights of "
                f"these sizes but {self.where} goes beyond; the graph is refused."
            )


def count(func: Any, args: Any, kwargs: dict[str, Any], result: Any) -> int:
    """How many numbers an operator reads, writes and multiplies."""
    name, first, out = func._overloadpacket.__name__, args[0] if args else None, next(tensors_in(result), None)
    seen = max((t.numel() for t in (*tensors_in(args), *tensors_in(result))), default=0)
    if func._overloadpacket in flop_registry:
        products = flop_registry[func._overloadpacket](*args, **kwargs, out_val=result)
        slow = out is not None and not (out.is_floating_point() or out.is_complex())
        return PER_ELEMENT * (0 if out is None else out.numel()) + products * (PER_ELEMENT if slow else 1)
    if not isinstance(first, Tensor) or out is None:
        return PER_ELEMENT * seen
    if name == "addbmm":
        seen += args[1].numel() * args[2].shape[-1] // PER_ELEMENT
    elif name == "_trilinear":
        seen = math.prod(_trilinear_sizes(args))
    elif name == "_cdist_forward":
        seen = out.numel() * max(1, first.shape[-1])
    elif "pool" in name and "adaptive" not in name:
        seen += out.numel() * _volume(args[1], out.dim() - 2)
    elif "linalg" in name and first.dim() > 1:
        seen += first.numel() * max(first.shape[-2:])
    return PER_ELEMENT * seen


def scratch(func: Any, args: Any, result: Any) -> int:
    """Bytes that the kernel of an operator takes beside its arguments and results, and frees again."""
    name, first = func._overloadpacket.__name__, args[0] if args else None
    if not isinstance(first, Tensor):
        return 0
    if name == "convolution":
        return _columns(first, args[1], args[3], args[5], args[6], result)
    if name == "_trilinear":
        along = args[7] if len(args) > 7 else 1
        sizes = _trilinear_sizes(args)
        return math.prod(size for axis, size in enumerate(sizes) if axis != along) * result.element_size()
    if name.endswith("2d_aa"):  # the image after the first of two passes
        return first.shape[0] * first.shape[1] * first.shape[2] * result.shape[3] * result.element_size()
    if name in ("sort", "argsort", "topk", "kthvalue", "mode", "median", "nanmedian"):
        return 2 * first.numel() * (first.element_size() + 8)
    if "linalg" in name or "_fft_" in name:
        copies = 16 if name == "linalg_matrix_exp" else 2
        return copies * max(t.nbytes for t in (first, *tensors_in(result)))
    return 2 * first.nbytes if name in ("logcumsumexp", "_cdist_forward", "masked_scatter", "index_put") else 0


def _columns(x: Tensor, weight: Tensor, stride: Any, dilation: Any, transposed: bool, result: Tensor) -> int:
    """Columns of patches, which a convolution makes of types that oneDNN does not know."""
    if x.dtype == torch.float32 or not stride:
        return 0
    samples = 1 if transposed or set(dilation) != {1} else x.shape[0]
    patch = math.prod(weight.shape[2:]) * (result.shape[1] if transposed else x.shape[1])
    return samples * patch * math.prod((x if transposed else result).shape[2:]) * x.element_size()


def _trilinear_sizes(args: Any) -> list[int]:
    shapes = []
    for tensor, expanded in zip(args[:3], args[3:6], strict=True):
        shape = list(tensor.shape)
        for axis in sorted(expanded):
            shape.insert(axis, 1)
        shapes.append(shape)
    return [max(sizes) for sizes in zip(*shapes, strict=True)]


def _volume(window: Any, axes: int) -> int:
    sizes = list(window) if isinstance(window, (list, tuple)) else [window]
    return math.prod(int(size) for size in (sizes * axes if len(sizes) == 1 else sizes))


class _Specs(NamedTuple):
    """Makes tensors without storage: lengths of dynamic axes, and the floating type at the export and now."""

    lengths: Mapping[str, int]
    exported: torch.dtype | None
    dtype: torch.dtype | None

    def empty(self, spec: TensorSpec) -> Tensor:
        shape = [self.lengths[s] if isinstance(s, str) else s for s in spec.shape]
        dtype = DTYPES[spec.dtype]
        try:
            return torch.empty(shape, dtype=self.dtype if dtype == self.exported else dtype, device=_META)
        except RuntimeError:
            raise GraphError(f"Expected a size that fits into memory but got {shape}; the graph is refused.") from None


class _Run:
    """One run: values, and the bytes of those that a later node still needs."""

    def __init__(self, checked: CheckedGraph, made: _Specs, watch: _Watch) -> None:
        self.checked, self.made, self.watch = checked, made, watch
        self.values: dict[Ref, Any] = {Ref("tensor", name): made.empty(spec) for name, spec in checked.tensors.items()}
        self.values |= {Ref("input", i): made.empty(spec) for i, spec in enumerate(checked.inputs)}
        self.last = {ref: i for i, node in enumerate(checked.nodes) for ref in references([node.args, node.kwargs])}
        self.last[checked.output] = len(checked.nodes)
        self.ends: dict[int, list[Ref]] = {}
        for ref, i in self.last.items():
            self.ends.setdefault(i, []).append(ref)
        # Views of weights and inputs take no memory of their own.
        self.holders: dict[Any, int] = {key: 1 for key, _ in _storages(list(self.values.values()))}
        self.total = 0

    def run(self) -> Need:
        for i, node in enumerate(self.checked.nodes):
            self.watch.begin(where := f"node {i} ({node.op})", self.total)
            result = self._call(node, where)
            if node.yields == "tensor" and not isinstance(result, Tensor):
                raise GraphError(
                    f"Expected a tensor but {where} gives {type(result).__name__}, as it was given numbers; the graph "
                    "is damaged."
                )
            if (ref := Ref("node", i)) in self.last:
                self.values[ref] = result
                for key, size in _storages(result):
                    self.total += 0 if self.holders.get(key) else size
                    self.holders[key] = self.holders.get(key, 0) + 1
            for ref in self.ends.get(i, ()):
                for key, size in _storages(self.values.pop(ref)) if ref.source == "node" else ():
                    self.holders[key] -= 1
                    self.total -= 0 if self.holders[key] else size
        got, want = self.values[self.checked.output], self.made.empty(self.checked.output_spec)
        if got.shape != want.shape or got.dtype != want.dtype:
            raise GraphError(
                f"Expected output {want.dtype}{list(want.shape)} but the graph makes {got.dtype}{list(got.shape)}; the "
                "graph is damaged."
            )
        return Need(self.watch.live, self.watch.count)

    def _call(self, node: Any, where: str) -> Any:
        ambient = {Ambient.DEVICE: _META, Ambient.DTYPE: self.made.dtype}
        args, kwargs = (resolve(given, self.values, ambient) for given in (node.args, node.kwargs))
        try:
            with torch.no_grad():
                return self._looked_at(node, args, kwargs)
        except GraphError:
            raise
        except Exception as error:  # kernels for shapes fail in many ways
            message = str(error).partition("\n")[0][:300]
            raise GraphError(
                f"Expected operations that fit together but {where} fails with {message!r}; the graph is damaged or "
                "the operation depends on values."
            ) from None

    def _looked_at(self, node: Any, args: Any, kwargs: Any) -> Any:
        call = guarded(node)
        if node.op not in RECURRENT or len(args) != 9 or not isinstance(args[0], Tensor) or args[0].dim() != 3:
            with self.watch:
                return call(*args, **kwargs)
        # All steps of a recurrent layer are alike: two of them stand for the whole sequence.
        sequence, axis, count = args[0], 1 if args[8] else 0, self.watch.count
        steps = sequence.shape[axis]
        with self.watch:
            output, *states = call(sequence.narrow(axis, 0, min(steps, 2)), *args[1:])
        self.watch.repeat(max(1, steps / 2), count)
        shape = [steps if i == axis else size for i, size in enumerate(output.shape)]
        return [output.new_empty(shape), *states]


def _storages(value: Any) -> Iterator[tuple[Any, int]]:
    for tensor in tensors_in(value):
        yield (storage := tensor.untyped_storage())._cdata, storage.nbytes()


@lru_cache(maxsize=4096)
def _takes_device(func: Any) -> bool:
    return any(argument.name == "device" for argument in func._schema.arguments)


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors of what an operator takes or gives."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for entry in value:
            yield from tensors_in(entry)
