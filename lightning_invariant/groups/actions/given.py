"""The rule of each member: what the user says of it, else its default; and what to ask where neither is sure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import islice
from itertools import product as cartesian
from typing import Any

from torch import Tensor

from lightning_invariant.batch import RowLayout, leaves, rows
from lightning_invariant.batch.rows import Role
from lightning_invariant.batch.tree import last_name
from lightning_invariant.errors import ActionError
from lightning_invariant.groups.actions.action import InputAction
from lightning_invariant.groups.actions.member import MemberAction
from lightning_invariant.groups.actions.product import LeftAlone, ProductAction
from lightning_invariant.groups.actions.rules import (
    LEFT_ALONE,
    LENGTH_NAMES,
    Member,
    Rule,
    choices,
    default_rule,
    left_alone,
    misfit,
    read_word,
    takes,
    unknown,
    vocabulary,
)
from lightning_invariant.groups.actions.sampled import SampledAction
from lightning_invariant.groups.cyclic import Translations
from lightning_invariant.groups.group import Group
from lightning_invariant.groups.product import Product
from lightning_invariant.groups.sampled import Sampled
from lightning_invariant.groups.symmetric import Symmetric

Given = InputAction | Mapping[str, "str | InputAction | Callable[..., Any]"] | Callable[..., Any] | None
MOST_REMEDIES = 64
_KINDS: dict[int, str] = {
    Role.NODES: "nodes",
    Role.EDGES: "edges",
    Role.EDGE_INDEX: "edge index",
    Role.GRAPH_INDEX: "graph index",
    Role.POINTERS: "graph index",
}


def member_action(
    group: Group,
    members: Mapping[str, Tensor] | Any,
    given: Given = None,
    layout: RowLayout | None = None,
) -> MemberAction:
    """Return how a group transforms inputs.

    Args:
        group: What acts.
        members: The inputs, as a tree; every tensor that varies from sample to sample needs a rule.
        given: What is said about them: nothing; an action, for the one member that it fits; a dict of a member's name
            or path to a rule such as "vectors", an action, or a function of (tensor, g); or a function of (inputs, g),
            which gets the one floating-point member that varies, or a dict of all of them. For `Sampled` groups a
            function of one sample, such as an augmentation of torchvision or kornia, will do.
        layout: Which parts have one entry a sample; the likeliest one for the length of the first tensor if None.

    Returns:
        The action; members whose rule is not known are in its `unknown`.

    Raises:
        ActionError: What is given is of a wrong type, or fits no member.
    """
    check_action(given)
    layout = _layout_of(members) if layout is None else layout
    found = _read(members, layout)
    if isinstance(given, Mapping):
        return _from_rules(group, found, given, layout)
    if isinstance(given, InputAction):
        if given.group != group:
            raise ActionError(f"Expected an action of {group} but got one of {given.group}; give it the same group.")
        return _from_rules(group, found, {_only(group, found, given).path: given}, layout)
    if given is not None and isinstance(group, Sampled):
        action = SampledAction(group, given)
        return _from_rules(group, found, {_only(group, found, action).path: action}, layout)
    if given is not None:
        rules = {m.path: LEFT_ALONE if m.kind == "graph index" or m.is_single else "function" for m in found}
        return MemberAction(group, rules, {}, layout, function=given)
    return _from_rules(group, found, {}, layout)


def check_action(given: Any) -> None:
    """Check the type of what is said about inputs.

    Raises:
        ActionError: It is no action, dict of rules or function.
    """
    if given is None or isinstance(given, InputAction):
        return
    if isinstance(given, Mapping):
        for name, rule in given.items():
            is_word = isinstance(rule, str) and all(map(read_word, rule.split(" and ")))
            if not isinstance(name, str) or not (is_word or isinstance(rule, InputAction) or callable(rule)):
                raise ActionError(
                    "Expected a dict of member to rule, such as action={'pos': 'vectors', 'z': 'points'}, but got "
                    f"{name!r}: {rule!r}."
                )
        return
    if isinstance(given, (str, bytes)) or not callable(given) or isinstance(given, type):
        raise ActionError(
            "Expected an action, a dict of member to rule such as action={'pos': 'vectors'}, or a function of "
            f"(inputs, g) but got {given!r}."
        )


def _layout_of(tree: Any) -> RowLayout:
    first = next((t for t in leaves(tree).values() if t.dim()), None)
    found = rows(tree, len(first)) if first is not None else []
    if not found:
        raise ActionError("Expected inputs with one entry a sample but found no tensor with an axis.")
    return found[0]


def _read(tree: Any, layout: RowLayout) -> list[Member]:
    found = []
    for path, value in layout.members(tree).items():
        axis = layout.axes.get(path, 0)
        if isinstance(value, list):
            if len({t.dim() for t in value}) == 1:
                found.append(Member(path, last_name(path), value[0][None]))
            continue
        if path not in layout.axes and _is_constant(value, layout.count):
            continue
        found.append(Member(path, last_name(path), value, _KINDS.get(axis, "rows")))
    return found


def _is_constant(value: Tensor, count: int) -> bool:
    return not value.dim() or len(value) != count


def _from_rules(group: Group, members: list[Member], given: Mapping[str, Any], layout: RowLayout) -> MemberAction:
    said = _match(given, members)
    rules: dict[str, list[Rule]] = {}
    for member in members:
        rules[member.path] = _rules(group, member, [m for m in members if m is not member], said.get(member.path))
    _require_effect(group, members, rules, said)
    names, actions, doubts = {}, {}, []
    for member in members:
        found = rules[member.path]
        doubt = next((rule for rule in found if rule.action is None), None)
        if doubt is not None and (member.path in said or _varies(member)):
            names[member.path] = "unknown"
            doubts.append((member, found))
        elif doubt is not None:
            names[member.path] = LEFT_ALONE
        else:
            names[member.path] = (
                " and ".join(dict.fromkeys(r.name for r in found if r.name != LEFT_ALONE)) or LEFT_ALONE
            )
            if names[member.path] != LEFT_ALONE:
                actions[member.path] = _joined(group, [r.action for r in found if r.action is not None])
    return MemberAction(group, names, actions, layout, _question(group, doubts), lengths=_lengths(group, members))


def _require_effect(group: Group, members: list[Member], rules: dict[str, list[Rule]], said: Mapping[str, Any]) -> None:
    """Ask about a factor of the group that changes nothing: what would be measured of it is no equivariance."""
    factors = group.factors if isinstance(group, Product) else (group,)
    by_factor = [path for path, found in rules.items() if len(found) == len(factors)]
    if len(by_factor) < len(rules):
        return  # an action of the whole group is given
    for position, factor in enumerate(factors):
        if not all(rules[path][position].name == LEFT_ALONE for path in by_factor):
            continue
        for member in members:
            is_open = member.path not in said and member.kind != "graph index"
            if is_open and (not member.is_single or all(m.is_single for m in members)):
                rules[member.path][position] = unknown(f"nothing among the inputs tells what {factor} changes")


def _lengths(group: Group, members: list[Member]) -> str | None:
    """The member that says how many nodes of each padded set exist."""
    orders = [f for f in (group.factors if isinstance(group, Product) else (group,)) if isinstance(f, Symmetric)]
    for member in members:
        tensor = member.tensor
        named = member.name.lower() in LENGTH_NAMES and member.kind == "rows" and tensor.dim() == 1
        if orders and named and member.is_whole and int(tensor.min()) >= 0 and int(tensor.max()) <= orders[0].n:
            return member.path
    return None


def _joined(group: Group, actions: list[InputAction]) -> InputAction:
    if not isinstance(group, Product) or actions[0].group == group:
        return actions[0]
    return ProductAction(group, tuple(actions))


def _varies(member: Member) -> bool:
    tensor = member.tensor
    return len(tensor) < 2 or not bool((tensor == tensor[:1]).all())


def _rules(group: Group, member: Member, others: list[Member], said: Any) -> list[Rule]:
    """One rule for each factor; a single one where an action of the whole group is given."""
    if isinstance(said, InputAction) and said.group == group:
        if not takes(said, member) and member.kind == "rows":
            said.transform(member.tensor, group.sample(len(member.tensor)))  # its own error says what it expects
        return [Rule(type(said).__name__, said)]
    factors = group.factors if isinstance(group, Product) else (group,)
    if said is not None and not isinstance(said, (str, InputAction)):
        return [
            Rule(
                "function",
                _FunctionAction(group, said) if not isinstance(group, Sampled) else SampledAction(group, said),
            )
        ]
    shifts = [i for i, factor in enumerate(factors) if isinstance(factor, Translations)]
    words = _words(said, factors, member) if isinstance(said, str) else {}
    found = []
    for position, factor in enumerate(factors):
        if position in words:
            found.append(words[position])
        elif isinstance(said, InputAction) and said.group == factor:
            found.append(Rule(type(said).__name__, said))
        else:
            place = (shifts.index(position), len(shifts)) if position in shifts else (0, 1)
            rule = default_rule(factor, member, others, place)
            # Words say all that there is to say: what they leave open, they leave alone.
            found.append(left_alone(factor) if words and rule.action is None else rule)
    if isinstance(said, InputAction) and not any(said.group == factor for factor in factors):
        raise ActionError(f"Expected an action of {group} for {member.path} but got one of {said.group}.")
    return found


def _words(text: str, factors: tuple[Group, ...], member: Member) -> dict[int, Rule]:
    """The rule that words say, by position of the factor whose word each one is."""
    found: dict[int, Rule] = {}
    if text.strip() == LEFT_ALONE:
        return {position: left_alone(factor) for position, factor in enumerate(factors)}
    for piece in text.split(" and "):
        read = read_word(piece)
        takers = (
            [] if read is None else [p for p, f in enumerate(factors) if read[0] in vocabulary(f) and p not in found]
        )
        active = [
            p
            for p in takers
            if read is not None and not isinstance(vocabulary(factors[p])[read[0]](read[1]), LeftAlone)
        ]
        if read is None or not takers:
            known = sorted({word for factor in factors for word in vocabulary(factor)})
            near = get_close_matches(piece, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}."
            raise ActionError(f"Expected a rule for {member.path} but got {piece!r}; {hint}")
        for position in active[:1] or takers:
            action = vocabulary(factors[position])[read[0]](read[1])
            if member.kind == "rows" and not isinstance(action, LeftAlone) and not takes(action, member):
                try:
                    action.transform(member.tensor, action.group.sample(len(member.tensor)))
                except ValueError as error:
                    raise ActionError(f"Expected {member} to fit the rule {piece!r}: {error}") from error
            found[position] = Rule(LEFT_ALONE if isinstance(action, LeftAlone) else piece.strip(), action)
    return found


def _match(given: Mapping[str, Any], members: list[Member]) -> dict[str, Any]:
    said = {}
    for name, rule in given.items():
        paths = [m.path for m in members if m.path == name] or [m.path for m in members if m.name == name]
        if not paths and rule != LEFT_ALONE:  # what this call does not take is left alone anyway
            known = ", ".join(m.name if m.name and m.name != m.path else m.path for m in members)
            raise ActionError(f"Expected rules for members among {known or 'none'} but got one for {name!r}.")
        said.update(dict.fromkeys(paths, rule))
    return said


def _only(group: Group, members: list[Member], action: InputAction) -> Member:
    """The one member that an action fits."""
    fitting = [m for m in members if m.kind in ("rows", "nodes") and not m.is_single and takes(action, m)]
    floating = [m for m in fitting if m.tensor.is_floating_point()] or fitting
    if len(floating) == 1:
        return floating[0]
    if not fitting:
        shapes = "; ".join(map(str, members)) or "none"
        reasons = "".join(f"\n  {m.path}: {why}" for m in members if not m.is_single and (why := misfit(action, m)))
        raise ActionError(f"Expected an input that {action} fits but got {shapes}.{reasons}")
    raise ActionError(
        f"Expected one input that the action fits but {', '.join(m.path for m in floating)} all do; say which: "
        f"action={{{(floating[0].name or floating[0].path)!r}: ...}}."
    )


def _question(group: Group, doubts: list[tuple[Member, list[Rule]]]) -> str:
    if not doubts:
        return ""
    lines = []
    for member, found in doubts:
        reason = next(rule.doubt for rule in found if rule.action is None)
        remedies = [
            f"action={{{(member.name or member.path)!r}: {words!r}}}" for words in _remedies(group, member, found)
        ]
        if isinstance(group, Sampled):
            remedies = ["action=your_augmentation, a function of one input"]
        lines.append(f"{member}: {reason}; pass {' or '.join(remedies)}, or a function action=f(inputs, g)")
    return f"Expected to know how {group} transforms every input that varies, but got\n  " + "\n  ".join(lines)


def _remedies(group: Group, member: Member, found: list[Rule]) -> list[str]:
    """What can be typed: a word for each factor that is in doubt, with the words of the others."""
    factors = group.factors if isinstance(group, Product) else (group,)
    words = [
        [rule.name] if rule.action is not None else [*choices(factor, member), LEFT_ALONE]
        for factor, rule in zip(factors, found, strict=True)
    ]
    shifts = sum(isinstance(factor, Translations) for factor in factors)
    texts = []
    for picks in islice(cartesian(*words), MOST_REMEDIES):
        axes = [read[1] for pick in picks if (read := read_word(pick)) and read[0] == "signal"]
        if shifts < 2 or (len(axes) in (0, shifts) and axes == sorted(set(axes), key=lambda a: a or 0)):
            texts.append(" and ".join(pick for pick in picks if pick != LEFT_ALONE) or LEFT_ALONE)
    return list(dict.fromkeys(texts))


@dataclass(frozen=True)
class _FunctionAction(InputAction):
    function: Callable[[Tensor, Tensor], Tensor] = field(default=lambda x, g: x)

    def transform(self, x: Tensor, g: Tensor) -> Tensor:
        out = self.function(x.clone(), self._each(g, len(x)))
        if not isinstance(out, Tensor) or out.shape != x.shape:
            kind = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise ActionError(f"Expected a tensor of shape {tuple(x.shape)} from the action's function but got {kind}.")
        return out
