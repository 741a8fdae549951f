"""What is pulled and what is exported: a network with its invariant projection, which loads without its class."""

from lightning_invariant.artifact.card import Card
from lightning_invariant.encoder.encoder import InvariantEncoder
from lightning_invariant.encoder.export import ExportOptions, Measurements, export_encoder, export_projection
from lightning_invariant.encoder.head import Head
from lightning_invariant.encoder.preprocessing import Preprocessing

__all__ = [
    "Card",
    "ExportOptions",
    "Head",
    "InvariantEncoder",
    "Measurements",
    "Preprocessing",
    "export_encoder",
    "export_projection",
]
