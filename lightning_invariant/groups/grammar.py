"""The notation: "C8: 16 regular", "SO3: 8x0 + 4x1", "S9: 9 points x 16 + 2 pairs", "O3: 12 vectors", "Z2^5: signs".

representation = group ":" term { "+" term }
group          = factor { " x " factor }
factor         = "C"n | "D"n [axis] | "S"n | "T"n | "Z2" | "Z2^"n | "SO"d | "O"d | "O2" [axis] | "HFlip" | "VFlip"
               | "Cube" | "FullCube" | "Sampled" [ "(" name ")" ] | "Matrices" nested-list
axis           = "(axis=" degrees ")", the line of reflection: 0 swaps top and bottom, 90 left and right
term           = [copies] kind { "*" kind } | copies "x" irrep | n "points" [ "x" copies ]
kind           = "trivial" | "regular" | "points" | "pairs" | "signs" | "vectors" | "det" | irrep (in products only)
irrep          = frequency | degree [ "e" | "o" ]
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
from lightning_invariant.groups.finite_blocks import Determinant, Pairs, PlanarIrrep, Points, Regular, SignPattern
from lightning_invariant.groups.group import FiniteGroup, Group
from lightning_invariant.groups.matrices import Cube, Matrices
from lightning_invariant.groups.matrix_blocks import DegreeIrrep, Flip, FrequencyIrrep, Outer, Vectors
from lightning_invariant.groups.orthogonal import Orthogonal
from lightning_invariant.groups.product import Product
from lightning_invariant.groups.sampled import Sampled
from lightning_invariant.groups.signs import Signs
from lightning_invariant.groups.symmetric import Symmetric

KINDS = ("trivial", "regular", "points", "pairs", "signs", "vectors", "det")
_NUMBERED: dict[str, Callable[[int], Group]] = {
    "C": Cyclic,
    "D": Dihedral,
    "S": Symmetric,
    "T": Translations,
    "SO": lambda d: Orthogonal(d, special=True),
    "O": Orthogonal,
    "Z2^": Signs,
}
_NAMED: dict[str, Callable[[], Group]] = {
    "HFlip": lambda: Dihedral(1, axis=90),
    "VFlip": lambda: Dihedral(1),
    "Cube": Cube,
    "FullCube": lambda: Cube(full=True),
    "Z2": lambda: Signs(1),
}
_FACTOR = re.compile(
    r"(HFlip|VFlip|Cube|FullCube)\b|(SO|[CDSTO])\(?(\d+)\)?(?:\(axis\s*=\s*(-?\d+\.?\d*)\))?"
    r"|(Z2\^)(\d+)|(Z2)|Sampled(?:\((\w+)\))?|(Matrices)"
)
_TERM = re.compile(r"(?:(\d+)\s*x\s*(\d+[eo]?)|(?:(\d+)\s+)?([A-Za-z][\w*]*|\d+[eo]?\*[\w*]+)(?:\s*x\s*(\d+))?)\s*$")
_IRREP = re.compile(r"(\d+)([eo]?)")


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
    blocks, start = [], colon + 1
    for piece in text[start:].split("+"):
        blocks.append(_term(group, piece, text, start))
        start += len(piece) + 1
    return group, tuple(blocks)


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
    match = _FACTOR.match(text, position, end)
    if match is None:
        raise ParseError(
            "Expected a group: Cn, Dn, Sn, Tn, Z2^n, SOd, Od, HFlip, VFlip, Cube, FullCube, Sampled or Matrices[[...]] "
            "(n, d are numbers).",
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
    match = _TERM.match(piece.strip())
    if match is None:
        raise ParseError(f"Expected a term such as '{_example(group)}'.", text, min(position, len(text)))
    copies, irrep, count, kind, features = match.groups()
    try:
        if irrep is not None:
            return _irrep(group, int(copies), irrep)
        if kind == "points":
            return _points(group, count, features)
        if features is not None:
            raise ValueError(f"Expected '{count or 1} {kind}' without 'x {features}'.")
        return _kind(group, int(count or 1), kind)
    except ValueError as error:
        raise ParseError(str(error), text, position) from error


def _irrep(group: Group, copies: int, irrep: str) -> Block:
    match = _IRREP.fullmatch(irrep)
    if match is None:
        raise ValueError(f"Expected an irrep such as 1 or 1o but got {irrep!r}.")
    number, parity = int(match[1]), {"e": 1, "o": -1, "": None}[match[2]]
    if isinstance(group, Orthogonal) and group.d == 3:
        return DegreeIrrep(group, copies, number, parity)
    if parity is None and isinstance(group, Orthogonal) and group.d == 2:
        return FrequencyIrrep(group, copies, number)
    if parity is None and isinstance(group, (Cyclic, Dihedral)):
        return PlanarIrrep(group, copies, number)
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
    if isinstance(group, Orthogonal):
        irreps = {(2, True): "8x0 + 4x1", (2, False): "8x0 + 4x1", (3, True): "8x0 + 4x1", (3, False): "8x0e + 4x1o"}
        return irreps.get((group.d, group.special), "12 vectors")
    if isinstance(group, Product):
        return "4 " + "*".join(_example(factor).split(" ")[-1].split("x")[-1] for factor in group.factors)
    return "64 trivial"
