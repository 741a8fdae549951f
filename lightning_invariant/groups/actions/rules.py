"""How a group transforms one member of a batch: said by the user, or read off its name and shape where that is safe."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_invariant.batch import LABEL_KEYS
from lightning_invariant.batch.rows import EDGE_NAMES
from lightning_invariant.groups.actions.action import InputAction
from lightning_invariant.groups.actions.coordinates import space_dimension
from lightning_invariant.groups.actions.flip import SignAction
from lightning_invariant.groups.actions.grid import ImageAction, VolumeAction
from lightning_invariant.groups.actions.node import EdgeListAction, NodeAction
from lightning_invariant.groups.actions.point import PointAction
from lightning_invariant.groups.actions.product import LeftAlone
from lightning_invariant.groups.actions.shift import ShiftAction
from lightning_invariant.groups.cyclic import Translations
from lightning_invariant.groups.euclidean import Euclidean
from lightning_invariant.groups.group import Group
from lightning_invariant.groups.signs import Signs
from lightning_invariant.groups.symmetric import Symmetric

LEFT_ALONE = "left alone"


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


VECTOR_NAMES = _names(
    "pos position positions coord coords coors coordinates xyz points point_cloud pointcloud cloud vel velocity "
    "velocities v vec vectors force forces dipole dipoles normal normals displacement displacements edge_vec "
    "edge_vectors"
)
DIRECTION_NAMES = _names(
    "vel velocity velocities v vec vectors force forces dipole dipoles normal normals displacement displacements "
    "edge_vec edge_vectors"
)
"""Those among them that translations leave alone."""
FEATURE_NAMES = _names(
    "h x z feat feats features feature attr attrs node_attr node_feats node_features atom_features charge charges mass "
    "masses t time temperature sigma noise_level weight weights edge_weight lengths cond context"
)
COLOUR_NAMES = _names("rgb color colors colour colours")
LENGTH_NAMES = _names(
    "length lengths lens seq_len seq_lens seq_lengths sizes num_nodes n_nodes num_points n_points num_atoms n_atoms "
    "natoms"
)
VIDEO_NAMES = _names("video videos clip clips frames")
ADJACENCY_NAMES = _names(
    "adj adjacency adj_matrix adjacency_matrix edges edge_features edge_attr bond bonds dist dists distance distances "
    "distance_matrix laplacian attn_mask attn_bias"
)
EIGENVECTOR_NAMES = _names(
    "eigvec eigvecs eigenvectors evecs pe lap_pe laplacian_pe pos_enc positional_encoding laplacian_eigenvector_pe"
)
SMALLEST_SIDE = 4
"""Images and volumes have at least so many pixels a side; smaller axes are channels, coordinates or counts."""
NARROW = 8
"""Features at most this wide may hold vectors or boxes; wider ones are features that a group of space leaves alone."""
_WORD = re.compile(r"\s*([a-z][a-z ]*?)\s*(?:\(\s*axis\s*=\s*(-?\d+)\s*\))?\s*")


class Member(NamedTuple):
    """One tensor among the inputs.

    Attributes:
        path: Where it is.
        name: The last name on the path.
        tensor: Samples first; of a list with one entry a sample, its first entry behind an axis of length 1; nodes or
            edges first where samples are graphs in one list of nodes.
        kind: "rows", "nodes", "edges", "edge index" or "graph index".
    """

    path: str
    name: str
    tensor: Tensor
    kind: str = "rows"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample; of nodes and edges, with their number."""
        return tuple(self.tensor.shape) if self.kind in ("nodes", "edges") else tuple(self.tensor.shape[1:])

    @property
    def is_whole(self) -> bool:
        """Whether it holds whole numbers or booleans, such as classes and masks."""
        return not (self.tensor.is_floating_point() or self.tensor.is_complex())

    @property
    def is_single(self) -> bool:
        """Whether there is one number a sample, or a node."""
        shape = self.shape[1:] if self.kind in ("nodes", "edges") else self.shape
        return all(n == 1 for n in shape)

    def __str__(self) -> str:
        shape = ", ".join(map(str, self.tensor.shape[1:]))
        first = {"nodes": "nodes", "edges": "edges"}.get(self.kind, "B")
        return f"{self.path}, {str(self.tensor.dtype).removeprefix('torch.')} ({first}{', ' if shape else ''}{shape})"


