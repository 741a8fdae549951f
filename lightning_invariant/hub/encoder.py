"""The pulled encoder: invariant features by default, raw latents only when asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lightning_invariant.errors import ArtifactError
from lightning_invariant.hub.artifact import HEAD, NETWORK
from lightning_invariant.hub.class_network import ClassNetwork, build_network
from lightning_invariant.hub.description import rebuild_projection, require_fitting_size
from lightning_invariant.hub.graph import load_graph
from lightning_invariant.hub.head import Head
from lightning_invariant.hub.masks import hidden_as_zero, mask_of, most_points, require_masked, with_mask
from lightning_invariant.hub.preprocessing import Preprocessing
from lightning_invariant.hub.transport import read_pretrained

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping
    from pathlib import Path

    from jaxtyping import Bool, Float
    from torch import Tensor

    from lightning_invariant.guarantee import Guarantee
    from lightning_invariant.hub.artifact import Artifact
    from lightning_invariant.hub.class_network import Factory
    from lightning_invariant.hub.encode import Data, Output
    from lightning_invariant.hub.graph import GraphModule
    from lightning_invariant.hub.head import Prediction
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
        head: From features to classes or values.
    """

    def __init__(
        self,
        network: GraphModule | ClassNetwork,
        projection: Projection,
        config: Mapping[str, Any],
        certificate: Mapping[str, Any],
        head: Head | None = None,
    ) -> None:
        super().__init__()
        self.network, self.projection, self.head = network, projection, head
        self.config, self.certificate = dict(config), dict(certificate)
        self.folder: Path | None = None
        """Where it was loaded from."""
        stored = self.config["preprocessing"]
        self.preprocessing = None if stored is None else Preprocessing.from_dict(stored)
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
        network: Factory | None = None,
        trust_remote_code: bool = False,
    ) -> InvariantEncoder:
        """Load an encoder; nothing of the folder is unpickled, imported or executed.

        Args:
            name: A folder that was exported, the name of a bundled encoder (`lightning-invariant list`), or "user/name"
                on the Hub.
            revision: Branch, tag or commit on the Hub.
            cache_dir: Of the Hub's client.
            token: Of the Hub's client.
            local_files_only: Use what was downloaded before.
            device: Where to put it; the CPU if None.
            dtype: Floating type of weights and inputs; as exported if None.
            network: Only for an encoder that could not be written without its class: the author's class, a function of
                its arguments, or an instance, which then gets the weights.
            trust_remote_code: Only for such an encoder: import the class that the folder names from what is installed.
                No folder can switch this on.

        Raises:
            ArtifactError: There is no such folder, or a file is missing, damaged, or of another format or version; or
                the encoder needs its class.
            GraphError: The graph is not one that may be loaded.
            huggingface_hub.errors.HfHubHTTPError: The Hub refuses.
        """
        artifact = read_pretrained(
            name, revision=revision, cache_dir=cache_dir, token=token, local_files_only=local_files_only
        )
        encoder = cls.from_artifact(artifact, network=network, trust_remote_code=trust_remote_code)
        return encoder.to(device=device, dtype=dtype)

    @classmethod
    def from_artifact(
        cls, artifact: Artifact, *, network: Factory | None = None, trust_remote_code: bool = False
    ) -> InvariantEncoder:
        """Build the modules of an artefact that was read; arguments as in `from_pretrained`.

        Raises:
            ArtifactError: Its parts do not fit together.
            GraphError: The graph is not one that may be loaded.
        """
        config = artifact.config
        require_fitting_size(config)
        projection = rebuild_projection(artifact)
        require_masked(config["inputs"], mask_of(config), projection)
        if artifact.graph is None:
            made = build_network(
                config["network"], artifact.below(NETWORK), network, trust_remote_code=trust_remote_code
            )
            body = ClassNetwork(made, config["network"], config["inputs"], projection.representation)
        elif network is None:
            body = load_graph(dict(artifact.graph), artifact.below(NETWORK))
        else:
            raise ArtifactError("Expected no network= since this encoder holds its network as a graph; leave it out.")
        stored, tensors = config["head"], artifact.below(HEAD)
        if stored is None and tensors:
            raise ArtifactError(f"Expected no head but got {sorted(tensors)[:3]}; export or pull again.")
        head = None if stored is None else Head.from_artifact(stored, tensors, projection.out_features)
        encoder = cls(body, projection, config, artifact.certificate, head)
        encoder.folder = artifact.folder
        return encoder

    def forward(self, *inputs: Tensor, mask: Bool[Tensor, "B n"] | None = None) -> Float[Tensor, "B K"]:
        """Invariant features.

        Args:
            *inputs: Of the shapes that the network was exported with, any batch size.
            mask: Where the network takes padded sets: which points exist; all if None. It may also stand among the
                inputs.

        Returns:
            Features of shape (B, K), the same for all inputs that the group moves into each other.

        Raises:
            GraphError: The input has another rank, size or dtype.
        """
        given = self._with_mask(inputs, mask)
        index = mask_of(self.config)
        return self.projection(self.network(*given), *([] if index is None else [given[index]]))

    def latent(self, *inputs: Tensor, mask: Bool[Tensor, "B n"] | None = None) -> Float[Tensor, "B D"]:
        """Raw latents, which the group moves; use the features unless you handle that yourself.

        Numbers of points that do not exist are 0.
        """
        given, index = self._with_mask(inputs, mask), mask_of(self.config)
        z = self.network(*given)
        return z if index is None else hidden_as_zero(z, given[index], self.projection.representation)

    def classify(self, *inputs: Tensor, mask: Bool[Tensor, "B n"] | None = None) -> Prediction:
        """Names of classes, where the encoder was exported with a head.

        Args:
            *inputs: As for the features.
            mask: Likewise.

        Returns:
            The best label of each input, and the scores of all labels (B, T).

        Raises:
            ArtifactError: There is no head, or it predicts values; `predict` gives those.
        """
        head = self._require_head()
        if not head.classes:
            raise ArtifactError(f"Expected a head for classes but it predicts {', '.join(head.labels)}; use predict.")
        return head.predict(self(*inputs, mask=mask))

    def predict(self, *inputs: Tensor, mask: Bool[Tensor, "B n"] | None = None) -> Float[Tensor, "B T"]:
        """Scores or values of the head, one column each label of `encoder.head.labels`.

        Raises:
            ArtifactError: There is no head.
        """
        return self._require_head()(self(*inputs, mask=mask))

    def preprocess(self, raw: Tensor) -> Tensor:
        """What the network takes, from raw images (B, C, H, W), as recorded at the export; the same where nothing was.

        Raises:
            ValueError: Images of another shape.
        """
        return raw if self.preprocessing is None else self.preprocessing(raw, self.dtype or torch.float32)

    def encode(
        self,
        data: Data,
        *,
        batch_size: int = 256,
        device: torch.device | str | None = None,
        output: Output = "numpy",
        latents: bool = False,
        preprocess: bool | None = None,
        num_workers: int = 0,
        progress: bool = True,
    ) -> Any:
        """Features of a whole data set, in bounded memory.

        Args:
            data: Tensor, array, list of samples, dataset, loader of batches, or path of a folder of images or of a
                .npy, .npz, .safetensors or .parquet file. Of batches like (x, y) or {"image": x, "label": y} x is
                encoded, and y is kept where the output is a file.
            batch_size: Inputs at one time; a loader has its own.
            device: Where to compute; the encoder is moved there for the time. None for where it is.
            output: "numpy", "torch", or a path ending in .npy, .npz, .parquet or .safetensors, written batch by batch.
            latents: Raw latents in place of features.
            preprocess: Whether inputs are raw and go through `preprocess`; None for: those that are bytes or an image
                folder, where the network takes floating inputs.
            num_workers: Processes that read a dataset or an image folder.
            progress: Whether to show a bar, where somebody looks at the terminal.

        Returns:
            Features (N, K) as array or tensor on the CPU, or the path.

        Raises:
            ArtifactError: Data or output of an unknown kind, or a package for it is not installed.
            GraphError: An input does not fit the network.
        """
        from lightning_invariant.hub.encode import Request, encode

        request = Request(batch_size, device, output, latents, preprocess, num_workers, progress)
        return encode(self, data, request)

    def save_pretrained(self, folder: str | os.PathLike[str], *, name: str | None = None) -> None:
        """Write the encoder as it is now, fine-tuned weights and type included, as a folder that loads again.

        The certificate stays with the weights that it was measured on: where they changed, the card shows no numbers.

        Args:
            folder: Empty, new, or an earlier export.
            name: Of the model on its card; the folder's name if None.

        Raises:
            ArtifactError: The folder holds something else or cannot be written.
        """
        from lightning_invariant.hub.save import save_encoder

        save_encoder(self, folder, name=name)

    def to_onnx(self, path: str | os.PathLike[str]) -> None:
        """Write the encoder as it is now as ONNX, with the outputs `features` and `latents`.

        Args:
            path: Of the file.

        Raises:
            ArtifactError: The extra `onnx` is not installed, ONNX has no such operator, or the encoder is too large.
        """
        import copy

        from lightning_invariant.hub.onnx_model import onnx_model

        Path(path).write_bytes(onnx_model(copy.deepcopy(self).cpu()))

    def push_to_hub(
        self,
        repo_id: str,
        *,
        revision: str | None = None,
        private: bool | None = None,
        token: str | bool | None = None,
        create_pr: bool = False,
        message: str = "Upload encoder",
    ) -> str:
        """Publish the encoder as it is now in one commit, and return the commit's address.

        Args:
            repo_id: "user/name"; made if there is none.
            revision: Branch; the main branch if None.
            private: Whether a repository that is made is private.
            token: Of the Hub's client.
            create_pr: Open a pull request instead.
            message: Of the commit.

        Raises:
            HubError: No name of a repository.
            huggingface_hub.errors.HfHubHTTPError: The Hub refuses.
        """
        from lightning_invariant.hub.save import push_encoder

        return push_encoder(
            self, repo_id, revision=revision, private=private, token=token, create_pr=create_pr, message=message
        )

    def train(self, mode: bool = True) -> InvariantEncoder:
        """Stay in eval mode."""
        return self

    def extra_repr(self) -> str:
        """Sizes and guarantee."""
        return f"latent {self.config['latent_size']} -> {self.projection.out_features} features, {self.guarantee}"

    def _with_mask(self, inputs: tuple[Tensor, ...], mask: Tensor | None) -> tuple[Tensor, ...]:
        n = most_points(self.projection)
        return with_mask(inputs, mask, mask_of(self.config), count=len(self.config["inputs"]), n=n or 0)

    def _require_head(self) -> Head:
        if self.head is None:
            raise ArtifactError(
                "Expected an encoder that was exported with a head but it has none; fit a probe on its features, and "
                "give it as head= to export_encoder."
            )
        return self.head

    @property
    def dtype(self) -> torch.dtype | None:
        """Floating type of weights and inputs; None if the network has none."""
        return self.network.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are; the CPU if there are none."""
        return next((t.device for t in self.state_dict(keep_vars=True).values()), torch.device("cpu"))

    @property
    def guarantee(self) -> Guarantee:
        """What holds for the features."""
        return self.projection.guarantee
