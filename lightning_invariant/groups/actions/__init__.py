"""How a group transforms inputs: images, volumes, points, node orders, signals, augmentations, and trees of them."""

from lightning_invariant.groups.actions.action import InputAction
from lightning_invariant.groups.actions.flip import SignAction
from lightning_invariant.groups.actions.given import Given, check_action, member_action
from lightning_invariant.groups.actions.grid import ImageAction, VolumeAction
from lightning_invariant.groups.actions.member import MemberAction
from lightning_invariant.groups.actions.node import EdgeListAction, NodeAction
from lightning_invariant.groups.actions.point import PointAction
from lightning_invariant.groups.actions.product import LeftAlone, ProductAction
from lightning_invariant.groups.actions.sampled import SampledAction
from lightning_invariant.groups.actions.shift import ShiftAction
from lightning_invariant.groups.actions.spread import mean_distance

__all__ = [
    "EdgeListAction",
    "Given",
    "ImageAction",
    "InputAction",
    "LeftAlone",
    "MemberAction",
    "NodeAction",
    "PointAction",
    "ProductAction",
    "SampledAction",
    "ShiftAction",
    "SignAction",
    "VolumeAction",
    "check_action",
    "mean_distance",
    "member_action",
]