@dataclass(frozen=True)
class Rule:
    """How one factor of a group transforms one member.

    Attributes:
        name: "image", "vectors", "nodes", "left alone", ...; "unknown" if two readings are plausible.
        action: What does it; None if that is not known.
        doubt: Why it is not known.
    """

    name: str
    action: InputAction | None
    doubt: str = ""

    def __str__(self) -> str:
        return self.name


def unknown(doubt: str) -> Rule:
    """The rule of a member of which two readings are plausible."""
    return Rule("unknown", None, doubt)


def left_alone(group: Group) -> Rule:
    """The rule of a member that does not change."""
    return Rule(LEFT_ALONE, LeftAlone(group))


def vocabulary(group: Group) -> dict[str, Callable[[int | None], InputAction]]:
    """Return the words by which a member's rule is said, for a group that is no product.

    Returns:
        Word to a function that makes the action from the axis in "word(axis=k)", None where no axis stands there.
    """
    d = space_dimension(group)
    words: dict[str, Callable[[int | None], InputAction]] = {LEFT_ALONE: lambda _: LeftAlone(group)}
    if isinstance(group, Symmetric):
        words |= dict.fromkeys(("nodes", "points", "mask"), lambda axis: NodeAction(group, (axis or 1,)))
        words |= {"adjacency": lambda axis: NodeAction(group, (axis or 1, (axis or 1) + 1))}
        words |= {"edge list": lambda _: EdgeListAction(group)}
    elif isinstance(group, Translations):
        words |= {"signal": lambda axis: ShiftAction(group, -1 if axis is None else axis)}
    elif isinstance(group, Signs):
        words |= dict.fromkeys(("eigenvectors", "signs"), lambda axis: SignAction(group, -1 if axis is None else axis))
    elif d is not None:
        words |= {"vectors": lambda axis: PointAction(group, -1 if axis is None else axis)}
        if isinstance(group, Euclidean):
            words |= {"positions": lambda axis: PointAction(group, -1 if axis is None else axis, translated=True)}
        elif d == 2:
            words |= dict.fromkeys(("image", "video"), lambda _: ImageAction(group))
            words |= {"flat image": lambda _: ImageAction(group, flat=True)}
            words |= {"image channels last": lambda _: ImageAction(group, axes=(-3, -2))}
            words |= {
                f"volume about {a}": lambda _, a=a: VolumeAction(group, about=a) for a in ("depth", "height", "width")
            }
        elif d == 3:
            words |= {"volume": lambda _: VolumeAction(group)}
    if not isinstance(group, Symmetric):
        # What is said of points and masks is said of their order, which other groups leave alone.
        words |= dict.fromkeys(("nodes", "points", "mask", "adjacency", "edge list"), lambda _: LeftAlone(group))
    return words


def read_word(text: str) -> tuple[str, int | None] | None:
    """Read "signal(axis=1)" as a word and its axis; None if it is none.

    Example:
        >>> read_word("signal(axis=1)"), read_word("left alone"), read_word("?")
        (('signal', 1), ('left alone', None), None)
    """
    match = _WORD.fullmatch(text)
    return None if match is None else (match[1], None if match[2] is None else int(match[2]))


def default_rule(group: Group, member: Member, others: Sequence[Member], place: tuple[int, int] = (0, 1)) -> Rule:
    """Return the rule that a member's name and shape tell.

    Args:
        group: What acts; no product.
        member: What is transformed.
        others: The other members.
        place: Which of how many groups of translations this is.

    Returns:
        The rule; "unknown" where two readings are plausible.
    """
    if member.kind == "graph index" or member.tensor.dim() == 0:
        return left_alone(group)
    if isinstance(group, Symmetric):
        return _order(group, member, others)
    if isinstance(group, Translations):
        return _shift(group, member, place)
    if isinstance(group, Signs):
        return _signs(group, member, others)
    if space_dimension(group) is not None:
        return _spatial(group, member, others)
    if member.is_whole or member.is_single:
        return left_alone(group)
    return unknown(f"{group} is known by an augmentation alone")


