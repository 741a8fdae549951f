"""An encoder that is loaded, perhaps fine-tuned, as a folder or a repository again."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning_invariant
from lightning_invariant.hub.artifact import HEAD, NETWORK, PICTURE, PROJECTION, Artifact, write_artifact
from lightning_invariant.hub.card import model_card
from lightning_invariant.hub.description import describe
from lightning_invariant.hub.graph.operators import DTYPE_NAMES
from lightning_invariant.hub.reader import read_picture
from lightning_invariant.hub.readme import merged, read_card
from lightning_invariant.hub.target import Target

if TYPE_CHECKING:
    import os

    from lightning_invariant.hub.encoder import InvariantEncoder


def save_encoder(
    encoder: InvariantEncoder,
    folder: str | os.PathLike[str],
    *,
    name: str | None = None,
    repository: str = "path/or/repository",
) -> None:
    """Write an artefact of the encoder as it is now.

    Args:
        encoder: As loaded, or changed since.
        folder: Empty, new, or an earlier export.
        name: Of the model on its card; the folder's name if None.
        repository: "user/name" for the card's loading snippet.

    Raises:
        ArtifactError: The folder holds something else or cannot be written.
    """
    artifact = _artifact(encoder)
    measured = encoder.certificate.get("measured")
    numbers = measured if isinstance(measured, dict) else {}
    reason, title = encoder.projection.reason, name or Path(folder).absolute().name or "encoder"

    picture = read_picture(encoder.folder)

    def is_certified(digest: str) -> bool:
        return digest == encoder.config["certified"]

    def card(digest: str) -> str:
        unchanged = is_certified(digest)
        text = model_card(
            title,
            description=artifact.config,
            guarantee=encoder.guarantee,
            reason=reason,
            numbers={key: value for key, value in numbers.items() if value is not None} if unchanged else {},
            versions={"lightning-invariant": lightning_invariant.__version__},
            picture=PICTURE if unchanged and picture else None,
            repository=repository,
        )
        return merged(text, read_card(folder))

    write_artifact(folder, artifact, card=card, picture=lambda digest: picture if is_certified(digest) else None)


def push_encoder(
    encoder: InvariantEncoder,
    repo_id: str,
    *,
    revision: str | None,
    private: bool | None,
    token: str | bool | None,
    create_pr: bool,
    message: str,
) -> str:
    """Commit an artefact of the encoder as it is now; arguments as in `InvariantEncoder.push_to_hub`."""
    from huggingface_hub import HfApi

    from lightning_invariant.hub.commit import commit_folder

    target = Target(repo_id, revision, create_pr, private)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / repo_id.split("/")[1]
        save_encoder(encoder, folder, repository=repo_id)
        return commit_folder(HfApi(token=token), folder, target, message=message).url


def _artifact(encoder: InvariantEncoder) -> Artifact:
    graph, network = encoder.network.describe()
    parts = {NETWORK: network, PROJECTION: encoder.projection.state_dict()}
    if encoder.head is not None:
        parts[HEAD] = encoder.head.state_dict()
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
    return Artifact(config, graph, tensors, encoder.certificate)
