"""Trees of tensors: whatever loaders yield and modules take, opened, copied and put together again.

Nothing here imports the library that a container comes from: a container is known by what it can do.
"""

from __future__ import annotations

import copy
import dataclasses
import sys
from collections.abc import Callable, Container, Iterator, Mapping
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lightning_invariant.errors import BatchError

DEPTH = 16
"""Containers inside containers that are opened; deeper ones count as one opaque value."""
Function = Callable[[str, Any], Any]
DESCRIPTIONS = ("FieldType",)
"""Names of classes that describe tensors beside them and hold none: they are shared, never opened or copied."""
_CLOSED = (str, bytes, int, float, complex, type, ModuleType, FunctionType, BuiltinFunctionType, MethodType)


class Child(NamedTuple):
    """A value in a container: how the container names it, and how a path does.

    Attributes:
        key: Index, key or attribute.
        kind: "index", "key" or "attribute".
        value: What is there.
    """

    key: Any
    kind: str
    value: Any


def leaves(tree: Any, name: str = "") -> dict[str, Tensor]:
    """Return the tensors of a tree by their paths.

    Args:
        tree: Tensors and NumPy arrays in tuples, lists, mappings, dataclasses, named tuples, Hugging Face's and PyTorch
            Geometric's containers, or objects of a class of one's own.
        name: What paths begin with, such as "batch"; nothing by default.

    Returns:
        Path to tensor, in the order of the tree. Paths read like code: "x", "batch['pos']", "args[0]", "data.pos".
        Arrays come as tensors that share their memory.

    Example:
        >>> list(leaves({"x": torch.zeros(2), "rest": [torch.ones(1), "name"]}))
        ['x', 'rest[0]']
    """
    return {path: as_tensor(value) for path, value in walk(tree, name) if is_leaf(value)}


def replace(tree: Any, tensors: Mapping[str, Tensor], name: str = "") -> Any:
    """Return a tree with other tensors at some paths.

    Args:
        tree: As for `leaves`; it is not changed.
        tensors: Path to tensor.
        name: As for `leaves`.

    Returns:
        New containers of the same types on the way to those paths; everything else is shared.

    Raises:
        BatchError: A path leads to no tensor.
    """
    missing = dict(tensors)

    def at(path: str, value: Any) -> Any:
        return like(missing.pop(path), value) if path in missing and is_leaf(value) else value

    result = rebuild(tree, at, name)
    if missing:
        raise BatchError(f"Expected paths among {', '.join(leaves(tree, name))} but got {', '.join(missing)}.")
    return result


def clone(tree: Any, *, detach: bool = True) -> Any:
    """Copy a tree, so that nothing done to it in place reaches the copy.

    A tensor that stands at several places is one tensor in the copy too, as self-attention relies on.

    Args:
        tree: As for `leaves`.
        detach: Whether the copies are cut off from autograd.

    Returns:
        The copy. Values of other kinds are deep-copied; what cannot be, is shared.
    """
    made: dict[int, Any] = {}
    memo: dict[int, Any] = {}

    def at(_: str, value: Any) -> Any:
        if id(value) not in made:
            if isinstance(value, Tensor):
                made[id(value)] = (value.detach() if detach else value).clone()
            elif is_leaf(value):
                made[id(value)] = value.copy()
            else:
                made[id(value)] = _deep_copy(value, memo)
        return made[id(value)]

    return rebuild(tree, at, fresh=True)


def to_device(tree: Any, device: torch.device | str) -> Any:
    """Return a tree whose tensors are on a device; arrays and other values are shared."""
    made: dict[int, Tensor] = {}

    def at(_: str, value: Any) -> Any:
        return made.setdefault(id(value), value.to(device)) if isinstance(value, Tensor) else value

    return rebuild(tree, at)


def is_leaf(value: Any) -> bool:
    """Return whether a value counts as a tensor: a tensor, or an array of numbers."""
    if isinstance(value, Tensor):
        return True
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.ndarray) and value.dtype.kind in "bifuc"


def as_tensor(value: Any) -> Tensor:
    """Return the leaf as a tensor; an array shares its memory where it can."""
    if isinstance(value, Tensor):
        return value
    writable = value if value.flags.writeable and all(stride >= 0 for stride in value.strides) else value.copy()
    return torch.from_numpy(writable)


def like(tensor: Tensor, leaf: Any) -> Any:
    """Return a tensor as the kind of leaf that it replaces."""
    return tensor if isinstance(leaf, Tensor) else tensor.detach().cpu().numpy()


def last_name(path: str) -> str:
    """Return the last name on a path: "pos" for "batch['pos']" and "data.pos", "args" for "args[0]".

    Example:
        >>> last_name("batch['pos']"), last_name("data.pos"), last_name("images[]"), last_name("[0]")
        ('pos', 'pos', 'images', '')
    """
    while path.endswith("]") and not path.endswith(("']", '"]')):
        path = path[: path.rindex("[")]
    if path.endswith("]"):
        return path[path.rindex("[") + 2 : -2]
    return path.rsplit(".", 1)[-1]


def walk(tree: Any, name: str = "", whole: Container[str] = ()) -> Iterator[tuple[str, Any]]:
    """Yield every value that is no container, with its path, in order; arguments as for `rebuild`."""
    found: list[tuple[str, Any]] = []

    def at(path: str, value: Any) -> Any:
        found.append((path, value))
        return value

    rebuild(tree, at, name, whole)
    return iter(found)