def _order(group: Symmetric, member: Member, others: Sequence[Member]) -> Rule:
    if member.kind == "nodes":
        return Rule("nodes", NodeAction(group))
    if member.kind == "edge index":
        return Rule("edge list", EdgeListAction(group))
    n, shape, tensor = group.n, member.shape, member.tensor
    whole = member.is_whole and tensor.dtype != torch.bool
    places = [axis + 1 for axis, size in enumerate(shape) if size == n]
    if member.kind == "edges":
        return left_alone(group)
    numbers = whole and (not tensor.numel() or (int(tensor.max()) < n and int(tensor.min()) >= -1))
    if whole and 2 in shape and len(shape) == 2 and (member.name in EDGE_NAMES or not places):
        if member.name in EDGE_NAMES and numbers:
            return Rule("edge list", EdgeListAction(group))
        if numbers or member.name in EDGE_NAMES:
            return unknown(f"it may be a list of edges between {n} nodes, or numbers of something else")
    if not places:
        return left_alone(group)
    if len(places) == 1:
        name = "mask" if tensor.dtype == torch.bool else "nodes"
        if places[0] == 1:
            return Rule(name, NodeAction(group))
        if any(other.kind == "rows" and other.shape[:1] == (n,) for other in others):
            return unknown(f"its axis {places[0]} may count nodes or features")
        return Rule(f"{name}(axis={places[0]})", NodeAction(group, (places[0],)))
    if len(places) == 2 and places[1] == places[0] + 1:
        named = member.name.lower() in ADJACENCY_NAMES or tensor.dtype == torch.bool
        if named or torch.equal(tensor, tensor.transpose(*places)):
            name = "adjacency" if places[0] == 1 else f"adjacency(axis={places[0]})"
            return Rule(name, NodeAction(group, tuple(places)))
    return unknown(f"{len(places)} of its axes have {n} places: it may be an adjacency or {n} nodes with features")


def _shift(group: Translations, member: Member, place: tuple[int, int]) -> Rule:
    shape = member.shape
    if member.kind != "rows" or member.is_single:
        return left_alone(group)
    which, count = place
    if count > 1:
        if len(shape) < count:
            return left_alone(group)
        if shape.count(group.n) == (1 if shape[-count:].count(group.n) == 1 else shape[-count:].count(group.n)):
            axis = len(shape) - count + 1 + which
            if shape[axis - 1] == group.n:
                return Rule(f"signal(axis={axis})", ShiftAction(group, axis))
        return unknown(f"it is not sure which of its axes {group} shifts")
    places = [axis + 1 for axis, size in enumerate(shape) if size == group.n]
    if len(places) == 1:
        return Rule(f"signal(axis={places[0]})", ShiftAction(group, places[0]))
    if places:
        return unknown(f"{len(places)} of its axes have {group.n} positions")
    if len(shape) == 1 and not any(size % group.n == 0 for size in shape):
        return left_alone(group)
    return unknown(f"none of its axes has {group.n} positions")


def _signs(group: Signs, member: Member, others: Sequence[Member]) -> Rule:
    shape, named = member.shape, member.name.lower() in EIGENVECTOR_NAMES
    if member.is_whole or member.kind not in ("rows", "nodes"):
        return left_alone(group)
    if not shape or shape[-1] != group.n:
        return unknown(f"none of its axes counts {group.n} eigenvectors") if named else left_alone(group)
    rivals = [
        o for o in others if o.tensor.is_floating_point() and o.shape[-1:] == (group.n,) and o.kind == member.kind
    ]
    if named or (not rivals and (shape.count(group.n) == 1 or member.kind == "nodes")):
        return Rule("eigenvectors", SignAction(group))
    return unknown(f"it may hold {group.n} eigenvectors or {group.n} features")


