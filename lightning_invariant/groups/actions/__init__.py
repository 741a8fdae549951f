"""How a group moves inputs: images, point clouds, node orders and graphs, and sampled augmentations."""

from lightning_invariant.groups.actions.action import InputAction
from lightning_invariant.groups.actions.default import default_action
from lightning_invariant.groups.actions.image import ImageAction
from lightning_invariant.groups.actions.node import NodeAction
from lightning_invariant.groups.actions.point import PointAction
from lightning_invariant.groups.actions.product import ProductAction
from lightning_invariant.groups.actions.sampled import SampledAction
from lightning_invariant.groups.actions.spread import mean_distance

__all__ = [
    "ImageAction",
    "InputAction",
    "NodeAction",
    "PointAction",
    "ProductAction",
    "SampledAction",
    "default_action",
    "mean_distance",
]
