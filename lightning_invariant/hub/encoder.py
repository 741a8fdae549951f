"""The pulled encoder: invariant features by default, raw latents only when asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lightning_invariant.hub.artifact import NETWORK
from lightning_invariant.hub.description import rebuild_projection
from lightning_invariant.hub.graph import load_graph
from lightning_invariant.hub.reader import read_artifact
from lightning_invariant.hub.transport import local_folder

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.guarantee import Guarantee
    from lightning_invariant.hub.artifact import Artifact
    from lightning_invariant.hub.graph import GraphModule
    from lightning_invariant.projections import Projection


class InvariantEncoder(nn.Module):
    """A network from inputs to latents, followed by its invariant projection.

    It stays in eval mode: `train()` has no effect, so that it can be part of another network. Its weights can be
    trained or frozen like those of any module.

    Args:
        network: From inputs to flat latents.
        projection: From latents to features.
        config: The artefact's configuration.
        certificate: What was measured when it was exported.
    """

    def __init__(
        self, network: GraphModule, projection: Projection, config: Mapping[str, Any], certificate: Mapping[str, Any]
    ) -> None:
        super().__init__()
        self.network, self.projection = network, projection
        self.config, self.certificate = dict(config), dict(certificate)
        super().train(False)

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        *,
        revision: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> InvariantEncoder:
        """Load an encoder; nothing of the folder is unpickled, imported or executed.

        Args:
            name: A folder that was exported, or "user/name" on the Hub.
            revision: Branch, tag or commit on the Hub.
            cache_dir: Of the Hub's client.
            token: Of the Hub's client.
            local_files_only: Use what was downloaded before.
            device: Where to put it; the CPU if None.
            dtype: Floating type of weights and inputs; as exported if None.

        Raises:
            ArtifactError: There is no such folder, or a file is missing, damaged, or of another format or version.
            GraphError: The graph is not one that may be loaded.
            huggingface_hub.errors.HfHubHTTPError: The Hub refuses.
        """
        folder = local_folder(
            name, revision=revision, cache_dir=cache_dir, token=token, local_files_only=local_files_only
        )
        return cls.from_artifact(read_artifact(folder)).to(device=device, dtype=dtype)

    @classmethod
    def from_artifact(cls, artifact: Artifact) -> InvariantEncoder:
        """Build the modules of an artefact that was read.

        Raises:
            ArtifactError: Its parts do not fit together.
            GraphError: The graph is not one that may be loaded.
        """
        network = load_graph(dict(artifact.graph), artifact.below(NETWORK))
        return cls(network, rebuild_projection(artifact), artifact.config, artifact.certificate)

    def forward(self, x: Tensor) -> Float[Tensor, "B K"]:
        """Invariant features.

        Args:
            x: Inputs of the shape that the network was exported with, any batch size.

        Returns:
            Features of shape (B, K), the same for all inputs that the group moves into each other.

        Raises:
            GraphError: The input has another rank, size or dtype.
        """
        return self.projection(self.latent(x))

    def latent(self, x: Tensor) -> Float[Tensor, "B D"]:
        """Raw latents, which the group moves; use the features unless you handle that yourself."""
        return self.network(x)

    def train(self, mode: bool = True) -> InvariantEncoder:
        """Stay in eval mode."""
        return self

    def extra_repr(self) -> str:
        """Sizes and guarantee."""
        return f"latent {self.config['latent_size']} -> {self.projection.out_features} features, {self.guarantee}"

    @property
    def guarantee(self) -> Guarantee:
        """What holds for the features."""
        return self.projection.guarantee