def _spatial(group: Group, member: Member, others: Sequence[Member]) -> Rule:
    d, name, shape = space_dimension(group) or 0, member.name.lower(), member.shape
    if member.is_whole:
        return _whole_numbers(group, member, others)
    if member.is_single or (name in LABEL_KEYS and len(shape) <= 1):
        return left_alone(group)
    if name in VECTOR_NAMES:
        axes = [axis for axis, size in enumerate(shape) if size == d]
        if shape[-1] == d:
            return _moved(group, name)
        if len(axes) == 1 and member.kind == "rows":
            return _moved(group, name, axes[0] + 1)
        return unknown(f"its name says vectors but it does not have {d} coordinates in one place")
    grid = _grid(group, member)
    if grid is not None:
        return grid
    rivals = [other for other in others if not other.is_whole and _is_spatial(group, other)]
    axes = [axis + 1 for axis, size in enumerate(shape) if size == d]
    if not rivals and len(shape) >= 2 and shape[-1] == d:
        return _moved(group, name)
    if not rivals and len(shape) == 2 and axes == [1] and member.kind == "rows":
        return _moved(group, name, 1)
    if not rivals and isinstance(group, Euclidean):
        return unknown(f"its shape is not that of positions or vectors with {d} coordinates")
    if not rivals:
        return unknown(f"its shape is neither that of {'images' if d == 2 else 'volumes'} nor of vectors")
    return _beside(group, member, rivals)


def _moved(group: Group, name: str, axis: int = -1) -> Rule:
    """Vectors or, where the group has translations and the name does not say directions, positions."""
    translated = isinstance(group, Euclidean) and name not in DIRECTION_NAMES
    word = "positions" if translated else "vectors"
    return Rule(word if axis < 0 else f"{word}(axis={axis})", PointAction(group, axis, translated))


def _beside(group: Group, member: Member, others: Sequence[Member]) -> Rule:
    """Features beside what is transformed: wide ones are left alone, narrow ones may hold vectors or boxes."""
    d, name, shape = space_dimension(group) or 0, member.name.lower(), member.shape
    counts = {o.shape[0] for o in others if o.kind == "rows" and len(o.shape) >= 2 and o.name.lower() in VECTOR_NAMES}
    width = shape[len(shape) - 1]
    scalars = member.kind == "rows" and set(shape) <= counts - {d}
    paired = len(shape) == 2 and (name in ADJACENCY_NAMES or torch.equal(member.tensor, member.tensor.mT))
    if scalars and (len(shape) == 1 or paired):  # one number a point, or a pair of points
        return left_alone(group)
    if name in COLOUR_NAMES or "mask" in name or width < d:
        return left_alone(group)
    if (width > NARROW and len(shape) <= 2) or (name in FEATURE_NAMES and width % d):
        return left_alone(group)
    return unknown(f"its {width} numbers may be features or coordinates")


def _grid(group: Group, member: Member) -> Rule | None:
    shape, name = member.shape, member.name.lower()
    if member.kind != "rows" or len(shape) < 2 or isinstance(group, Euclidean):
        return None
    if space_dimension(group) == 3:
        if name in VIDEO_NAMES or len(shape) not in (3, 4) or min(shape[-3:]) < SMALLEST_SIDE:
            return None
        if len(set(shape[-3:])) > 1:
            return unknown("its sides differ, and a quarter turn would change its shape; crop or pad it to a cube")
        return Rule("volume", VolumeAction(group))
    if len(shape) == 4 and min(shape[-2:]) >= SMALLEST_SIDE:
        if name in VIDEO_NAMES and _fits(group, shape[-2:]):
            return Rule("video", ImageAction(group))
        return unknown("it may be a video or a volume")
    if len(shape) > 3:
        return None
    first = min(shape[-2:]) >= SMALLEST_SIDE
    last = len(shape) == 3 and min(shape[:2]) >= SMALLEST_SIDE and shape[2] <= SMALLEST_SIDE
    if first and last and (shape[-2] == shape[-1]) != (shape[0] == shape[1]):
        first, last = shape[-2] == shape[-1], shape[0] == shape[1]  # a square is likelier than a strip
    if first and last:
        return unknown("its channels may be its first or its last axis")
    if not first and not last:
        return None
    sides = shape[-2:] if first else shape[:2]
    if not _fits(group, sides):
        if len(shape) == 2:
            return None
        return unknown(f"its sides differ, {sides[0]} x {sides[1]}; crop or pad it to a square")
    return (
        Rule("image", ImageAction(group)) if first else Rule("image channels last", ImageAction(group, axes=(-3, -2)))
    )


