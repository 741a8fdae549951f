"""What survives: maps from latents to invariant features, each with a guarantee."""

from lightning_invariant.projections.base.composition import PCA, Composition, Standardise
from lightning_invariant.projections.base.estimated import Estimated
from lightning_invariant.projections.base.joined import Joined
from lightning_invariant.projections.base.pooling import ChannelMax, ChannelNorm, OrbitMean
from lightning_invariant.projections.base.projection import Projection
from lightning_invariant.projections.base.reduced import Identity, Mixed, Reduced
from lightning_invariant.projections.base.sampled import SampledMax, SampledMean
from lightning_invariant.projections.choose import choose
from lightning_invariant.projections.finite.chamber import Chamber
from lightning_invariant.projections.finite.cone import Cone
from lightning_invariant.projections.finite.coorbits import SortedCoorbits
from lightning_invariant.projections.finite.cyclic_spectrum import CyclicBispectrum, CyclicPowerSpectrum, FourierModulus
from lightning_invariant.projections.finite.max_filter import ArgmaxCanonical, MaxFilter
from lightning_invariant.projections.finite.random_features import RandomFeatures
from lightning_invariant.projections.finite.unfolded import Unfolded
from lightning_invariant.projections.sets.fsw import FSW
from lightning_invariant.projections.sets.graph_readout import GraphReadout
from lightning_invariant.projections.sets.pairs import PairSort
from lightning_invariant.projections.sets.sort import PointSort, Sort
from lightning_invariant.projections.signs.absolute import Absolute
from lightning_invariant.projections.signs.sign_outer import SignOuter
from lightning_invariant.projections.space.centred import Centred
from lightning_invariant.projections.space.circle_filter import CircleMaxFilter
from lightning_invariant.projections.space.gram import Gram, GramRoot
from lightning_invariant.projections.space.gram_rows import GramRows
from lightning_invariant.projections.space.hermitian import HermitianRoot
from lightning_invariant.projections.space.phases import PhaseInvariants, PhaseOuter
from lightning_invariant.projections.space.point_frames import PointFrames
from lightning_invariant.projections.space.polar import Norm, SingularValues, SortedEigenvalues
from lightning_invariant.projections.space.spherical import SphericalBispectrum, SphericalPowerSpectrum
from lightning_invariant.projections.space.spread import Spread
from lightning_invariant.projections.space.vector_sums import VectorSums

__all__ = [
    "FSW",
    "PCA",
    "Absolute",
    "ArgmaxCanonical",
    "Centred",
    "Chamber",
    "ChannelMax",
    "ChannelNorm",
    "CircleMaxFilter",
    "Composition",
    "Cone",
    "CyclicBispectrum",
    "CyclicPowerSpectrum",
    "Estimated",
    "FourierModulus",
    "Gram",
    "GramRoot",
    "GramRows",
    "GraphReadout",
    "HermitianRoot",
    "Identity",
    "Joined",
    "MaxFilter",
    "Mixed",
    "Norm",
    "OrbitMean",
    "PairSort",
    "PhaseInvariants",
    "PhaseOuter",
    "PointFrames",
    "PointSort",
    "Projection",
    "RandomFeatures",
    "Reduced",
    "SampledMax",
    "SampledMean",
    "SignOuter",
    "SingularValues",
    "Sort",
    "SortedCoorbits",
    "SortedEigenvalues",
    "SphericalBispectrum",
    "SphericalPowerSpectrum",
    "Spread",
    "Standardise",
    "Unfolded",
    "VectorSums",
    "choose",
]
