"""The notation: "C8: 16 regular", "SO3: 8x0 + 4x1", "S9: 9 points x 16 + 2 pairs", "O3: 12 vectors", "Z2^5: signs".

representation = group ":" term { "+" term }
group          = factor { " x " factor }
factor         = "C"n | "D"n [axis] | "S"n | "T"n | "Z2" | "Z2^"n | "SO"d | "O"d | "O2" [axis] | "SE"d | "E"d
               | "U"n | "SU2" | "HFlip" | "VFlip" | "Cube" | "FullCube" | "Sampled" [ "(" name ")" ]
               | "Matrices" nested-list
axis           = "(axis=" degrees ")", the line of reflection: 0 swaps top and bottom, 90 left and right
term           = kinds [ "on" height "x" width ]
kinds          = [copies] kind { "*" kind } | [copies "x"] irrep | n "points" [ "x" copies ]
               | [copies] "regular/" subgroup | [copies] "(" term { "+" term } ")" [ "in" nested-list ]
               | n "points (" term { "+" term } ")" in products with S_n: numbers of each point, in e3nn's order
subgroup       = "C"n | "D"n [axis], by whose cosets a field is indexed; D about the group's own axis if none is given
kind           = "trivial" | "regular" | "points" | "pairs" | "signs" | "vectors" | "positions" | "det"
               | irrep (in products only)
irrep          = frequency | degree [ "e" | "o" ], of D_n also n/2 "o", whose sign its reflection changes

Complex vectors of U(n) and SU(2) are laid out (copies, n, 2), each number's real part before its imaginary part.
Under E(d) and SE(d) "positions" are translated too; "vectors", "det" and irreps are moved as under O(d) and SO(d).
"on 7x7" says that fields stand at every pixel of a feature map; it holds for the terms before it that do not say it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from difflib import get_close_matches

from lightning_invariant.errors import GroupError, ParseError
from lightning_invariant.groups.block import Block, Trivial
from lightning_invariant.groups.cyclic import Cyclic, Translations
from lightning_invariant.groups.dihedral import Dihedral
from lightning_invariant.groups.euclidean import Euclidean, Positions, Turned
from lightning_invariant.groups.field_maps import FieldMap, maps_throughout
from lightning_invariant.groups.fields import Fields
from lightning_invariant.groups.finite_blocks import (
    Determinant,
    Pairs,
    PlanarIrrep,
    Points,
    Quotient,
    Regular,
    SignPattern,
)
from lightning_invariant.groups.group import FiniteGroup, Group
from lightning_invariant.groups.matrices import Cube, Matrices
from lightning_invariant.groups.matrix_blocks import DegreeIrrep, Flip, FrequencyIrrep, Outer, Vectors
from lightning_invariant.groups.orthogonal import Orthogonal
from lightning_invariant.groups.product import Product
from lightning_invariant.groups.sampled import Sampled
from lightning_invariant.groups.signs import Signs
from lightning_invariant.groups.symmetric import Symmetric
from lightning_invariant.groups.unitary import Unitary

DEEPEST = 64
"""Most brackets that open before a term; text can come from anywhere, and terms in brackets are read recursively."""
KINDS = ("trivial", "regular", "points", "pairs", "signs", "vectors", "positions", "det")
_NUMBERED: dict[str, Callable[[int], Group]] = {
    "C": Cyclic,
    "D": Dihedral,
    "S": Symmetric,
    "T": Translations,
    "SO": lambda d: Orthogonal(d, special=True),
    "O": Orthogonal,
    "SE": lambda d: Euclidean(d, special=True),
    "E": Euclidean,
    "U": Unitary,
    "SU": lambda n: Unitary(n, special=True),
    "Z2^": Signs,
}
_NAMED: dict[str, Callable[[], Group]] = {
    "HFlip": lambda: Dihedral(1, axis=90),
    "VFlip": lambda: Dihedral(1),
    "Cube": Cube,
    "FullCube": lambda: Cube(full=True),
    "Z2": lambda: Signs(1),
}
_OTHERS: dict[str, Group] = {}
_WORD = re.compile(r"[A-Za-z]\w*")
_FACTOR = re.compile(
    r"(HFlip|VFlip|Cube|FullCube)\b|(SO|SE|SU|[CDSTOEU])\(?(\d+)\)?(?:\(axis\s*=\s*(-?\d+\.?\d*)\))?"
    r"|(Z2\^)(\d+)|(Z2)|Sampled(?:\((\w+)\))?|(Matrices)"
)
_TERM = re.compile(
    r"(?:(?:(\d+)\s*x\s*)?(\d+[eo]?)|(?:(\d+)\s+)?([A-Za-z][\w*]*|\d+[eo]?\*[\w*]+)(?:\s*x\s*(\d+))?)\s*$"
)
_ON = re.compile(r"(.*)\bon\s+(\d+)\s*x\s*(\d+)\s*", re.DOTALL)
_QUOTIENT = re.compile(r"(?:(\d+)\s+)?regular\s*/\s*([CD])(\d+)(?:\(axis\s*=\s*(-?\d+\.?\d*)\))?")
_FIELDS = re.compile(r"(\d*)\s*\((.*)\)\s*(?:in\s*(\[.*\]))?", re.DOTALL)
_IRREP = re.compile(r"(\d+)([eo]?)")
_PER_POINT = re.compile(r"(\d+)\s+points\s*\(([^()]*)\)")
_CARRIED = re.compile(r"\s*(?:(\d+)\s*x\s*|(\d+)\s+)?(\d+[eo]?|[a-z]+)\s*")


def register_group(name: str, group: Group) -> None:
    """Let the notation read a group of another package by its name, such as "Klein: 4 regular".

    Args:
        name: What `str(group)` prints: a letter, then letters, digits and underscores.
        group: The group.

    Raises:
        ValueError: `str` prints something else, or the name means another group.
    """
    if str(group) != name or _WORD.fullmatch(name) is None:
        raise ValueError(
            f"Expected a group that prints a name of letters and digits, {name!r}, but it prints '{group}'."
        )
    if name not in _OTHERS and _FACTOR.match(name) is not None:
        raise ValueError(f"Expected a new name for a group but {name!r} is read as another group.")
    if _OTHERS.setdefault(name, group) != group:
        raise ValueError(f"Expected a new name for a group but {name!r} is {_OTHERS[name]!r}.")


def parse_group(text: str) -> Group:
    """Read a group.

    Args:
        text: Such as "C8", "SO3", "C4 x Z2" or "Matrices[[[0,-1],[1,0]]]".

    Raises:
        ParseError: The text is no group; the message points at the first character that does not fit.

    Example:
        >>> str(parse_group("SO(3)")), parse_group("D4").order
        ('SO3', 8)
    """
    return _group(text, 0, len(text))


def parse_terms(text: str) -> tuple[Group, tuple[Block, ...]]:
    """Read a representation as its group and blocks.

    Raises:
        ParseError: As `parse_group`.
    """
    colon = text.find(":")
    if colon < 0:
        raise ParseError(
            "Expected a group, a colon and terms, such as 'C8: 16 regular', but found no colon.", text, len(text)
        )
    group = _group(text, 0, colon)
    text = text[:colon] + _PER_POINT.sub(lambda match: _carried(group, match), text[colon:])
    return group, maps_throughout(_terms(group, text, colon + 1, len(text)))


def _terms(group: Group, text: str, start: int, end: int) -> tuple[Block, ...]:
    """The blocks in a part of the text, split at each plus that stands in no brackets."""
    if text.count("(", 0, start) > DEEPEST:
        raise ParseError(f"Expected at most {DEEPEST} brackets before a term.", text, start)
    blocks, depth = [], 0
    for position in range(start, end + 1):
        character = text[position] if position < end else "+"
        depth += (character in "([") - (character in ")]")
        if position == end or (character == "+" and depth == 0):
            blocks.append(_term(group, text[start:position], text, start))
            start = position + 1
    return tuple(blocks)


def _carried(group: Group, match: re.Match[str]) -> str:
    """Spell out "7 points (8x0e + 4x1o)" as "8 points*0e + 4 points*1o"."""
    whole, n = match[0], match[1]
    first = group.factors[0] if isinstance(group, Product) else None
    if not isinstance(first, Symmetric) or len(getattr(group, "factors", ())) != 2:
        raise ParseError("Expected a product such as 'S7 x O3' for points that carry terms.", whole, 0)
    if int(n) != first.n:
        raise ParseError(f"Expected {first.n} points for {group} but got {n}.", whole, 0)
    terms = []
    for piece in match[2].split("+"):
        term = _CARRIED.fullmatch(piece)
        if term is None:
            raise ParseError(
                "Expected terms such as '8x0e' or '4 vectors' between the brackets.", whole, match.start(2)
            )
        terms.append(f"{term[1] or term[2] or 1} points*{term[3]}")
    return " + ".join(terms)


def _group(text: str, start: int, end: int) -> Group:
    position = start + len(text[start:end]) - len(text[start:end].lstrip())
    factors: list[Group] = []
    while True:
        factor, position = _factor(text, position, end)
        factors.append(factor)
        rest = text[position:end]
        if not rest.strip():
            return factors[0] if len(factors) == 1 else Product(tuple(factors))
        joint = re.match(r"\s*[x×]\s*", rest)
        if joint is None:
            raise ParseError("Expected ' x ' and another group, or the end.", text, position)
        position += joint.end()


def _factor(text: str, position: int, end: int) -> tuple[Group, int]:
    word = _WORD.match(text, position, end)
    if word is not None and word[0] in _OTHERS:
        return _OTHERS[word[0]], word.end()
    match = _FACTOR.match(text, position, end)
    if match is None:
        raise ParseError(
            "Expected a group: Cn, Dn, Sn, Tn, Z2^n, SOd, Od, SEd, Ed, Un, SU2, HFlip, VFlip, Cube, FullCube, "
            "Sampled or Matrices[[...]] (n, d are numbers).",
            text,
            position,
        )
    named, letter, number, axis, signs, count, z2, name, matrices = match.groups()
    try:
        if named or z2:
            return _NAMED[named or z2](), match.end()
        if axis is not None:
            return _with_axis(letter, int(number), float(axis)), match.end()
        if letter or signs:
            return _NUMBERED[letter or signs](int(number or count)), match.end()
        if matrices:
            value, stop = json.JSONDecoder().raw_decode(text, match.end())
            return Matrices(value), stop
        return Sampled(name or "augmentation"), match.end()
    except GroupError:
        raise
    except (ValueError, TypeError, RecursionError) as error:
        raise ParseError(str(error), text, position) from error


def _with_axis(letter: str, number: int, axis: float) -> Group:
    if letter == "D":
        return Dihedral(number, axis)
    if letter == "O":
        return Orthogonal(number, axis=axis)
    raise ValueError(f"Expected an axis of reflection for Dn or O2 only but got {letter}{number}.")


def _term(group: Group, piece: str, text: str, start: int) -> Block:
    position = start + len(piece) - len(piece.lstrip())
    if (on := _ON.fullmatch(piece)) is not None:
        return _map(_term(group, on[1], text, start), on, text, start)
    if (mixed := _FIELDS.fullmatch(piece.strip())) is not None:
        return _fields(group, mixed, text, position)
    if (quotient := _QUOTIENT.fullmatch(piece.strip())) is not None:
        return _quotient(group, quotient, text, position)
    match = _TERM.match(piece.strip())
    if match is None:
        raise ParseError(f"Expected a term such as '{_example(group)}'.", text, min(position, len(text)))
    copies, irrep, count, kind, features = match.groups()
    try:
        if irrep is not None:
            return _irrep(group, int(copies or 1), irrep)
        if kind == "points":
            return _points(group, count, features)
        if features is not None:
            raise ValueError(f"Expected '{count or 1} {kind}' without 'x {features}'.")
        return _kind(group, int(count or 1), kind)
    except ValueError as error:
        raise ParseError(str(error), text, position) from error


def _fields(group: Group, match: re.Match[str], text: str, position: int) -> Block:
    inside = position + match.start(2)
    parts = _terms(group, text, inside, inside + len(match[2]))
    try:
        basis = None if match[3] is None else json.loads(match[3])
        return Fields(group, int(match[1] or 1), parts, basis)
    except (ValueError, TypeError, RecursionError) as error:
        raise ParseError(str(error), text, position) from error


def _quotient(group: Group, match: re.Match[str], text: str, position: int) -> Block:
    copies, letter, turns, axis = match.groups()
    try:
        if not isinstance(group, (Cyclic, Dihedral)):
            raise ValueError(f"Expected C_n or D_n for quotients of regular fields but got {group}.")
        return Quotient.by(group, int(copies or 1), letter, int(turns), None if axis is None else float(axis))
    except ValueError as error:
        raise ParseError(str(error), text, position) from error


def _map(block: Block, on: re.Match[str], text: str, start: int) -> Block:
    try:
        return FieldMap(block.group, block.copies, block, int(on[2]), int(on[3]))
    except ValueError as error:
        raise ParseError(str(error), text, start + on.start(2)) from error


def _irrep(group: Group, copies: int, irrep: str) -> Block:
    match = _IRREP.fullmatch(irrep)
    if match is None:
        raise ValueError(f"Expected an irrep such as 1 or 1o but got {irrep!r}.")
    if isinstance(group, Euclidean):
        return Turned(group, copies, _irrep(group.linear, 1, irrep))
    number, parity = int(match[1]), {"e": 1, "o": -1, "": None}[match[2]]
    if isinstance(group, Orthogonal) and group.d == 3:
        return DegreeIrrep(group, copies, number, parity)
    if parity is None and isinstance(group, Orthogonal) and group.d == 2:
        return FrequencyIrrep(group, copies, number)
    if parity is None and isinstance(group, (Cyclic, Dihedral)):
        return PlanarIrrep(group, copies, number)
    if isinstance(group, Dihedral):
        return PlanarIrrep(group, copies, number, odd=parity == -1)
    raise ValueError(f"Expected a term that {group} has, such as '{_example(group)}', but got the irrep {irrep}.")


def _points(group: Group, count: str | None, features: str | None) -> Block:
    block = Points(group, int(features or 1))  # type: ignore[arg-type]  # the block refuses other groups itself
    if count is not None and int(count) != block.dim:
        raise ValueError(f"Expected {block.dim} points for {group} but got {count}; features follow as 'x {count}'.")
    return block


def _kind(group: Group, copies: int, kind: str) -> Block:
    if "*" in kind:
        return _outer(group, copies, kind.split("*"))
    if kind == "trivial":
        return Trivial(group, copies)
    if kind == "regular":
        return Regular(_finite(group), copies)
    if kind == "pairs":
        return Pairs(group, copies)  # type: ignore[arg-type]
    if kind == "signs":
        return SignPattern(group, copies)  # type: ignore[arg-type]
    if kind == "positions":
        return Positions(group, copies)  # type: ignore[arg-type]
    if isinstance(group, Euclidean) and kind in ("vectors", "det"):
        return Turned(group, copies, _kind(group.linear, 1, kind))
    if kind == "vectors":
        return Vectors(group, copies)  # type: ignore[arg-type]
    if kind == "det":
        return Determinant(group, copies) if isinstance(group, Dihedral) else Flip(group, copies)  # type: ignore[arg-type]
    near = get_close_matches(kind, KINDS, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(KINDS)} and irreps such as 4x1."
    raise ValueError(f"Expected a kind of representation but got {kind!r}{hint}")


def _outer(group: Group, copies: int, kinds: list[str]) -> Block:
    if not isinstance(group, Product) or len(kinds) != len(group.factors):
        raise ValueError(f"Expected one kind for each factor of a product group but got {len(kinds)} for {group}.")
    parts = [_factor_kind(factor, kind) for factor, kind in zip(group.factors, kinds, strict=True)]
    return Outer(group, copies, tuple(parts))


def _factor_kind(factor: Group, kind: str) -> Block:
    if kind[:1].isdigit():
        return _irrep(factor, 1, kind)
    return _points(factor, None, None) if kind == "points" else _kind(factor, 1, kind)


def _finite(group: Group) -> FiniteGroup:
    if isinstance(group, FiniteGroup):
        return group
    raise ValueError(f"Expected a listed finite group (Cn, Dn, Tn, Matrices) for regular fields but got {group}.")


def _example(group: Group) -> str:
    if isinstance(group, FiniteGroup):
        return "16 regular"
    if isinstance(group, Symmetric):
        return f"{group.n} points x 16"
    if isinstance(group, Signs):
        return "signs"
    if isinstance(group, Unitary):
        return "4 vectors"
    if isinstance(group, Orthogonal):
        irreps = {(2, True): "8x0 + 4x1", (2, False): "8x0 + 4x1", (3, True): "8x0 + 4x1", (3, False): "8x0e + 4x1o"}
        return irreps.get((group.d, group.special), "12 vectors")
    if isinstance(group, Product):
        return "4 " + "*".join(_example(factor).split(" ")[-1].split("x")[-1] for factor in group.factors)
    return "64 trivial"
