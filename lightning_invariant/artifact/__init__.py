"""The format on disk: an exported encoder as a folder that anybody can load without the author's code."""

from lightning_invariant.artifact.config import Artifact
from lightning_invariant.artifact.folder import Beside, check_target, read_artifact, read_config, write_artifact

__all__ = ["Artifact", "Beside", "check_target", "read_artifact", "read_config", "write_artifact"]
