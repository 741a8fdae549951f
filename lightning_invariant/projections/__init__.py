"""What survives: maps from latents to invariant features, each with a guarantee."""

from lightning_invariant.projections.absolute import Absolute
from lightning_invariant.projections.argmax import ArgmaxCanonical
from lightning_invariant.projections.chamber import Chamber
from lightning_invariant.projections.channel_max import ChannelMax
from lightning_invariant.projections.channel_norm import ChannelNorm
from lightning_invariant.projections.choose import choose
from lightning_invariant.projections.composition import Composition
from lightning_invariant.projections.coorbits import SortedCoorbits
from lightning_invariant.projections.cyclic_spectrum import CyclicBispectrum, CyclicPowerSpectrum
from lightning_invariant.projections.fourier_modulus import FourierModulus
from lightning_invariant.projections.fsw import FSW
from lightning_invariant.projections.gram import Gram
from lightning_invariant.projections.gram_root import GramRoot
from lightning_invariant.projections.gram_rows import GramRows
from lightning_invariant.projections.joined import Joined
from lightning_invariant.projections.linear_layers import PCA, Standardise
from lightning_invariant.projections.max_filter import MaxFilter
from lightning_invariant.projections.mean import OrbitMean
from lightning_invariant.projections.norm import Norm
from lightning_invariant.projections.phases import PhaseInvariants
from lightning_invariant.projections.point_frames import PointFrames
from lightning_invariant.projections.point_sort import PointSort
from lightning_invariant.projections.projection import Projection
from lightning_invariant.projections.random_features import RandomFeatures
from lightning_invariant.projections.sampled import SampledMax, SampledMean
from lightning_invariant.projections.sign_outer import SignOuter
from lightning_invariant.projections.sort import Sort
from lightning_invariant.projections.spherical_bispectrum import SphericalBispectrum
from lightning_invariant.projections.spherical_spectrum import SphericalPowerSpectrum

__all__ = [
    "FSW",
    "PCA",
    "Absolute",
    "ArgmaxCanonical",
    "Chamber",
    "ChannelMax",
    "ChannelNorm",
    "Composition",
    "CyclicBispectrum",
    "CyclicPowerSpectrum",
    "FourierModulus",
    "Gram",
    "GramRoot",
    "GramRows",
    "Joined",
    "MaxFilter",
    "Norm",
    "OrbitMean",
    "PhaseInvariants",
    "PointFrames",
    "PointSort",
    "Projection",
    "RandomFeatures",
    "SampledMax",
    "SampledMean",
    "SignOuter",
    "Sort",
    "SortedCoorbits",
    "SphericalBispectrum",
    "SphericalPowerSpectrum",
    "Standardise",
    "choose",
]