def rebuild(tree: Any, at: Function, name: str = "", whole: Container[str] = (), *, fresh: bool = False) -> Any:
    """Apply a function to every value that is no container.

    Args:
        tree: As for `leaves`; it is not changed.
        at: at(path, value) gives the value to put there. A container whose values all stay the same objects is shared.
        name: As for `leaves`.
        whole: Paths of containers that count as one value.
        fresh: Whether no container is shared.
    """
    return _rebuild(tree, _Plan(at, whole, fresh), name, ())


class _Plan(NamedTuple):
    at: Function
    whole: Container[str]
    fresh: bool


def _rebuild(node: Any, plan: _Plan, path: str, above: tuple[int, ...]) -> Any:
    closed = id(node) in above or len(above) >= DEPTH or path in plan.whole
    children = None if closed else open_container(node)
    if children is None:
        return plan.at(path, node)
    inside = (*above, id(node))
    values = [_rebuild(child.value, plan, join_path(path, child), inside) for child in children]
    if not plan.fresh and all(new is child.value for new, child in zip(values, children, strict=True)):
        return node
    return close_container(node, children, values)


def join_path(path: str, child: Child) -> str:
    """Return the path of a value in the container at `path`."""
    if child.kind == "attribute":
        return f"{path}.{child.key}" if path else str(child.key)
    if not path and child.kind == "key" and isinstance(child.key, str):
        return child.key
    return f"{path}[{child.key!r}]"


def open_container(node: Any) -> list[Child] | None:
    """Return the values of a container; None if it is none.

    Args:
        node: Any value.
    """
    if node is None or is_leaf(node) or isinstance(node, (*_CLOSED, nn.Module)) or _describes(node):
        return None
    if isinstance(node, Mapping):
        return [Child(key, "key", node[key]) for key in node]
    fields = getattr(node, "_fields", None)
    if isinstance(node, tuple) and fields is not None:
        return [Child(key, "attribute", value) for key, value in zip(fields, node, strict=True)]
    if isinstance(node, (list, tuple)):
        return [Child(index, "index", value) for index, value in enumerate(node)]
    if is_graph(node):
        return _graph_children(node)
    return _attributes(node)


def close_container(node: Any, children: list[Child], values: list[Any]) -> Any:
    """Build a container of the same type with other values; the first one is not changed."""
    if isinstance(node, tuple):
        if hasattr(node, "_fields"):
            return type(node)._make(values)  # pyright: ignore[reportAttributeAccessIssue]  # a named tuple
        return tuple(values) if type(node) is tuple else type(node)(values)
    if type(node) is list:
        return values
    try:
        result = copy.copy(node)
    except TypeError:  # a mapping that is only a view
        return dict(zip((child.key for child in children), values, strict=True))
    if isinstance(node, list):
        result[:] = values
        return result
    for child, value in zip(children, values, strict=True):
        if value is child.value:
            continue
        if isinstance(node, Mapping):
            try:
                result[child.key] = value  # pyright: ignore[reportIndexIssue]  # refused below where it is immutable
            except TypeError:
                return dict(zip((c.key for c in children), values, strict=True))
        elif is_graph(node):
            _graph_set(result, child.key, value)
        else:
            object.__setattr__(result, child.key, value)
    return result


def is_graph(node: Any) -> bool:
    """Return whether an object is PyTorch Geometric's Data, HeteroData or a Batch of them."""
    return all(hasattr(node, name) for name in ("stores", "node_attrs", "to_dict", "num_nodes"))


def is_graph_batch(node: Any) -> bool:
    """Return whether an object is PyTorch Geometric's Batch, which remembers its graphs."""
    return is_graph(node) and hasattr(node, "num_graphs") and hasattr(node, "get_example")


def _graph_children(node: Any) -> list[Child]:
    stores = list(node.stores)
    if len(stores) == 1:
        return [Child(key, "attribute", value) for key, value in stores[0].items()]
    return [
        Child(key if store._key is None else (store._key, key), "attribute" if store._key is None else "key", value)
        for store in stores
        for key, value in store.items()
    ]


def _graph_set(node: Any, key: Any, value: Any) -> None:
    if isinstance(key, tuple):
        node[key[0]][key[1]] = value
    else:
        node[key] = value


def _attributes(node: Any) -> list[Child] | None:
    """Attributes of an object of a class of one's own; None where none of them holds a tensor."""
    if dataclasses.is_dataclass(node):
        names = [field.name for field in dataclasses.fields(node) if hasattr(node, field.name)]
    else:
        slots = [name for base in type(node).__mro__ for name in _slots(base) if hasattr(node, name)]
        names = [*dict.fromkeys([*slots, *getattr(node, "__dict__", ())])]
    if type(node).__module__.split(".")[0] in ("torch", "numpy", "builtins") and not dataclasses.is_dataclass(node):
        return None
    children = [Child(name, "attribute", getattr(node, name)) for name in names]
    return children if any(is_leaf(c.value) or isinstance(c.value, (list, tuple, Mapping)) for c in children) else None


def _describes(value: Any) -> bool:
    return type(value).__name__ in DESCRIPTIONS


def _slots(base: type) -> tuple[str, ...]:
    slots = base.__dict__.get("__slots__", ())
    return tuple(name for name in ((slots,) if isinstance(slots, str) else slots) if not name.startswith("__"))


def _deep_copy(value: Any, memo: dict[int, Any]) -> Any:
    if value is None or isinstance(value, _CLOSED) or _describes(value):
        return value
    try:
        return copy.deepcopy(value, memo)
    except Exception:  # an open file, a lock, a kept graph: anything may refuse
        return value
