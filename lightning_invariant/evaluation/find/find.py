"""Which representation a network's latent has, found from latents of inputs and of transformed inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from lightning_invariant.batch import leaves
from lightning_invariant.errors import GroupError, LatentError
from lightning_invariant.evaluation.find.averages import generators
from lightning_invariant.evaluation.find.fields import Form, matched_channels, reordered, standard_form
from lightning_invariant.evaluation.find.linear import Pairs, fit_linear, orthogonalised
from lightning_invariant.groups import Group, Representation, parse_group
from lightning_invariant.groups.actions import InputAction, member_action
from lightning_invariant.metrics.invariance import element_errors, equivariance_gaps, mean_distance, relative_error

if TYPE_CHECKING:
    from jaxtyping import Float

EXPLAINED, INTERPOLATED = 0.06, 0.2
"""Error up to which an action counts as found, as a share of what pairing latents at random gives: where inputs are
transformed exactly, and where they are interpolated."""
NEAR = 0.5
"""The same share up to which what was nearest is worth to be named."""
ENOUGH = 1.5
"""Samples to fit on for each number of the latent, below which a bad fit says nothing."""
CHUNK = 256
"""Inputs that are encoded at one time."""


class FitErrors(NamedTuple):
    """Mean distance between what was expected and the latent of the transformed input, on inputs that were not fitted.

    All are relative to the mean distance between different samples.

    Args:
        found: Of the representation; infinity if none was found.
        linear: Of the best linear map of each generator, with nothing else asked: what no representation can beat.
        shuffled: Of the best linear map where latents are paired at random: what finding nothing looks like.
        elements: Of the representation, by the name of the element or class of elements.
    """

    found: float
    linear: float
    shuffled: float
    elements: Mapping[str, float]


@dataclass(frozen=True)
class FoundRepresentation:
    """How a latent transforms, as far as latents of transformed inputs say.

    Args:
        group: What acts.
        representation: How it acts on `to_standard(z)`; None if no linear action explains the latents.
        errors: How well it does.
        basis: What latents are multiplied by, (D, size), columns orthonormal where distances are kept.
        offset: What is subtracted from latents before, (D,); 0 unless the action has another fixed point.
        order: Channels in standard order, if the latent is a reordering of standard fields.
        keeps_distances: Whether the action is orthogonal on the latent as it is. If not, its inner product was averaged
            over the group, and distances are those of the new basis.
        is_linear: Whether each generator alone acts by a linear map, whatever else was found.
        nearest: Where none was found, one that explains most of the latents; None if there is none.
    """

    group: Group
    representation: Representation | None
    errors: FitErrors
    basis: Float[Tensor, "D size"]
    offset: Float[Tensor, "D"]
    order: Tensor | None = None
    keeps_distances: bool = True
    is_linear: bool = True
    nearest: Representation | None = None

    def to_standard(self, z: Float[Tensor, "B *shape"]) -> Float[Tensor, "B size"]:
        """Return latents in the basis in which `representation` transforms them.

        Raises:
            LatentError: The latents are of another size.
        """
        flat = z.reshape(len(z), -1)
        if flat.shape[1] != len(self.basis):
            raise LatentError(f"Expected latents of {len(self.basis)} numbers but got shape {tuple(z.shape)}.")
        work = flat.to(torch.promote_types(flat.dtype, torch.float32))
        return ((work - self.offset.to(work)) @ self.basis.to(work)).to(flat.dtype)

    def __str__(self) -> str:
        if self.representation is None:
            found, linear, shuffled = map(_rounded, self.errors[:3])
            text = f"no linear action of {self.group} explains this latent"
            if self.nearest is not None:
                text += f", the nearest is '{self.nearest}' with error {found}"
            if not self.is_linear:
                return f"{text} (error {linear}; {shuffled} for latents paired at random)"
            return f"{text}: linear maps fit each generator (error {linear}) but no sum of known fields (error {found})"
        text = str(self.representation)
        if self.order is not None:
            same = torch.equal(self.order, torch.arange(len(self.order)))
            text += ", channels as they stand" if same else f", channels in the order {_listed(self.order)}"
        else:
            size, kept = self.representation.size, len(self.basis)
            what = f" of {size} directions of {kept}" if size < kept else f" in {size} numbers" if size > kept else ""
            text += f" after {'an orthogonal' if self.keeps_distances else 'a'} change of basis{what}"
            text += "" if self.keeps_distances else ", whose distances are not those of the latent"
        if bool(self.offset.any()):
            text += ", around a fixed point other than 0"
        return f"{text} (error {_rounded(self.errors.found)})"


def find_representation(
    encoder: Callable[[Any], Any] | Tensor,
    inputs: Any,
    group: Group | InputAction | str,
    elements: Tensor | None = None,
    *,
    tolerance: float | None = None,
    seed: int = 0,
) -> FoundRepresentation:
    """Find how a group acts on latents, where nobody declared it.

    The matrix of each generator of the group is fitted by least squares on half of the samples and judged on the other
    half. Where that explains the latents, the representation is brought to its standard form: by reordering channels if
    they are standard fields, otherwise by a change of basis.

    Args:
        encoder: From a batch of inputs to latents (B, ...); or the latents themselves, (N, ...).
        inputs: A batch, or a dict or tuple of members, as the encoder takes it; where `encoder` is latents, those of
            the transformed inputs, (N, ...).
        group: What acts, such as "C4"; or an action on inputs, such as `ImageAction(Cyclic(4))`.
        elements: The element that transformed each input, (N, *element_shape), where latents are given. Only those of
            `generators(group)` and their inverses are fitted on; all are judged.
        tolerance: Error up to which an action counts as found, as a share of the error that linear maps have where
            latents are paired at random. If None, 0.06, and 0.2 where an encoder is given and transforming its inputs
            takes interpolation.
        seed: Of the halves, and of random elements and starting points.

    Returns:
        The representation with its basis and errors; its `representation` is None if no linear action explains the
        latents. `str()` says it in a sentence.

    Raises:
        GroupError: A group whose representations are not known here.
        LatentError: Too few samples, or latents that are not finite or do not vary.
        ActionError: It is not known how the group transforms the inputs.

    Note:
        What is found is an estimate: it holds for these weights and inputs like these, up to the errors that stand
        beside it. Frequencies above 8 of SO(2) and O(2), and degrees above 4 of SO(3) and O(3), are not looked for.

    Example:
        >>> z, g = torch.randn(400, 12), torch.randint(4, (400,))
        >>> order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
        >>> w = Representation.parse("C4: 3 regular").transform(z, g)
        >>> found = find_representation(z[:, order], w[:, order], "C4", g)
        >>> str(found.representation), found.order is not None
        ('C4: 3 regular', True)

    References:
        Serre 1977, Linear Representations of Finite Groups, for characters and averages over the group.
    """
    if isinstance(group, str):
        group = parse_group(group)
    action = group if isinstance(group, InputAction) else None
    acting = group.group if isinstance(group, InputAction) else group
    known = generators(acting)
    if isinstance(encoder, Tensor):
        if not isinstance(inputs, Tensor) or elements is None:
            raise LatentError(
                "Expected the latents of the transformed inputs and the element that transformed each, since latents "
                "are given: find_representation(z, z_transformed, group, elements)."
            )
        samples = _given(encoder, inputs, elements, acting, known)
    else:
        samples, is_exact = _encoded(encoder, inputs, acting, action, known, seed)
        if tolerance is None and not is_exact:
            tolerance = INTERPOLATED
    return _found(samples, acting, EXPLAINED if tolerance is None else tolerance, seed)


class _Samples(NamedTuple):
    """Pairs of each generator, and pairs of other elements that only judge, with their elements."""

    fitted: list[tuple[Tensor, Tensor]]
    judged: tuple[Tensor, Tensor, Tensor]


def _found(samples: _Samples, group: Group, tolerance: float, seed: int) -> FoundRepresentation:
    generator = torch.Generator().manual_seed(seed)
    pairs = [_halved(z, w, generator) for z, w in samples.fitted]
    size = pairs[0].z.shape[1]
    nothing = torch.eye(size, dtype=torch.float64), torch.zeros(size, dtype=torch.float64)
    linear = fit_linear(pairs, generator)
    tolerance = tolerance * linear.shuffled
    origins = [matched_channels(p.z[p.fit], p.w[p.fit]) for p in pairs]
    known = [origin for origin in origins if origin is not None]
    best = FoundRepresentation(group, None, FitErrors(float("inf"), linear.error, linear.shuffled, {}), *nothing)
    if len(known) == len(pairs) and (form := reordered(group, known)) is not None:
        best = _judged(best, form, nothing[1], True, samples, pairs)
        if best.errors.found <= tolerance:
            return best
    few = min(int(p.fit.sum()) for p in pairs)
    if linear.error > tolerance and few < ENOUGH * linear.rank:
        raise LatentError(
            f"Expected at least {2 * ENOUGH * linear.rank:.0f} samples of each generator of {group} for latents of "
            f"{size} numbers but got {2 * few}, too few to tell; give more inputs, or a layer with fewer numbers."
        )
    if linear.error <= tolerance:
        rho, coordinates, keeps = orthogonalised(linear, pairs, group)
        form = standard_form(group, rho, coordinates, generator)
        if form is not None:
            better = _judged(best, form, linear.offset, keeps, samples, pairs)
            best = better if better.errors.found < best.errors.found else best
    if best.errors.found <= tolerance:
        return best
    is_near = best.errors.found < NEAR * linear.shuffled
    return FoundRepresentation(
        group,
        None,
        best.errors,
        *nothing,
        is_linear=linear.error <= tolerance,
        nearest=best.representation if is_near else None,
    )


def _judged(
    start: FoundRepresentation, form: Form, offset: Tensor, keeps: bool, samples: _Samples, pairs: list[Pairs]
) -> FoundRepresentation:
    """What was found with its errors: on the held-out half of each generator, and on pairs of other elements."""
    found = replace(
        start,
        representation=form.representation,
        basis=form.basis,
        offset=offset,
        order=form.order,
        keeps_distances=keeps,
    )
    parts = [
        (p.z[~p.fit], p.w[~p.fit], g.expand(int((~p.fit).sum()), *g.shape))
        for p, g in zip(pairs, generators(start.group), strict=True)
    ]
    z, w, g = (torch.cat(column) for column in zip(*parts, samples.judged, strict=True))
    gaps, _ = equivariance_gaps(found.to_standard(w), found.to_standard(z), form.representation, g)
    # What the basis leaves out is missing in the features, so it is counted as not explained.
    lost = (w - offset) - found.to_standard(w) @ torch.linalg.pinv(form.basis)
    gaps = (gaps.square() + lost.square().sum(dim=1)).sqrt() if keeps else gaps
    scale = mean_distance(found.to_standard(z))
    errors = start.errors._replace(
        found=relative_error(gaps, scale), elements=element_errors(gaps, scale, form.representation, g)
    )
    return replace(found, errors=errors)


def _halved(z: Tensor, w: Tensor, generator: torch.Generator) -> Pairs:
    fit = torch.zeros(len(z), dtype=torch.bool)
    fit[torch.randperm(len(z), generator=generator)[: len(z) // 2]] = True
    return Pairs(z, w, fit)


def _given(z: Tensor, w: Tensor, g: Tensor, group: Group, known: Tensor) -> _Samples:
    z, w = _checked(z), _checked(w)
    if z.shape != w.shape or g.shape != (len(z), *group.element_shape):
        raise LatentError(
            f"Expected latents and transformed latents of one shape with one element of {group} each but got "
            f"{tuple(z.shape)}, {tuple(w.shape)} and {tuple(g.shape)}."
        )
    g, fitted = g.cpu(), []
    others = torch.ones(len(z), dtype=torch.bool)
    for element in known:
        forward = _equal(g, element)
        backward = _equal(g, group.inverse(element)) & ~forward
        others &= ~forward & ~backward
        fitted.append((torch.cat([z[forward], w[backward]]), torch.cat([w[forward], z[backward]])))
    if min(len(part) for part, _ in fitted) < 8:
        raise LatentError(
            f"Expected at least 8 inputs transformed by each of generators({group}), or by their inverses, but got "
            f"{min(len(part) for part, _ in fitted)}; transform inputs by these elements, or give the encoder and its "
            "inputs instead of latents."
        )
    return _Samples(fitted, (z[others], w[others], g[others]))


def _equal(g: Tensor, element: Tensor) -> Tensor:
    return (g - element).abs().reshape(len(g), -1).amax(dim=1) < 1e-6


def _encoded(
    encoder: Callable[[Any], Any], inputs: Any, group: Group, given: InputAction | None, known: Tensor, seed: int
) -> tuple[_Samples, bool]:
    tree = {"inputs": inputs}
    action = member_action(group, tree, given)
    if action.unknown:
        raise GroupError(action.question)
    count = _count(inputs)
    generator = torch.Generator().manual_seed(seed)
    with evaluating(encoder):

        def latents(g: Tensor) -> Tensor:
            return _checked(_encode(encoder, action.transform(tree, g), count))

        # Inputs are transformed before, too: so latents span all that the group makes of them.
        first, elements = group.sample(count, generator), group.sample(count, generator)
        z = latents(first)
        fitted = [(z, latents(group.compose(g.expand_as(first), first))) for g in known]
        few = torch.randperm(count, generator=generator)[: max(2, count // 4)]
        judged = (z[few], latents(group.compose(elements, first))[few], elements[few])
    return _Samples(fitted, judged), bool(action.is_exact(elements).all())


def _encode(encoder: Callable[[Any], Any], tree: Mapping[str, Any], count: int) -> Tensor:
    inputs = tree["inputs"]
    parts = inputs.split(CHUNK) if isinstance(inputs, Tensor) else [inputs]
    outputs = []
    for part in parts:
        output = encoder(part)
        output = getattr(output, "tensor", output)  # of escnn
        if not isinstance(output, Tensor) or output.dim() < 2:
            raise LatentError(
                f"Expected an encoder that gives latents (B, ...) but got {type(output).__name__}; give a function "
                "that takes the latent out of the output."
            )
        outputs.append(output.detach().flatten(1))
    found = torch.cat(outputs)
    if len(found) != count:
        raise LatentError(f"Expected one latent for each of {count} inputs but got {len(found)}.")
    return found


def _count(inputs: Any) -> int:
    if isinstance(inputs, Tensor):
        return len(inputs)
    return len(next(iter(leaves(inputs).values())))


@contextmanager
def evaluating(encoder: Any) -> Iterator[None]:
    """Evaluation mode and no gradients; modes are put back."""
    modes = {module: module.training for module in encoder.modules()} if isinstance(encoder, nn.Module) else {}
    for module in modes:
        module.training = False
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes.items():
            module.training = training


def _checked(z: Tensor) -> Tensor:
    if z.is_complex():
        raise LatentError(f"Expected real latents but got {z.dtype}; put real and imaginary parts side by side.")
    flat = z.detach().reshape(len(z), -1).double().cpu()
    if len(flat) < 16 or not bool(flat.isfinite().all()) or not bool((flat - flat[:1]).abs().max() > 0):
        raise LatentError(f"Expected at least 16 finite latents that are not all the same but got {tuple(z.shape)}.")
    return flat


def _rounded(error: float) -> str:
    return f"{error:.2g}"


def _listed(order: Tensor) -> str:
    numbers = order.tolist()
    return f"{numbers}" if len(numbers) <= 32 else f"[{', '.join(map(str, numbers[:32]))}, ...]"
