"""All products <rho(g) z, t> of latents with templates, for every element of a finite group, in bounded memory.

In an adapted basis (`isotypic`) the products need sum_f n_f D_f multiplications a template instead of |G| D, and one
small synthesis over the group: 2 D instead of n D for C_n on regular fields. Where that saves nothing, or the group is
too large to analyse, the latents are moved by every element and multiplied. Rows go in blocks, so that no more than a
fixed number of products exists at once.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch

from lightning_invariant.errors import GroupError
from lightning_invariant.groups.group import LISTING_LIMIT
from lightning_invariant.projections.base.tables import ExactTables
from lightning_invariant.projections.base.templates import templates_are_stored
from lightning_invariant.projections.finite.isotypic import Component, components, moved_copies

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.groups import Representation

    Reduction = Callable[[Tensor, Tensor | None], Tensor]
    """From products (G, rows, k) to features (rows, K), in a new tensor, or in the given one, which it then returns."""


ANALYSIS_LIMIT = 1024
"""Largest group that is analysed: it takes the eigenvectors of a matrix of that size."""
TABLE_LIMIT = 2**22
"""Most numbers in the table of rho(g) where the latents are moved by every element."""
CHUNK = 64
"""Functions on the group whose share of a frame operator is summed together."""
FEW = 8
"""Like components up to which one product each is faster than a batched product."""
SPREAD_LIMIT = 256
"""Most dimensions of a component whose templates are spread evenly: it takes the eigenvectors of a frame operator."""
CONDITION = 1e-2
"""Smallest eigenvalue of a frame operator, over the largest, that is evened out."""
BLOCK = {"cpu": 2**21, "cuda": 2**26}
"""Products that exist at once; 2**21 float32 numbers are 8 MiB, which a processor's cache holds."""


