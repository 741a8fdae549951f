"""What acts: groups, their representations on latents, and their actions on inputs."""

from lightning_invariant.groups.cyclic import Cyclic, Translations
from lightning_invariant.groups.dihedral import Dihedral
from lightning_invariant.groups.euclidean import Euclidean
from lightning_invariant.groups.grammar import parse_group, register_group
from lightning_invariant.groups.group import FiniteGroup, Group
from lightning_invariant.groups.matrices import Cube, Matrices
from lightning_invariant.groups.orthogonal import O2, O3, SO2, SO3, Orthogonal
from lightning_invariant.groups.product import Product
from lightning_invariant.groups.representation import Representation
from lightning_invariant.groups.sampled import Sampled
from lightning_invariant.groups.signs import Signs
from lightning_invariant.groups.symmetric import Symmetric
from lightning_invariant.groups.unitary import Unitary

__all__ = [
    "O2",
    "O3",
    "SO2",
    "SO3",
    "Cube",
    "Cyclic",
    "Dihedral",
    "Euclidean",
    "FiniteGroup",
    "Group",
    "Matrices",
    "Orthogonal",
    "Product",
    "Representation",
    "Sampled",
    "Signs",
    "Symmetric",
    "Translations",
    "Unitary",
    "parse_group",
    "register_group",
]
