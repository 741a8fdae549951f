"""An encoder that is loaded, perhaps fine-tuned, as a folder or a repository again."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning_invariant
from lightning_invariant.artifact.card import Card, model_card
from lightning_invariant.artifact.config import HEAD, NETWORK, PROJECTION, Artifact
from lightning_invariant.artifact.folder import Beside, read_figure, write_artifact
from lightning_invariant.artifact.graph.operators import DTYPE_NAMES
from lightning_invariant.artifact.readme import merged, read_card
from lightning_invariant.encoder.description import describe
from lightning_invariant.hub.client import hub_client
from lightning_invariant.hub.commit import commit_folder

if TYPE_CHECKING:
    import os

    from lightning_invariant.encoder.encoder import InvariantEncoder
    from lightning_invariant.hub.target import Target


def save_encoder(
    encoder: InvariantEncoder, folder: str | os.PathLike[str], *, name: str | None = None, repository: str | None = None
) -> None:
    """Write an artefact of the encoder as it is now, as `InvariantEncoder.save_pretrained` does."""
    artifact = _artifact(encoder)
    measured = {k: v for k, v in encoder.certificate.get("measured", {}).items() if v is not None}
    figure, existing = read_figure(encoder.folder), read_card(folder)
    versions = {"lightning-invariant": lightning_invariant.__version__}

    def is_certified(digest: str) -> bool:
        return digest == encoder.config["certified"]

    def card(digest: str) -> str:
        unchanged = is_certified(digest)
        said = Card(
            name or Path(folder).absolute().name,
            repository,
            base_model=encoder.config.get("base_model"),
            figure=figure if unchanged else None,
        )
        numbers = measured if unchanged else {}
        return merged(model_card(said, artifact.config, encoder.projection, numbers, versions), existing)

    write_artifact(folder, artifact, Beside(card, lambda digest: figure if is_certified(digest) else None))


def push_encoder(encoder: InvariantEncoder, target: Target, *, token: str | bool | None, message: str) -> str:
    """Commit an artefact of the encoder as it is now; arguments as in `InvariantEncoder.push_to_hub`."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / target.repo_id.split("/")[1]
        save_encoder(encoder, folder, repository=target.repo_id)
        return commit_folder(hub_client(token), folder, target, message=message).url


def _artifact(encoder: InvariantEncoder) -> Artifact:
    graph, network = encoder.network.describe()
    parts = {NETWORK: network, PROJECTION: encoder.projection.state_dict()}
    if encoder.head is not None:
        parts[HEAD] = {key: tensor.float() for key, tensor in encoder.head.state_dict().items()}
    tensors = {
        f"{part}{key}": tensor.detach().cpu().contiguous()
        for part, state in parts.items()
        for key, tensor in state.items()
    }
    dtype = encoder.dtype
    name = encoder.config["latent"]["dtype"] if dtype is None else DTYPE_NAMES[dtype]
    inputs: list[dict[str, Any]] = encoder.config["inputs"]
    if graph is not None:
        inputs, name = graph["inputs"], graph["output"]["dtype"]
    config = {**encoder.config, **describe(inputs, name, encoder.projection)}
    same = {key: config[key] for key in ("representation", "projection", "guarantee")}
    return Artifact(config, graph, tensors, {**encoder.certificate, **same})
