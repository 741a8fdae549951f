"""Every allowed operator on random arguments, under memory that holds other things each time.

What an operator computes must not depend on what memory held before. glibc fills memory with a byte of our choice when
it is allocated and freed (MALLOC_PERTURB_), so that the same calls in two processes with two bytes give the same
results, bit for bit, unless a kernel hands out what it never wrote, or reads what is not its own.

Run: python -m benchmarks.mutations.operators FIRST COUNT prints a line for each call.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_invariant.artifact.graph.check import NodeReader
from lightning_invariant.artifact.graph.guards import guarded
from lightning_invariant.artifact.graph.meta_run import meta_run
from lightning_invariant.artifact.graph.operators import ALLOWED, DTYPE_NAMES, DTYPES, allowed_values, find_operator
from lightning_invariant.artifact.graph.values import Ambient, CheckedGraph, Ref, TensorSpec, resolve
from lightning_invariant.errors import GraphError

ROUNDS = 40
"""Calls of each operator."""
FILLS = (0x11, 0x7D)
"""What fresh memory holds, in two processes."""
INTEGERS = (-7, -2, -1, -1, 0, 0, 0, 1, 1, 1, 2, 2, 3, 4, 5, 7, 16, 2**31)
NUMBERS = (0.0, 0.5, 1.0, 2.0, -1.5, 1e-5, 3, -2, True)
FLOATS = ("float32", "float32", "float32", "float64", "float16", "bfloat16", "complex64")
WHOLES = ("int64", "int64", "int32", "uint8", "bool", "int16")


def _t(*shape: int, kind: str = "float") -> dict[str, Any]:
    return {"shape": list(shape), "kind": kind}


X2, X3, X4, X5 = _t(3, 4), _t(2, 4, 6), _t(2, 4, 6, 6), _t(2, 4, 5, 5, 5)
SQUARE, PICK = _t(2, 4, 4), _t(2, 4, 3, kind="index")
MASK, WEIGHT = _t(3, 4, kind="bool"), _t(4)
DECOMPOSED = ("det", "slogdet", "inv", "pinv", "cholesky", "qr", "eigh", "eigvalsh", "svd", "svdvals")
RECURRENT = [_t(2, 5, 3), _t(1, 2, 4), [_t(4, 3), _t(4, 4), _t(4), _t(4)], True, 1, 0.0, False, False, True]
PLAUSIBLE: dict[str, list[Any]] = {
    "linear": [X2, _t(5, 4), _t(5)],
    "bilinear": [X2, _t(3, 5), _t(6, 4, 5), _t(6)],
    "embedding": [X2, PICK, -1, False, False],
    "conv1d": [X3, _t(5, 4, 3), _t(5), [1], [1], [1], 1],
    "conv2d": [X4, _t(5, 4, 3, 3), _t(5), [1, 1], [1, 1], [1, 1], 1],
    "conv3d": [X5, _t(5, 4, 3, 3, 3), _t(5), [1, 1, 1], [1, 1, 1], [1, 1, 1], 1],
    "conv_transpose1d": [X3, _t(4, 5, 3), _t(5), [2], [1], [1], 1, [1]],
    "conv_transpose2d": [X4, _t(4, 5, 3, 3), _t(5), [2, 2], [1, 1], [1, 1], 1, [1, 1]],
    "conv_transpose3d": [X5, _t(4, 5, 3, 3, 3), _t(5), [2, 2, 2], [1, 1, 1], [0, 0, 0], 1, [1, 1, 1]],
    "batch_norm": [X4, WEIGHT, WEIGHT, WEIGHT, WEIGHT, False, 0.1, 1e-5, False],
    "instance_norm": [X4, WEIGHT, WEIGHT, None, None, True, 0.1, 1e-5, False],
    "layer_norm": [X2, [4], WEIGHT, WEIGHT, 1e-5, False],
    "rms_norm": [X2, [4], WEIGHT, 1e-5],
    "group_norm": [X4, 2, WEIGHT, WEIGHT, 1e-5, False],
    "_weight_norm": [X3, _t(2, 1, 1), 0],
    "prelu": [X4, WEIGHT],
    "scaled_dot_product_attention": [X4, X4, X4, None, 0.0, False],
    "rnn_tanh": RECURRENT,
    "rnn_relu": RECURRENT,
    "gru": [*RECURRENT[:2], [_t(12, 3), _t(12, 4), _t(12), _t(12)], *RECURRENT[3:]],
    "lstm": [RECURRENT[0], [_t(1, 2, 4), _t(1, 2, 4)], [_t(16, 3), _t(16, 4), _t(16), _t(16)], *RECURRENT[3:]],
    "max_pool1d": [X3, [2], [2], [0], [1], False],
    "max_pool2d": [X4, [2, 2], [2, 2], [0, 0], [1, 1], False],
    "max_pool3d": [X5, [2, 2, 2], [2, 2, 2], [0, 0, 0], [1, 1, 1], False],
    "avg_pool1d": [X3, [2], [2], [0], False, True],
    "avg_pool2d": [X4, [2, 2], [2, 2], [0, 0], False, True, None],
    "avg_pool3d": [X5, [2, 2, 2], [2, 2, 2], [0, 0, 0], False, True, None],
    "adaptive_avg_pool1d": [X3, [3]],
    "adaptive_avg_pool2d": [X4, [3, 2]],
    "adaptive_avg_pool3d": [X5, [3, 2, 1]],
    "adaptive_max_pool1d": [X3, [3]],
    "adaptive_max_pool2d": [X4, [3, 2]],
    "adaptive_max_pool3d": [X5, [3, 2, 1]],
    "pad": [X4, [1, 1, 1, 1], "reflect", None],
    "upsample_nearest1d": [X3, [9], None],
    "upsample_nearest2d": [X4, [9, 3], None],
    "upsample_nearest3d": [X5, [9, 3, 4], None],
    "_upsample_nearest_exact1d": [X3, [9], None],
    "_upsample_nearest_exact2d": [X4, [9, 3], None],
    "upsample_linear1d": [X3, [9], False, None],
    "upsample_bilinear2d": [X4, [9, 3], False, None],
    "upsample_bicubic2d": [X4, None, False, [1.5, 0.5]],
    "upsample_trilinear3d": [X5, [9, 3, 4], False, None],
    "_upsample_bilinear2d_aa": [X4, [9, 3], False, None],
    "_upsample_bicubic2d_aa": [X4, [9, 3], False, None],
    "grid_sampler": [X4, _t(2, 3, 3, 2), 0, 0, False],
    "affine_grid_generator": [_t(2, 2, 3), [2, 4, 5, 6], False],
    "pixel_shuffle": [X4, 2],
    "pixel_unshuffle": [X4, 2],
    "channel_shuffle": [X4, 2],
    "im2col": [X4, [2, 2], [1, 1], [0, 0], [1, 1]],
    "col2im": [_t(2, 16, 25), [6, 6], [2, 2], [1, 1], [0, 0], [1, 1]],
    "where": [MASK, X2, X2],
    "masked_fill": [X2, MASK, 0.5],
    "masked_scatter": [X2, MASK, X4],
    "index": [X3, [PICK]],
    "index_put": [X2, [_t(2, kind="index")], _t(2, 4), False],
    "index_select": [X3, 1, _t(3, kind="index")],
    "index_add": [X2, 0, _t(2, kind="index"), _t(2, 4)],
    "index_copy": [X2, 0, _t(2, kind="index"), _t(2, 4)],
    "index_fill": [X2, 0, _t(2, kind="index"), 0.5],
    "gather": [X3, 2, PICK],
    "take_along_dim": [X3, PICK, 2],
    "scatter": [X3, 2, PICK, _t(2, 4, 3)],
    "scatter_add": [X3, 2, PICK, _t(2, 4, 3)],
    "scatter_reduce": [X3, 2, PICK, _t(2, 4, 3), "amax"],
    "one_hot": [PICK, 5],
    "bucketize": [X2, WEIGHT],
    "searchsorted": [X2, X2],
    "quantile": [X2, 0.5, 1],
    "softmax": [X2, 1],
    "log_softmax": [X2, 1],
    "logsumexp": [X2, [1]],
    "view": [X2, [4, 3]],
    "reshape": [X2, [4, 3]],
    "permute": [X3, [2, 0, 1]],
    "unflatten": [X2, 1, [2, 2]],
    "split": [X2, [1, 2]],
    "split_with_sizes": [X2, [1, 2]],
    "meshgrid": [[WEIGHT, _t(3)]],
    "tensordot": [X2, _t(4, 5), [1], [0]],
    "einsum": ["ij,jk->ik", [X2, _t(4, 5)]],
    "mm": [X2, _t(4, 5)],
    "bmm": [SQUARE, SQUARE],
    "mv": [X2, WEIGHT],
    "outer": [WEIGHT, WEIGHT],
    "vdot": [WEIGHT, WEIGHT],
    "addmm": [_t(3, 5), X2, _t(4, 5)],
    "addmv": [_t(3), X2, WEIGHT],
    "addbmm": [_t(4, 4), SQUARE, SQUARE],
    "baddbmm": [SQUARE, SQUARE, SQUARE],
    "cdist": [X3, X3, 2.0, None],
    "view_as_complex": [_t(3, 2)],
    **{f"linalg_{name}": [SQUARE] for name in DECOMPOSED},
    "linalg_matrix_exp": [SQUARE],
    "linalg_matrix_power": [SQUARE, 3],
    "linalg_solve": [SQUARE, SQUARE],
    "linalg_cross": [_t(4, 3), _t(4, 3)],
    "linalg_matrix_norm": [SQUARE, "fro"],
    "linalg_norm": [SQUARE, "fro"],
}
"""Arguments that operators compute with, by name; calls differ from these in none, one or two places."""


class Case:
    """One call: the node of a graph, and tensors for it.

    Args:
        index: Decides the operator and all its arguments.
    """

    def __init__(self, index: int) -> None:
        ops = sorted(ALLOWED)
        self.op, self.choice = ops[index % len(ops)], random.Random(index)
        self.tensors: list[Tensor] = []
        sizes = self.choice.sample((1, 2, 3, 4, 5, 6, 8), 4)
        self.rank = self.choice.choice((0, 1, 2, 2, 3, 3, 4, 4, 5, 5))
        self.shape = [self.choice.choice(sizes) for _ in range(self.rank)]
        self.kind = self.choice.choice(FLOATS)
        self.node: dict[str, Any] = {"op": self.op, "args": [], "kwargs": {}}
        name = self.op.split(".")[1]
        if (known := PLAUSIBLE.get(name, PLAUSIBLE.get(name.rstrip("_")))) and self.choice.random() < 0.9:
            args = json.loads(json.dumps(known))
            for _ in range(self.choice.choice((0, 1, 1, 1, 2))):
                self._damage(args)
            self.node["args"] = [self._made(value) for value in args]
            return
        for argument in find_operator(self.op)._schema.arguments:
            if argument.has_default_value() and self.choice.random() < 0.4:
                break
            value = self._value(argument.real_type, argument.name)
            if argument.kwarg_only:
                self.node["kwargs"][argument.name] = value
            else:
                self.node["args"].append(value)

    def _damage(self, values: list[Any]) -> None:
        """Change one number, length, shape, type or flag somewhere in the arguments."""
        pick = self.choice
        place = pick.randrange(len(values)) if values else 0
        value = values[place] if values else None
        if isinstance(value, list) and value and pick.random() < 0.7:
            self._damage(value)
        elif isinstance(value, list):
            values[place] = value[:-1] if value and pick.random() < 0.5 else [*value, *(value[-1:] or [1])]
        elif isinstance(value, dict):
            if pick.random() < 0.3:
                value["kind"] = pick.choice((*FLOATS, *WHOLES))
            elif value["shape"] and pick.random() < 0.7:
                value["shape"][pick.randrange(len(value["shape"]))] = pick.choice((0, 1, 2, 3, 4, 5, 7))
            else:
                value["shape"] = value["shape"][1:] if pick.random() < 0.5 else [2, *value["shape"]]
        elif isinstance(value, bool) and values:
            values[place] = not value
        elif isinstance(value, (int, float)) and values:
            values[place] = pick.choice(INTEGERS if type(value) is int else NUMBERS)

    def _made(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._made(inner) for inner in value]
        if not isinstance(value, dict):
            return value
        generator, kind = torch.Generator().manual_seed(self.choice.randrange(2**31)), value["kind"]
        if kind == "index":
            self.tensors.append(
                torch.randint(-1 if self.choice.random() < 0.1 else 0, 2, value["shape"], generator=generator)
            )
        else:
            dtype = DTYPES[{"float": self.kind}.get(kind, kind)]
            self.tensors.append(torch.randn(value["shape"], generator=generator, dtype=torch.float64).to(dtype))
        return {"input": len(self.tensors) - 1}

    def _value(self, jit: Any, name: str) -> Any:
        kind, pick = jit.kind(), self.choice
        if kind == "OptionalType":
            return None if pick.random() < 0.4 else self._value(jit.getElementType(), name)
        if kind == "ListType":
            length = pick.choice((0, 1, 1, 2, 2, 2, 3, 3, self.rank))
            return [self._value(jit.getElementType(), name) for _ in range(length)]
        if kind == "TensorType":
            return {"input": self._tensor(name)}
        known = allowed_values(self.op, name)
        if kind in ("IntType", "SymIntType", "StringType") and known is not None and pick.random() < 0.8:
            return pick.choice(known)
        if kind in ("IntType", "SymIntType"):
            return pick.choice(INTEGERS)
        if kind in ("FloatType", "NumberType"):
            return pick.choice(NUMBERS)
        if kind == "BoolType":
            return pick.random() < 0.5
        if kind == "StringType":
            return pick.choice(("ij,jk->ik", "bij,bjk->bik", "i,i->", "none", "mean"))
        if kind == "DeviceObjType":
            return {"device": "input"}
        return {"dtype": pick.choice((*FLOATS, *WHOLES))} if kind == "ScalarTypeType" else None

    def _tensor(self, name: str) -> int:
        pick, shape = self.choice, list(self.shape)
        if pick.random() < 0.35:
            shape = [pick.choice((1, 2, 3, 4, 5)) for _ in range(pick.choice((0, 1, 2, 3, 4, 5)))]
        index = any(word in name for word in ("ind", "repeats", "boundaries")) and pick.random() < 0.8
        dtype = DTYPES[pick.choice(WHOLES) if index or pick.random() < 0.15 else self.kind]
        generator = torch.Generator().manual_seed(pick.randrange(2**31))
        values = torch.randn(shape, generator=generator, dtype=torch.float64)
        if not (dtype.is_floating_point or dtype.is_complex):
            values = (values * 2).round().abs() if pick.random() < 0.7 else values * 3
        self.tensors.append(values.to(dtype))
        return len(self.tensors) - 1

    def run(self) -> str:
        """A digest of the results, or why there are none."""
        reader = NodeReader(len(self.tensors), {})
        try:
            reader.read(self.node)
            if not self.tensors:
                self.tensors.append(torch.zeros(1))
            self._rehearse(reader.nodes[0])
        except GraphError as error:
            return f"refused {type(error).__name__}"
        try:
            result = self._call(reader.nodes[0], [tensor.clone() for tensor in self.tensors])
        except GraphError:
            return "refused GraphError"
        except (RuntimeError, TypeError, ValueError, IndexError, NotImplementedError) as error:
            return f"failed {type(error).__name__}"
        digest = hashlib.sha256()
        for tensor in result if isinstance(result, (list, tuple)) else [result]:
            if isinstance(tensor, Tensor):
                digest.update(str((tensor.dtype, tuple(tensor.shape))).encode())
                plain = tensor.resolve_conj().resolve_neg().contiguous()
                digest.update(bytes(plain.reshape(-1).view(torch.uint8).tolist()) if plain.numel() else b"")
        return f"computed {digest.hexdigest()[:16]}"

    def _rehearse(self, node: Any) -> None:
        """What loading does first; the shape of the output is that which it finds."""
        specs = tuple(TensorSpec(tuple(t.shape), DTYPE_NAMES[t.dtype], "input") for t in self.tensors)
        bare = [torch.empty(t.shape, dtype=t.dtype, device="meta") for t in self.tensors]
        try:
            found = self._call(node, bare, "meta")
        except (RuntimeError, TypeError, ValueError, IndexError, NotImplementedError, AssertionError) as error:
            raise GraphError(str(error)) from error
        if isinstance(found, Tensor) and found.dtype in DTYPE_NAMES:
            out = TensorSpec(tuple(found.shape), DTYPE_NAMES[found.dtype], "output")
            meta_run(CheckedGraph(None, {}, specs, {}, (node,), Ref("node", 0), out), max_bytes=2**26)
        elif sum(t.numel() for t in found if isinstance(t, Tensor)) > 2**24:
            raise GraphError("Expected a small result.")

    @staticmethod
    def _call(node: Any, tensors: list[Tensor], device: str = "cpu") -> Any:
        values = {Ref("input", i): tensor for i, tensor in enumerate(tensors)}
        ambient = {Ambient.DEVICE: torch.device(device), Ambient.DTYPE: torch.float32}
        with torch.no_grad():
            return guarded(node)(*resolve(node.args, values, ambient), **resolve(node.kwargs, values, ambient))


def main(first: int, count: int) -> int:
    torch.set_num_threads(1)
    for index in range(first, first + count):
        print(f"{index} ", end="", flush=True)
        print(Case(index).run(), flush=True)
    return 0


def outcomes(count: int, fill: int, first: int = 0) -> dict[int, str]:
    """What calls give where fresh memory holds a byte; "crashed" for one that ends its process."""
    found, end = {}, first + count
    while first < end:
        command = [sys.executable, "-m", "benchmarks.mutations.operators", str(first), str(end - first)]
        settings = os.environ | {"MALLOC_PERTURB_": str(fill), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            command, env=settings, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False
        )
        for line in done.stdout.splitlines():
            index, _, outcome = line.partition(" ")
            found[int(index)] = outcome or "crashed"
        first = max(found, default=first) + 1
        if done.returncode and not done.stdout:
            raise RuntimeError(done.stderr[-500:])
    return found


def fuzz(rounds: int = ROUNDS) -> dict[str, Any]:
    """How many calls were computed, refused and failed, and which gave other results or ended the process."""
    count = rounds * len(ALLOWED)
    one, other = (outcomes(count, fill) for fill in FILLS)
    words = [outcome.split()[0] for outcome in one.values()]
    wrong = [i for i in one if one[i] != other.get(i) or one[i] == "crashed"]
    return {
        "operators": len(ALLOWED),
        "calls": count,
        **{word: words.count(word) for word in ("computed", "refused", "failed")},
        "never computed": sorted(
            set(ALLOWED) - {Case(i).op for i, outcome in one.items() if outcome.startswith("computed")}
        ),
        "foreign": [
            {"index": i, "node": str(Case(i).node), "shapes": [tuple(t.shape) for t in Case(i).tensors], "said": one[i]}
            for i in wrong
        ],
    }


if __name__ == "__main__":
    if len(sys.argv) == 3:
        sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
    print(json.dumps(fuzz(), indent=1))
