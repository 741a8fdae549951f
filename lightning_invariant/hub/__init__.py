"""Where it goes: an artefact directory that anybody can load without the author's code, and the Hub."""

from lightning_invariant.hub.artifact import Artifact, check_target, write_artifact
from lightning_invariant.hub.encoder import InvariantEncoder
from lightning_invariant.hub.export import export_encoder
from lightning_invariant.hub.preprocessing import Preprocessing
from lightning_invariant.hub.reader import read_artifact, read_config

__all__ = [
    "Artifact",
    "InvariantEncoder",
    "Preprocessing",
    "check_target",
    "export_encoder",
    "read_artifact",
    "read_config",
    "write_artifact",
]
