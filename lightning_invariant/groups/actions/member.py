"""What a group does to the inputs of a network: every member of a tree of tensors by a rule of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_invariant.batch import RowLayout, leaves
from lightning_invariant.batch.rows import Role
from lightning_invariant.batch.tree import as_tensor, is_leaf, like, rebuild, walk
from lightning_invariant.errors import ActionError
from lightning_invariant.groups.actions.action import InputAction
from lightning_invariant.groups.actions.graphs import GraphPlan, fix_padding
from lightning_invariant.groups.actions.grid import ImageAction, VolumeAction
from lightning_invariant.groups.actions.product import LeftAlone, ProductAction
from lightning_invariant.groups.actions.rules import (
    LEFT_ALONE,
)
from lightning_invariant.groups.cyclic import Translations
from lightning_invariant.groups.dihedral import Dihedral
from lightning_invariant.groups.group import Group
from lightning_invariant.groups.orthogonal import Orthogonal
from lightning_invariant.groups.product import Product
from lightning_invariant.groups.sampled import Sampled
from lightning_invariant.groups.signs import Signs
from lightning_invariant.groups.symmetric import Symmetric

LARGEST_THUMBNAIL = 32


@dataclass(frozen=True)
class MemberAction:
    """How a group transforms a tree of inputs, member by member.

    Args:
        group: What acts.
        rules: Path of each member to the name of its rule: "image", "vectors", "nodes", "left alone", "unknown".
        actions: Path to the action of each member that is transformed.
        layout: Which parts of the tree have one entry a sample.
        question: What to say about members whose rule is not known, and how; empty if all are known.
        function: Transforms all members at once, in place of actions.
        lengths: Path of how many nodes each padded set has; None if nothing tells.

    Example:
        >>> from lightning_invariant.groups import O3
        >>> from lightning_invariant.groups.actions import member_action
        >>> inputs = {"pos": torch.rand(2, 5, 3), "z": torch.ones(2, 5, dtype=torch.int64)}
        >>> print(member_action(O3(), inputs))
        O3 rotates pos; leaves z
    """

    group: Group
    rules: Mapping[str, str]
    actions: Mapping[str, InputAction]
    layout: RowLayout
    question: str = ""
    function: Callable[..., Any] | None = field(default=None, compare=False)
    lengths: str | None = None

    @property
    def unknown(self) -> tuple[str, ...]:
        """Members that vary from sample to sample and whose rule is not known."""
        return tuple(path for path, rule in self.rules.items() if rule == "unknown")

    def transform(self, tree: Any, g: Tensor) -> Any:
        """Act on a tree.

        Args:
            tree: Inputs of the kind that the rules were made for; they are not changed.
            g: One element, or one for each sample (B, *element_shape).

        Returns:
            A tree of the same types; members without a rule are shared.

        Raises:
            ActionError: A rule is not known, or a member does not fit its rule.
        """
        return self._act(tree, g, inverse=False)

    def realised(self, tree: Any, g: Tensor) -> Tensor:
        """Return the elements that a tree really undergoes.

        The nodes of graphs with fewer than n nodes are put in the order that g gives to their places; what that does
        to n places is the element that is returned: it leaves places without a node where they are. So it is for padded
        sets that come with their lengths. Elements of other groups, and orders of sets with a mask, which is permuted
        too, come back as they are.

        Args:
            tree: As for `transform`.
            g: As for `transform`.

        Returns:
            Shape (B, *element_shape).
        """
        each = self._each(tree, g)
        sizes = self._sizes(tree, len(each))
        if sizes is None:
            return each
        parts = self.group.split(each) if isinstance(self.group, Product) else [each]
        factors = self.group.factors if isinstance(self.group, Product) else (self.group,)
        sizes = sizes.to(each.device)
        done = [fix_padding(p, sizes) if isinstance(f, Symmetric) else p for f, p in zip(factors, parts, strict=True)]
        return self.group.join(done) if isinstance(self.group, Product) else done[0]

    def _sizes(self, tree: Any, count: int) -> Tensor | None:
        """How many nodes each sample has, where they stand first and something tells; (B,)."""
        graph = self.layout.graph_index(tree)
        if graph is not None:
            return torch.bincount(graph, minlength=count)
        return None if self.lengths is None else as_tensor(leaves(tree)[self.lengths])

    def is_exact(self, g: Tensor) -> Tensor:
        """Return whether each element acts on all members without interpolation, as booleans (B,)."""
        exact = torch.ones(g.shape[: g.dim() - len(self.group.element_shape)], dtype=torch.bool, device=g.device)
        for action in dict.fromkeys(self.actions.values()):
            exact = exact & action.is_exact(g)
        return exact

    def round_trip(self, tree: Any, g: Tensor) -> Tensor:
        """Return what g followed by its inverse changes: what interpolation alone costs.

        Args:
            tree: As for `transform`.
            g: As for `transform`.

        Returns:
            ||g^-1 (g x) - x|| / ||x|| over the transformed members, (B,); NaN where elements have no inverse.
        """
        each = self._each(tree, g)
        if isinstance(self.group, Sampled):
            return torch.full((len(each),), float("nan"))
        back = self._act(self._act(tree, each, inverse=False), each, inverse=True)
        graph = self.layout.graph_index(tree)
        error = torch.zeros(len(each), dtype=torch.float64)
        total = torch.zeros(len(each), dtype=torch.float64)
        after = self._members(back)
        for path, before in self._members(tree).items():
            if path not in self.actions and self.function is None:
                continue
            for row, (one, other) in self._pairs(path, before, after[path], graph):
                one, other = (torch.view_as_real(t) if t.is_complex() else t for t in (one, other))
                difference, size = (other.double() - one.double()).flatten(1), one.double().flatten(1)
                error.index_add_(0, row, difference.pow(2).sum(1).cpu())
                total.index_add_(0, row, size.pow(2).sum(1).cpu())
        return (error / total.clamp(min=torch.finfo(torch.float64).tiny)).sqrt()

    def thumbnails(self, tree: Any) -> Tensor | None:
        """Return small images of the first member that is transformed as one.

        Returns:
            Shape (B, C, H, W), C of 1 or 3, at most 32 pixels a side; None where inputs are no images.
        """
        for path, action in self.actions.items():
            parts = action.actions if isinstance(action, ProductAction) else (action,)
            grid = next((part for part in parts if isinstance(part, ImageAction)), None)
            member = self._members(tree).get(path)
            if grid is None or member is None:
                continue
            images = member if isinstance(member, list) else list(member)
            return _shrink([_picture(image, grid) for image in images])
        return None

    def __str__(self) -> str:
        if self.function is not None:
            return f"{self.group} acts by {getattr(self.function, '__name__', type(self.function).__name__)}"
        verbs: dict[str, list[str]] = {}
        factors = self.group.factors if isinstance(self.group, Product) else (self.group,)
        for position, factor in enumerate(factors):
            for path, action in self.actions.items():
                part = action.actions[position] if isinstance(action, ProductAction) else action
                if not isinstance(part, LeftAlone):
                    verbs.setdefault(_verb(factor), []).append(path + _remark(part))
        said = [f"{verb} {', '.join(dict.fromkeys(paths))}" for verb, paths in verbs.items()]
        left = [path for path, rule in self.rules.items() if rule == LEFT_ALONE]
        said += [f"leaves {', '.join(left)}"] if left else []
        said += [f"does what is not known to {', '.join(self.unknown)}"] if self.unknown else []
        return f"{self.group} {'; '.join(said) or 'has nothing to act on'}"

    def _act(self, tree: Any, g: Tensor, *, inverse: bool) -> Any:
        if self.unknown:
            raise ActionError(self.question)
        each = self._each(tree, g)
        real = self.realised(tree, each)
        undone = self.group.inverse(real) if inverse and not isinstance(self.group, Sampled) else real
        if self.function is not None:
            return self._by_function(tree, undone)
        graph = self.layout.graph_index(tree)
        plan = None if graph is None else GraphPlan.of(self.group, self.layout, tree, graph, undone)
        done: dict[tuple[int, Any], Any] = {}

        def at(path: str, value: Any) -> Any:
            action = self.actions.get(path)
            axis = self.layout.axes.get(path, 0)
            if axis == Role.LIST:
                return self._list(path, value, undone)
            if action is None or not is_leaf(value):
                return value
            key = (id(value), action)
            if key not in done:
                if plan is not None and axis in (Role.NODES, Role.EDGES, Role.EDGE_INDEX):
                    done[key] = like(plan.transform(action, axis, as_tensor(value)), value)
                else:
                    done[key] = like(_apply(path, action, as_tensor(value), undone, max(axis, 0)), value)
            return done[key]

        return rebuild(tree, at, whole=self._lists())

    def _lists(self) -> set[str]:
        return {path for path, axis in self.layout.axes.items() if axis == Role.LIST}

    def _list(self, path: str, entries: Any, g: Tensor) -> Any:
        results = []
        for entry, element in zip(entries, g, strict=True):

            def at(inner: str, value: Any, element: Tensor = element) -> Any:
                action = self.actions.get(inner)
                if action is None or not is_leaf(value):
                    return value
                return like(_apply(inner, action, as_tensor(value)[None], element[None], 0)[0], value)

            results.append(rebuild(entry, at, f"{path}[]"))
        return type(entries)(results)

    def _by_function(self, tree: Any, g: Tensor) -> Any:
        assert self.function is not None
        members = {path: m for path, m in self._members(tree).items() if path in self.rules}
        varying = [path for path, m in members.items() if self.rules[path] != LEFT_ALONE and _is_real(m)]
        given = {path: [t.clone() for t in m] if isinstance(m, list) else m.clone() for path, m in members.items()}
        found = self.function(given[varying[0]], g) if len(varying) == 1 else self.function(given, g)
        found = {varying[0]: found} if len(varying) == 1 else found
        if not isinstance(found, Mapping) or not all(isinstance(m, (Tensor, list)) for m in found.values()):
            kind = (
                {p: type(m).__name__ for p, m in found.items()} if isinstance(found, Mapping) else type(found).__name__
            )
            raise ActionError(
                f"Expected the action's function to return a tensor, or a dict of {', '.join(members)}, but got {kind}."
            )
        for path, m in found.items():
            if path not in members or _shapes(m) != _shapes(members[path]):
                wanted = _shapes(members[path]) if path in members else f"a member among {', '.join(members)}"
                raise ActionError(
                    f"Expected {path} with shape {wanted} from the action's function but got {_shapes(m)}."
                )
        return self._put(tree, found)

    def _put(self, tree: Any, members: Mapping[str, Any]) -> Any:
        """The tree with other members, given samples first."""

        def at(path: str, value: Any) -> Any:
            axis = self.layout.axes.get(path, 0)
            if axis == Role.LIST:
                entries = [
                    rebuild(e, lambda p, v, i=i: like(members[p][i], v) if p in members else v, f"{path}[]")
                    for i, e in enumerate(value)
                ]
                return type(value)(entries)
            return like(members[path].movedim(0, max(axis, 0)), value) if path in members else value

        return rebuild(tree, at, whole=self._lists())

    def _each(self, tree: Any, g: Tensor) -> Tensor:
        shape = self.group.element_shape
        if g.shape == shape:
            return g.expand(self._count(tree), *shape)
        if g.shape[1:] != shape:
            raise ActionError(f"Expected elements of {self.group}, (B, *{shape}), but got shape {tuple(g.shape)}.")
        return g

    def _count(self, tree: Any) -> int:
        for path, value in walk(tree, whole={p for p, a in self.layout.axes.items() if a in (Role.LIST, Role.GRAPHS)}):
            axis = self.layout.axes.get(path)
            if axis == Role.LIST:
                return len(value)
            if axis == Role.GRAPHS:
                return int(value.num_graphs)
            if axis in (0, 1):
                return as_tensor(value).shape[axis]
            if axis == Role.GRAPH_INDEX:
                return int(value.max()) + 1
        return self.layout.count

    def _members(self, tree: Any) -> dict[str, Tensor | list[Tensor]]:
        return self.layout.members(tree)

    def _pairs(self, path: str, before: Any, after: Any, graph: Tensor | None) -> Any:
        axis = self.layout.axes.get(path, 0)
        if isinstance(before, list):
            return [(torch.tensor([i]), (a[None], b[None])) for i, (a, b) in enumerate(zip(before, after, strict=True))]
        if axis in (Role.EDGES, Role.EDGE_INDEX, Role.POINTERS, Role.GRAPH_INDEX):
            return []
        row = graph.cpu() if axis == Role.NODES and graph is not None else torch.arange(len(before))
        return [(row, (before.reshape(len(before), -1), after.reshape(len(after), -1)))]


def _is_real(member: Tensor | list[Tensor]) -> bool:
    return all(t.is_floating_point() or t.is_complex() for t in (member if isinstance(member, list) else [member]))


def _shapes(member: Tensor | list[Tensor]) -> Any:
    return [tuple(t.shape) for t in member] if isinstance(member, list) else tuple(member.shape)


def _apply(path: str, action: InputAction, value: Tensor, g: Tensor, axis: int) -> Tensor:
    try:
        moved = action.transform(value.movedim(axis, 0), g).movedim(0, axis)
    except ActionError:
        raise
    except (ValueError, TypeError, NotImplementedError) as error:
        raise ActionError(f"{path}: {error}") from error
    if moved.stride() != value.stride() and moved.shape == value.shape:
        return torch.empty_like(value).copy_(moved)
    return moved


def _verb(group: Group) -> str:
    if isinstance(group, Symmetric):
        return "permutes"
    if isinstance(group, Translations):
        return "shifts"
    if isinstance(group, Signs):
        return "flips the signs of"
    if isinstance(group, Sampled):
        return "augments"
    if isinstance(group, Dihedral) or (isinstance(group, Orthogonal) and group.d == 2 and not group.special):
        return "rotates and flips"
    return "rotates"


def _remark(action: InputAction) -> str:
    if isinstance(action, VolumeAction):
        return " (volume)" if action.about is None else f" (volume, about {action.about})"
    if isinstance(action, ImageAction):
        return " (image)" if action.axes == (-2, -1) else " (image, channels last)"
    axis = getattr(action, "axis", -1)
    words = ["translated"] * getattr(action, "translated", False) + [f"axis {axis}"] * (axis != -1)
    return f" ({', '.join(words)})" if words else ""


def _picture(image: Tensor, grid: ImageAction) -> Tensor:
    """One sample as (C, H, W): channels last brought to the front, the middle slice or frame of what has more axes."""
    if grid.flat:
        image = image.reshape(grid.unflattened(image[None]))
    if grid.axes == (-3, -2):
        image = image.movedim(-1, -3)
    while image.dim() > 3:
        image = image.select(1, image.shape[1] // 2)
    image = image if image.dim() == 3 else image[None]
    return image[:3] if len(image) >= 3 else image[:1]


def _shrink(pictures: list[Tensor]) -> Tensor:
    def small(image: Tensor) -> Tensor:
        height, width = (min(n, LARGEST_THUMBNAIL) for n in image.shape[-2:])
        return F.adaptive_avg_pool2d(image.float(), (height, width))

    images = [small(image.detach().cpu()) for image in pictures]
    sides = [max(image.shape[axis] for image in images) for axis in (-2, -1)]
    same = [F.pad(i, (0, sides[1] - i.shape[-1], 0, sides[0] - i.shape[-2])) for i in images]
    return torch.stack(same)
