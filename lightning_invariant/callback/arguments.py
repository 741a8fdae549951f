"""What the callback's arguments have to be, said before a training run has begun."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from torch import nn

from lightning_invariant.batch import BatchReader
from lightning_invariant.callback.capture.latent import LatentReader, Symmetry
from lightning_invariant.callback.capture.nodes import READOUTS, NodeRows
from lightning_invariant.callback.support.masked import default_masked, masked, takes_masks
from lightning_invariant.errors import LatentError
from lightning_invariant.evaluation import FoundRepresentation, generators
from lightning_invariant.groups import Group, Representation, Sampled, parse_group
from lightning_invariant.groups.actions import InputAction, check_action
from lightning_invariant.groups.block import Trivial
from lightning_invariant.groups.field_maps import FieldMap
from lightning_invariant.groups.finite_blocks import Regular
from lightning_invariant.orbit_layer import OrbitLayer
from lightning_invariant.probes import KNN, PROBES
from lightning_invariant.projections import Estimated, Projection, choose
from lightning_invariant.tracking.umap_layout import require_umap

if TYPE_CHECKING:
    from lightning_invariant.callback.capture.frames import LatentFunction
    from lightning_invariant.callback.capture.latent import Pick, Pool
    from lightning_invariant.callback.capture.nodes import Readout


class Arguments:
    """What a user says of the latent: checked, with defaults filled in.

    Args:
        layer: Name, function, or orbit layer of a name.
        representation: How the symmetry acts on the latent; None to read it off the layer or its output.
        projection: The invariant map, or None for the best that is known.
        action: How the group transforms inputs.
        pick: Takes the latent out of the layer's output.
        pool: How positions of latents, or features of nodes, are pooled.
        batch: Reads labels, groups and masks.

    Raises:
        ParseError: The representation cannot be read.
        ValueError: The projection is for another representation, or an argument is of a wrong kind.
        ActionError: `action` is none of the kinds that are known.
    """

    def __init__(
        self,
        layer: LatentFunction | str | OrbitLayer,
        representation: str | Representation | None,
        projection: Projection | None,
        action: Any,
        pick: Pick,
        pool: Pool | Readout | None,
        batch: BatchReader | None,
    ) -> None:
        sought = group_to_find(representation)
        declared = None if representation is None or sought is not None else Representation.parse(representation)
        if sought is not None and (projection is not None or (batch is not None and batch.mask_at is not None)):
            raise ValueError(
                f"Expected neither a projection nor a mask beside '{representation}', since the representation is "
                "found from the latents; declare the representation, or leave them out."
            )
        if declared is None and projection is not None:
            declared = projection.representation
        self.orbit = layer if isinstance(layer, OrbitLayer) else None
        if isinstance(layer, OrbitLayer):
            layer, action = _named_by(layer, declared), layer.action if action is None else action
        if not isinstance(layer, str) and not callable(layer):
            raise ValueError(
                "Expected the name of a layer, an OrbitLayer of one, or a function of module and batch, but got "
                f"{layer!r}."
            )
        if pool not in (None, "mean", "max", *READOUTS):
            raise ValueError(
                "Expected pool 'mean' or 'max' of positions, 'readout sum' or 'readout mean' of nodes, or None but "
                f"got {pool!r}."
            )
        if pool is not None and declared is not None and any(isinstance(block, FieldMap) for block in declared):
            raise ValueError(
                f"Expected pool=None for '{declared}', which keeps positions, but got {pool!r}; leave out 'on HxW' to "
                "pool them."
            )
        if batch is not None and not isinstance(batch, BatchReader):
            raise ValueError(f"Expected batch=BatchReader(labels=..., groups=..., mask=...) but got {batch!r}.")
        self.batch = BatchReader() if batch is None else batch
        check_action(action)
        self.action = action
        if declared is not None:
            _require_augmentation(declared, action)
        self._has_mask = self.batch.mask_at is not None and pool not in READOUTS
        if self._has_mask and self.orbit is not None:
            raise ValueError("Expected no mask= beside an OrbitLayer, whose latents are regular fields and no sets.")
        if projection is not None and projection.representation != declared:
            raise ValueError(
                f"Expected a projection for '{declared}' but got one for '{projection.representation}'; build it with "
                "the callback's representation."
            )
        self._given = projection
        self._chosen: tuple[Any, Projection, Projection] | None = None
        self.function: Callable[[Any, Any], Any] | None = None if isinstance(layer, str) else layer
        name = layer if isinstance(layer, str) else getattr(layer, "__name__", type(layer).__name__)
        self.layer_name = name if self.orbit is None else f"OrbitLayer({name!r}, '{self.orbit.group}')"
        whole = pick is None and self.function is None and self.orbit is None
        self.symmetry = Symmetry(self.layer_name, declared, whole=whole, sought=sought)
        pairs = projection is not None and takes_masks(projection) and self.batch.mask_at is None
        readout: Any = pool if pool in READOUTS else None
        positions: Any = None if readout else pool
        self.nodes = NodeRows(self.symmetry, lambda: self.projection, readout)
        read, nodes = self.symmetry, self.nodes
        if self.orbit is not None and declared is not None:
            read, nodes = Symmetry(name, _of_one_input(declared), whole=False), None
        self.reader = LatentReader(name, read, pick, positions, ragged=pairs, nodes=nodes)
        if declared is not None:
            if readout and declared.points:
                raise ValueError(
                    f"Expected the representation of one node for pool={pool!r}, such as 'SO3: 8x0 + 4x1', but got "
                    f"'{declared}', which is that of all points; leave out pool=."
                )
            self._maps()

    @property
    def representation(self) -> Representation | None:
        """How the symmetry acts; None as long as nothing says it."""
        return self.symmetry.representation if self.symmetry.is_known else None

    @property
    def projection(self) -> Projection:
        """The invariant map; one for sets as soon as a batch has shown that points are nodes of graphs.

        Raises:
            LatentError: Nothing says so far how the symmetry acts.
        """
        return self._maps()[0]

    @property
    def measured(self) -> Projection:
        """The invariant map of latents as they are recorded, with the mask of padded sets where there is one.

        Raises:
            LatentError: As `projection`.
        """
        return self._maps()[1]

    def settle(self, estimate: FoundRepresentation) -> None:
        """Take an action that was found from latents."""
        self.symmetry.settle(estimate)
        self._chosen = None

    def _maps(self) -> tuple[Projection, Projection]:
        representation = self.symmetry.representation
        sets, estimate = self.nodes.kind == "sets", self.symmetry.estimate
        if self._chosen is None and estimate is not None:
            chosen = Estimated(representation, choose(representation), estimate.errors.found, estimate.keeps_distances)
            self._chosen = (representation, sets), chosen, chosen
        if self._chosen is None or self._chosen[0] != (representation, sets):
            default = default_masked if self._has_mask or sets else choose
            projection = default(representation) if self._given is None else self._given
            if sets and not takes_masks(projection):
                raise LatentError(
                    f"Expected a projection that takes masks, since graphs differ in size, but got {projection}; "
                    "build it with ragged=True, or leave projection= out."
                )
            ragged = self._has_mask or takes_masks(projection)
            self._chosen = (representation, sets), projection, masked(projection) if ragged else projection
        return self._chosen[1], self._chosen[2]

    @staticmethod
    def require_settings(
        probes: Sequence[str | KNN],
        sample_size: int,
        bank_size: int,
        every_n_validations: int,
        figures: str | None,
        prefix: str,
    ) -> None:
        """Check settings that are no part of the latent's description.

        Raises:
            ValueError: A number is below 1, a probe is not known, or figures are not.
            InvariantError: Figures take a package that is not installed.
        """
        numbers = {"sample_size": sample_size, "bank_size": bank_size, "every_n_validations": every_n_validations}
        for name, number in numbers.items():
            if isinstance(number, bool) or not isinstance(number, int) or number < 1:
                raise ValueError(f"Expected {name} of at least 1 but got {number!r}.")
        if sample_size > bank_size:
            raise ValueError(
                f"Expected sample_size of at most bank_size ({bank_size}), since queries are taken from the bank, but "
                f"got {sample_size}."
            )
        given = [probes] if isinstance(probes, str) else probes
        wrong = [probe for probe in given if not isinstance(probe, KNN) and probe not in PROBES]
        if wrong or isinstance(probes, str):
            raise ValueError(f"Expected a list of probes among {', '.join(PROBES)} but got {wrong or probes!r}.")
        if figures not in ("pca", "umap", "quotient", None):
            raise ValueError(f"Expected figures 'pca', 'umap', 'quotient' or None but got {figures!r}.")
        if figures == "umap":
            require_umap()
        if prefix.startswith("/") or ".." in prefix.split("/"):
            raise ValueError(f"Expected a prefix of names, such as 'second_', but got the path {prefix!r}.")


def group_to_find(representation: str | Representation | None) -> Group | None:
    """Return the group whose action is to be found, as "C4: find" says; None for everything else.

    Raises:
        ParseError: The group cannot be read.
        GroupError: Its representations cannot be found.

    Example:
        >>> str(group_to_find("C4: find")), group_to_find("C4: 16 regular")
        ('C4', None)
    """
    if not isinstance(representation, str):
        return None
    name, _, terms = representation.rpartition(":")
    if terms.strip() != "find":
        return None
    group = parse_group(name)
    generators(group)
    return group


def _named_by(layer: OrbitLayer, representation: Representation | None) -> str:
    """The name of an orbit layer's encoder, where the representation is what it gives."""
    if layer.name is None:
        raise ValueError(
            "Expected the name of a layer in OrbitLayer for the callback, such as OrbitLayer('encoder', 'C8'), but got "
            f"a module; if it is a part of the network, give its name as layer={type(layer).__name__.lower()!r}."
        )
    if representation is None:
        raise ValueError(
            f"Expected representation= beside an OrbitLayer, such as '{layer.group}: 64 regular' for an encoder of 64 "
            "numbers, but got None."
        )
    regular = all(isinstance(block, Regular) for block in representation)
    if representation.group != layer.group or not regular:
        order = layer.group.order
        size = representation.size // order if regular else representation.size
        raise ValueError(
            f"Expected '{layer.group}: {size} regular' for an OrbitLayer of '{layer.group}' and an encoder of {size} "
            f"numbers but got '{representation}'."
        )
    return layer.name


def _of_one_input(representation: Representation) -> Representation:
    """What the encoder gives for one input, which nothing is known of."""
    size = representation.size // (representation.group.order or 1)
    return Representation(representation.group, (Trivial(representation.group, size),))


def _require_augmentation(representation: Representation, action: Any) -> None:
    if isinstance(representation.group, Sampled) and action is None:
        raise ValueError(
            f"Expected action=, a function of one input such as an augmentation of torchvision or kornia, for "
            f"'{representation}', whose transforms are known by samples only, but got None."
        )
    if not isinstance(representation.group, Sampled) and _takes_one_input(action):
        raise ValueError(
            f"Expected a function of inputs and elements of {representation.group} as action= but got one of an input "
            f"alone; an augmentation goes with 'Sampled: {representation.size} trivial'."
        )


def _takes_one_input(action: Any) -> bool:
    """Whether a function of the user's has no place for the elements."""
    if not callable(action) or isinstance(action, InputAction):
        return False
    try:
        inspect.signature(action.forward if isinstance(action, nn.Module) else action).bind(None, None)
    except TypeError:
        return True
    except ValueError:  # written in C
        return False
    return False