def _fits(group: Group, sides: Sequence[int]) -> bool:
    quarter = group.order is None or getattr(group, "n", 4) % 4 == 0
    return sides[0] == sides[1] or not quarter


def _whole_numbers(group: Group, member: Member, others: Sequence[Member]) -> Rule:
    """Classes, types and masks are left alone; raw images, and maps with the sides of an image, are transformed."""
    d = space_dimension(group) or 0
    alone = left_alone(group)
    if member.kind != "rows" or len(member.shape) < d:
        return alone
    grid = _grid(group, member)
    if grid is None or grid.name not in ("image", "volume", "image channels last", "video"):
        return alone
    if member.tensor.dtype == torch.uint8 and len(member.shape) == d + 1:
        return grid
    sides = [o.shape[-d:] for o in others if not o.is_whole and _grid(group, o) is not None]
    return grid if member.shape[-d:] in sides else alone


def _is_spatial(group: Group, member: Member) -> bool:
    """Whether a member has a name or shape that the group acts on."""
    if member.is_single:
        return False
    d = space_dimension(group)
    is_cloud = len(member.shape) >= 2 and member.shape[-1] == d and member.name.lower() not in COLOUR_NAMES
    return member.name.lower() in VECTOR_NAMES or _grid(group, member) is not None or is_cloud


def takes(action: InputAction, member: Member) -> bool:
    """Whether an action can be applied to a member at all."""
    return misfit(action, member) is None


def misfit(action: InputAction, member: Member) -> Exception | None:
    """Why an action cannot be applied to a member; None if it can."""
    tensor = member.tensor if isinstance(action, EdgeListAction) else member.tensor[:1]
    try:
        action.transform(tensor, action.group.sample(len(tensor), torch.Generator().manual_seed(0)))
    except Exception as error:  # a function of the user's may fail in any way
        return error
    return None


def choices(group: Group, member: Member) -> list[str]:
    """Return what can be said of a member other than that it is left alone, each reading once."""
    shape = member.shape
    if isinstance(group, Translations):
        return [f"signal(axis={axis + 1})" for axis, n in enumerate(shape) if n > 1 and n % group.n == 0]
    found: dict[InputAction, str] = {}
    for word, make in vocabulary(group).items():
        action = make(None)
        if (
            not isinstance(action, LeftAlone)
            and _is_choice(word, shape, space_dimension(group))
            and takes(action, member)
        ):
            found.setdefault(action, word)
    d = space_dimension(group)
    for axis, size in enumerate(shape[:-1]):
        if size == d and member.kind == "rows" and len(shape) <= 3 and takes(PointAction(group, axis + 1), member):
            words = ("positions", "vectors") if isinstance(group, Euclidean) else ("vectors",)
            for word in words:
                action = PointAction(group, axis + 1, translated=word == "positions")
                found.setdefault(action, f"{word}(axis={axis + 1})")
    return list(found.values())


def _is_choice(word: str, shape: tuple[int, ...], d: int | None) -> bool:
    if word in ("vectors", "positions"):
        width = shape[-1] if len(shape) else 0
        return width == d or (len(shape) <= 2 and width <= NARROW)
    if word == "image":
        return len(shape) in (2, 3)
    if word == "flat image":
        return len(shape) == 1
    if word == "edge list":
        return 2 in shape
    if word == "image channels last":
        return len(shape) == 3 and shape[2] <= SMALLEST_SIDE
    if word == "video":
        return len(shape) >= 4
    return not word.startswith("volume about") or len(shape) == 4