class OrbitProducts(ExactTables):
    """Products of latents with templates over a finite group, reduced over the group block by block.

    The templates are coordinates in the adapted basis. That is as good as any: uniform templates stay uniform.

    Args:
        representation: Of a finite group that can be listed.
        templates: One template a row, (k, D).

    Raises:
        GroupError: The group is infinite or too large.
    """

    templates: Tensor
    table_synthesis: Tensor | None

    def __init__(self, representation: Representation, templates: Float[Tensor, "k D"]) -> None:
        super().__init__()
        self.copies_last = [block.copies_last for block in representation]
        self.shapes = [block.shape for block in representation]
        self.copies = [block.copies for block in representation]
        analysis = _analyse(representation)
        self.order = analysis.order
        self.alike = analysis.alike
        self.register_buffer("templates", templates.detach().clone())
        for i, table in enumerate(analysis.tables):
            self.register_buffer(f"table{i}", table)
        self.register_buffer("table_synthesis", analysis.synthesis)

    def forward(self, z: Float[Tensor, "B D"], reduce: Reduction, width: int) -> Float[Tensor, "B K"]:
        """Reduced products.

        Args:
            z: Flat latents.
            width: Number K of features.
            reduce: From products (G, rows, k) to (rows, K). It must not depend on the elements' order if the result is
                to be invariant. Where it is given a tensor to write to, the products are scratch memory.

        Returns:
            What `reduce` gave for all rows, float64 for float64 latents and float32 for others.
        """
        work = z.to(torch.promote_types(z.dtype, torch.float32))
        rows = self.rows(z.device.type)
        # A loop over a dynamic batch cannot be traced, so a traced graph makes one pass.
        if torch.compiler.is_compiling() or z.shape[0] <= rows:
            return reduce(self.products(work), None)
        if torch.is_grad_enabled() and z.requires_grad:
            return torch.cat([reduce(self.products(part), None) for part in work.split(rows)])
        with torch.no_grad():
            return self._reuse(work, rows, reduce, work.new_empty(len(work), width))

    def rows(self, device: str) -> int:
        """Rows of one block."""
        width = max(self.templates.shape[0] * self.order, *(a.number * a.functions * a.share for a in self.alike))
        return max(1, BLOCK.get(device, BLOCK["cuda"]) // width)

    def products(self, z: Float[Tensor, "rows D"]) -> Float[Tensor, "G rows k"]:
        """All products at once, elements first."""
        coefficients = []
        for a, part, templates in zip(self.alike, self.coordinates(z), self.bases(z.dtype), strict=True):
            values = torch.bmm(part, templates).unflatten(1, (a.functions, z.shape[0]))
            coefficients.append(values.flatten(0, 1))
        joined = torch.cat(coefficients) if len(coefficients) > 1 else coefficients[0]
        if self.table_synthesis is None:
            return joined
        return (self.table_synthesis.to(z.dtype) @ joined.flatten(1)).unflatten(1, joined.shape[1:])

    def coordinates(self, z: Float[Tensor, "rows D"]) -> list[Tensor]:
        """C_a z for all components and all a: for each batch of like components (number, functions * rows, share)."""
        shares: list[list[Tensor]] = [[] for _ in self.alike]
        for i, block in enumerate(z.split([math.prod(shape) for shape in self.shapes], dim=1)):
            # One product with the copies side by side leaves a component of one dimension in place: nothing is copied.
            copies = block.unflatten(1, self.shapes[i]).movedim(1 if self.copies_last[i] else 2, 0)
            moved = self.get_buffer(f"table{i}").to(z.dtype).mT @ copies.flatten(1)
            moved = moved.unflatten(1, copies.shape[1:])
            for f, share in enumerate(moved.split([a.number * a.functions * a.widths[i] for a in self.alike])):
                if len(share):
                    parts = share.unflatten(0, (self.alike[f].number, self.alike[f].functions, -1))
                    shares[f].append(parts.permute(0, 1, 3, 4, 2).flatten(3).flatten(1, 2))
        return [torch.cat(share, dim=-1) if len(share) > 1 else share[0] for share in shares]

    def bases(self, dtype: torch.dtype) -> list[Tensor]:
        """The templates' coordinates for each batch of like components, (number, share, k)."""
        parts = self.templates.to(dtype).split([a.number * a.share for a in self.alike], dim=1)
        return [
            part.unflatten(1, (a.number, a.share)).permute(1, 2, 0) for a, part in zip(self.alike, parts, strict=True)
        ]

    def _reuse(self, z: Tensor, rows: int, reduce: Reduction, features: Tensor) -> Tensor:
        """Block by block in the same memory, which stays in the cache."""
        k, bases = self.templates.shape[0], self.bases(z.dtype)
        sums = z.new_empty(sum(a.number * a.functions for a in self.alike), rows, k)
        synthesis = None if self.table_synthesis is None else self.table_synthesis.to(z.dtype)
        products = sums if synthesis is None else z.new_empty(self.order, rows * k)
        for part, place in zip(z.split(rows), features.split(rows), strict=True):
            n, start = len(part), 0
            joined = sums if n == rows else sums.new_empty(len(sums), n, k)
            for a, share, templates in zip(self.alike, self.coordinates(part), bases, strict=True):
                out = joined[start : start + a.number * a.functions]
                out = out.reshape(a.number, -1, k)
                if a.number <= FEW:
                    for f in range(a.number):
                        torch.mm(share[f], templates[f], out=out[f])
                else:
                    torch.bmm(share, templates, out=out)
                start += a.number * a.functions
            if synthesis is not None:
                target = products if n == rows else products.new_empty(self.order, n * k)
                joined = torch.mm(synthesis, joined.flatten(1), out=target).unflatten(1, (n, k))
            reduced = reduce(joined, place)
            if reduced is not place:
                place.copy_(reduced)
        return features

    def tighten(self) -> None:
        """Change the templates so that sum over g and i of <rho(g) z, t_i>^2 = |z|^2, or less where they are too few.

        The templates t become S^(-1/2) t with the frame operator S of all moved templates. S commutes with the group,
        so this equals the first templates on S^(-1/2) z: separation is untouched, and the distances are more even.
        """
        if templates_are_stored():
            return
        tight, start = [], 0
        for a, bases in zip(self.alike, self.bases(torch.float64), strict=True):
            for f, templates in enumerate(bases.mT):
                weights, vectors = torch.linalg.eigh(self._frame_operator(a, f, start, templates))
                weights = weights.clamp(min=CONDITION * weights.max().item())
                tight.append(templates @ (vectors / weights.sqrt()) @ vectors.mT)
            start += a.number * a.functions
        self.templates.copy_(torch.cat(tight, dim=1))

    def spread(self) -> None:
        """Tighten, unless the latent is large, then scale every template to norm 1 over the root of their number."""
        if templates_are_stored():
            return
        if max(a.share for a in self.alike) <= SPREAD_LIMIT:
            self.tighten()
        self.templates /= self.templates.norm(dim=1, keepdim=True) * math.sqrt(len(self.templates))

    def _frame_operator(self, a: Alike, f: int, start: int, templates: Tensor) -> Tensor:
        """S of component f of a batch whose functions on the group start at a column of the synthesis."""
        actions = []
        for i in range(len(self.shapes)):
            sizes = [other.number * other.functions * other.widths[i] for other in self.alike]
            tables = self.get_buffer(f"table{i}").split(sizes, dim=1)[self.alike.index(a)]
            table = tables.unflatten(1, (a.number, a.functions, a.widths[i]))[:, f]
            if self.table_synthesis is None:
                basis = table[:, 0]
            else:
                # rho(identity) = 1, so the functions at the identity combine the C_a to 1 and the table to the basis.
                columns = slice(start + f * a.functions, start + (f + 1) * a.functions)
                basis = torch.einsum("a,qar->qr", self.table_synthesis[0, columns], table)
            actions.append(torch.einsum("qs,qar->ars", basis, table))
        parts = templates.split([m * r for m, r in zip(self.copies, a.widths, strict=True)], dim=1)
        blocks = [
            (part, m, action) for part, m, action in zip(parts, self.copies, actions, strict=True) if part.numel()
        ]
        total = templates.new_zeros(a.share, a.share)
        for start in range(0, a.functions, CHUNK):
            moved = [
                (part.unflatten(1, (m, -1))[None] @ action[start : start + CHUNK, None]).flatten(2).flatten(0, 1)
                for part, m, action in blocks
            ]
            rows = torch.cat(moved, dim=1)
            total += rows.mT @ rows
        return total


class Alike(NamedTuple):
    """Components of one shape, whose products are taken together.

    Attributes:
        number: How many components.
        functions: Functions on the group in each, n_f.
        widths: For each block the dimensions in one copy.
        share: Dimensions in the whole latent, D_f.
    """

    number: int
    functions: int
    widths: tuple[int, ...]
    share: int


class _Analysis(NamedTuple):
    """How products are computed: tables (dim, sum_f n_f r_f) a block, and the synthesis (G, sum_f n_f), if any."""

    order: int
    alike: list[Alike]
    tables: list[Tensor]
    synthesis: Tensor | None

    @property
    def cost(self) -> int:
        """Multiplications for one latent and one template."""
        products = sum(a.number * a.functions * a.share for a in self.alike)
        return products if self.synthesis is None else products + self.synthesis.numel()


def require_listed(representation: Representation) -> None:
    """Refuse an action whose products with templates would need too large a table.

    Raises:
        GroupError: The group is infinite or too large to list, or the table would be.
    """
    order = representation.group.order
    if order is None or order > LISTING_LIMIT:
        representation.group.elements()
    elif order > ANALYSIS_LIMIT:
        _require_table(representation)


def _require_table(representation: Representation) -> None:
    entries = (representation.group.order or 0) * sum(block.dim**2 for block in representation)
    if entries > TABLE_LIMIT:
        raise GroupError(
            f"Expected an action of at most {TABLE_LIMIT} matrix entries to list but {representation} has {entries}; "
            "use a projection made for this group (see choose)."
        )


def _analyse(representation: Representation) -> _Analysis:
    order = len(representation.group.elements())
    if order > ANALYSIS_LIMIT:
        return _moved(representation)
    reduced = _reduced(representation)
    return reduced if reduced.cost < order * representation.size else _moved(representation)


def _reduced(representation: Representation) -> _Analysis:
    kinds: dict[tuple[int, ...], list[Component]] = {}
    for component in components(representation):
        key = (component.functions.shape[1], *(basis.shape[1] for basis in component.bases))
        kinds.setdefault(key, []).append(component)
    copies = [block.copies for block in representation]
    alike = [
        Alike(len(found), count, tuple(widths), sum(m * r for m, r in zip(copies, widths, strict=True)))
        for (count, *widths), found in kinds.items()
    ]
    found = [component for kind in kinds.values() for component in kind]
    functions = torch.cat([component.functions for component in found], dim=1)
    tables = []
    for i in range(len(representation)):
        moves = [torch.einsum("qs,ars->qar", c.bases[i], c.actions[i]).flatten(1) for c in found]
        tables.append(torch.cat(moves, dim=1))
    return _Analysis(len(functions), alike, tables, functions)


def _moved(representation: Representation) -> _Analysis:
    _require_table(representation)
    elements, tables = representation.group.elements(), []
    for block in representation:
        eye = torch.eye(block.dim, dtype=torch.float64)
        tables.append(moved_copies(block, eye, elements).permute(1, 0, 2).flatten(1))
    alike = Alike(1, len(elements), tuple(block.dim for block in representation), representation.size)
    return _Analysis(len(elements), [alike], tables, None)
