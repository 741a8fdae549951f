"""The pulled encoder: invariant features by default, raw latents only when asked for."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lightning_invariant import quotient
from lightning_invariant.artifact.config import HEAD, MASK, NETWORK, NO_KIND, PROJECTION
from lightning_invariant.artifact.graph import MAX_BYTES, GraphModule
from lightning_invariant.artifact.graph.operators import DTYPES
from lightning_invariant.encoder.class_network import ClassNetwork, LatentInput, build_network
from lightning_invariant.encoder.description import rebuild_projection, require_whole
from lightning_invariant.encoder.head import Head
from lightning_invariant.encoder.masks import most_points, require_masked, with_mask
from lightning_invariant.encoder.preprocessing import Preprocessing
from lightning_invariant.errors import ArtifactError
from lightning_invariant.groups import Sampled
from lightning_invariant.hub.download import read_pretrained
from lightning_invariant.projections import GraphReadout
from lightning_invariant.quotient.found import hide

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from jaxtyping import Bool, Float
    from torch import Tensor
    from typing_extensions import Unpack

    from lightning_invariant.artifact import Artifact
    from lightning_invariant.artifact.graph import GraphModule
    from lightning_invariant.encoder.class_network import Factory
    from lightning_invariant.encoder.head import Prediction
    from lightning_invariant.guarantee import Guarantee
    from lightning_invariant.hub.download import Download
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
        network: GraphModule | ClassNetwork | LatentInput,
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
        device: torch.device | str | None = None,
        dtype: torch.dtype | str | None = None,
        network: Factory | None = None,
        trust_remote_code: bool = False,
        max_bytes: int = MAX_BYTES,
        **download: Unpack[Download],
    ) -> InvariantEncoder:
        """Load an encoder; nothing of the folder is unpickled, imported or executed.

        Args:
            name: A folder that was exported, the name of a bundled encoder (`lightning-invariant list`), or "user/name"
                on the Hub, also as "user/name@revision" or as its address, "https://huggingface.co/user/name".
            revision: Branch, tag or commit on the Hub.
            device: Where to put it; the CPU if None.
            dtype: Floating type of weights and inputs, such as "float16"; as exported if "auto" or None.
            network: Only for an encoder that could not be written without its class: the author's class, a function of
                its arguments, or an instance, which then gets the weights.
            trust_remote_code: Only for such an encoder: import the class that the folder names from what is installed.
                No folder can switch this on.
            max_bytes: Most bytes of values that a call may need at one time, weights and inputs apart.
            **download: `subfolder`, `cache_dir`, `local_dir`, `token`, `force_download` and `local_files_only`, as for
                the Hub's client.

        Raises:
            ArtifactError: There is no such folder, or a file is missing, damaged, or of another format or version; or
                the encoder needs its class.
            GraphError: The graph is not one that may be loaded, or needs more than `max_bytes`.
            huggingface_hub.errors.HfHubHTTPError: The Hub refuses.
        """
        wanted = as_dtype(dtype)
        artifact = read_pretrained(name, revision, **download)
        encoder = cls.from_artifact(artifact, network=network, trust_remote_code=trust_remote_code, max_bytes=max_bytes)
        return encoder.to(device=device, dtype=wanted)

    @classmethod
    def from_artifact(
        cls,
        artifact: Artifact,
        *,
        network: Factory | None = None,
        trust_remote_code: bool = False,
        max_bytes: int = MAX_BYTES,
    ) -> InvariantEncoder:
        """Build the modules of an artefact that was read; arguments as in `from_pretrained`.

        Raises:
            ArtifactError: Its parts do not fit together.
            GraphError: The graph is not one that may be loaded.
        """
        config = artifact.config
        require_whole(artifact)
        projection = rebuild_projection(config, artifact.below(PROJECTION), artifact.certificate)
        require_masked(config["inputs"], config.get(MASK), projection)
        if artifact.graph is not None:
            if network is not None:
                raise ArtifactError(
                    "Expected no network= since this encoder holds its network as a graph; leave it out."
                )
            body = GraphModule(dict(artifact.graph), artifact.below(NETWORK), max_bytes)
        elif config["network"]["kind"] == NO_KIND:
            body = LatentInput(projection.representation)
        else:
            made = build_network(
                config["network"], artifact.below(NETWORK), network, trust_remote_code=trust_remote_code
            )
            body = ClassNetwork(made, config["network"], config["inputs"], projection.representation)
        stored, tensors = config["head"], artifact.below(HEAD)
        if stored is None and tensors:
            raise ArtifactError(f"Expected no head but got {sorted(tensors)[:3]}; export or pull again.")
        head = None if stored is None else Head.from_artifact(stored, tensors, projection.out_features)
        encoder = cls(body, projection, config, artifact.certificate, head)
        encoder.folder = artifact.folder
        return encoder

    def forward(self, *inputs: Tensor, mask: Bool[Tensor, "B n"] | None = None) -> Float[Tensor, "B K"]:
        """Compute invariant features.

        Args:
            *inputs: Tensors of the shapes that the network was exported with, any batch size. Of graph networks the
                last one says to which graph each node belongs, ascending from 0; features have one row a graph. Where
                invariance comes from sampled transforms ("Sampled: ..."), K transforms of each input, (B, K, ...);
                inputs as they come give their latents.
            mask: Where the network takes padded sets: which points exist; all if None. It may also stand among the
                inputs.

        Returns:
            Features of shape (B, K), the same for all inputs that the group transforms into each other.

        Raises:
            GraphError: The input has another rank, size or dtype.
        """
        given, index = self._with_mask(inputs, mask), self.config.get(MASK)
        if isinstance(self.projection, GraphReadout):
            index = len(given) - 1
        sampled = isinstance(self.projection.representation.group, Sampled)
        # An encoder of sampled transforms may get several of each input.
        if sampled and [x.dim() for x in given] == [len(spec["shape"]) + 1 for spec in self.config["inputs"]]:
            count, copies = given[0].shape[:2]
            return self.projection(self.network(*(x.flatten(0, 1) for x in given)).unflatten(0, (count, copies)))
        return self.projection.single(self.network(*given), *([] if index is None else [given[index]]))

    def latent(self, *inputs: Tensor, mask: Bool[Tensor, "B n"] | None = None) -> Float[Tensor, "B D"]:
        """Compute raw latents, which the group transforms; use the features unless you handle that yourself.

        Numbers of points that do not exist are 0.
        """
        given, index = self._with_mask(inputs, mask), self.config.get(MASK)
        z, representation = self.network(*given), self.projection.representation
        return z if index is None else hide(representation, representation.flatten(z), given[index])

    @torch.no_grad()
    def align(self, x: Tensor, to: Tensor, *, certify: bool = False) -> quotient.Alignment:
        """Bring the latents of inputs as near to those of others as the group can.

        Args:
            x: A batch of inputs, (B, ...).
            to: As many inputs, or one for all.
            certify: As of `quotient.align`.

        Raises:
            ArtifactError: The encoder takes several inputs; use `quotient.align` on its latents.
        """
        z, w = self._latents_of("align", x, to)
        return quotient.align(z, w, self.projection.representation, certify=certify)

    @torch.no_grad()
    def path(self, x: Tensor, y: Tensor, steps: int = 8, *, certify: bool = False) -> quotient.Path:
        """Walk from the latents of inputs to those of others on shortest paths modulo the group.

        Args:
            x: A batch of inputs, (B, ...).
            y: As many inputs.
            steps: Points on each path, both ends included.
            certify: As of `quotient.path`.

        Raises:
            ArtifactError: The encoder takes several inputs; use `quotient.path` on its latents.
        """
        z, w = self._latents_of("path", x, y)
        return quotient.path(z, w, self.projection.representation, steps, certify=certify)

    def classify(self, *inputs: Tensor, mask: Bool[Tensor, "B n"] | None = None) -> Prediction:
        """Name classes, where the encoder was exported with a head.

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
        """Compute scores or values of the head, one column for each label of `encoder.head.labels`.

        Raises:
            ArtifactError: There is no head.
        """
        return self._require_head()(self(*inputs, mask=mask))

    def preprocess(self, raw: Tensor) -> Tensor:
        """Turn raw images (B, C, H, W) into what the network takes, as recorded; the same where nothing was.

        Raises:
            ValueError: Images of another shape.
        """
        return raw if self.preprocessing is None else self.preprocessing(raw, self.dtype or torch.float32)

    def encode(
        self,
        data: Any,
        *,
        batch_size: int = 256,
        device: torch.device | str | None = None,
        output: str | os.PathLike[str] = "numpy",
        latents: bool = False,
        normalize: bool = False,
        preprocess: bool | None = None,
        num_workers: int = 0,
        num_processes: int = 1,
        progress: bool = True,
    ) -> Any:
        """Compute features of a whole data set, in bounded memory.

        Args:
            data: Tensor, array, list of samples, dataset, loader of batches, or path of a folder of images or of a
                .npy, .npz, .safetensors or .parquet file; also one image, a PIL image or a list of those. Of batches
                like (x, y) or {"image": x, "label": y} x is encoded, and y is kept where the output is a file.
            batch_size: Most inputs at one time; fewer are taken where the network would need more than its bound on
                memory. A loader has its own.
            device: Where to compute; the encoder is moved there for the time. None for where it is.
            output: "numpy", "torch", or a path ending in .npy, .npz, .parquet or .safetensors, written batch by batch.
            latents: Raw latents in place of features.
            normalize: Divide each row by its length.
            preprocess: Whether inputs are raw and go through `preprocess`; None for: those that are bytes or images,
                where the network takes floating inputs.
            num_workers: Processes that read a dataset or a folder of images.
            num_processes: Processes that compute, each on a part of the data; for data of known length on the CPU.
            progress: Whether to show a bar, where somebody looks at the terminal.

        Returns:
            Features (N, K) as array or tensor on the CPU, (K,) for one image, or the path.

        Raises:
            ArtifactError: Data or output of an unknown kind, or a package for it is not installed.
            GraphError: An input does not fit the network.
        """
        from lightning_invariant.encoder.encode import Request, encode

        request = Request(batch_size, device, latents, normalize, preprocess, num_workers, num_processes)
        return encode(self, data, request, output, progress=progress)

    def as_transformer(self, **settings: Any) -> Any:
        """Return a scikit-learn transformer: `make_pipeline(encoder.as_transformer(), LogisticRegression())`.

        Args:
            **settings: As for `encode`, such as `batch_size` or `normalize`.
        """
        from lightning_invariant.encoder.sklearn_transformer import EncoderTransformer

        return EncoderTransformer(self, settings)

    def as_batch_function(self, column: str = "image", *, output: str = "features", **settings: Any) -> Any:
        """Return a function from batches with names to the same with features, which pickles.

        It serves `datasets.Dataset.map(f, batched=True)` and `ray.data.Dataset.map_batches(f)`.

        Args:
            column: Name of the inputs in a batch.
            output: Name of the features.
            **settings: As for `encode`, such as `device` or `normalize`.
        """
        from lightning_invariant.encoder.batch_function import BatchFunction

        return BatchFunction(self, column, output, settings)

    def save_pretrained(self, folder: str | os.PathLike[str], *, name: str | None = None) -> None:
        """Write the encoder as it is now, fine-tuned weights and type included, as a folder that loads again.

        The certificate stays with the weights that it was measured on: where they changed, the card shows no numbers.

        Args:
            folder: Empty, new, or an earlier export.
            name: Title of the card; the folder's name if None.

        Raises:
            ArtifactError: The folder holds something else or cannot be written.
        """
        from lightning_invariant.encoder.save import save_encoder

        save_encoder(self, folder, name=name)

    def to_onnx(self, path: str | os.PathLike[str]) -> None:
        """Write the encoder as it is now as ONNX, with the outputs `features` and `latents`.

        Args:
            path: File to write.

        Raises:
            ArtifactError: The extra `onnx` is not installed, ONNX has no such operator, or the encoder is too large.
        """
        from lightning_invariant.encoder.onnx_model import onnx_model

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
        replace: bool = False,
    ) -> str:
        """Publish the encoder as it is now in one commit, and return the commit's address.

        Args:
            repo_id: "user/name"; made if there is none.
            revision: Branch; the main branch if None.
            private: Whether a repository that is made is private.
            token: Token for the Hub's client.
            create_pr: Open a pull request instead.
            message: Message of the commit.
            replace: Whether an encoder that measured better may be replaced.

        Raises:
            HubError: No name of a repository, or an encoder there measured better.
            huggingface_hub.errors.HfHubHTTPError: The Hub refuses.
        """
        from lightning_invariant.encoder.save import push_encoder
        from lightning_invariant.hub.target import Target

        return push_encoder(self, Target(repo_id, revision, create_pr, private, replace), token=token, message=message)

    def train(self, mode: bool = True) -> InvariantEncoder:
        """Stay in eval mode."""
        return self

    def extra_repr(self) -> str:
        """Sizes and guarantee."""
        return f"latent {self.config['latent_size']} -> {self.projection.out_features} features, {self.guarantee}"

    def _with_mask(self, inputs: tuple[Tensor, ...], mask: Tensor | None) -> tuple[Tensor, ...]:
        n = most_points(self.projection)
        return with_mask(inputs, mask, self.config.get(MASK), count=len(self.config["inputs"]), n=n or 0)

    def _latents_of(self, what: str, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Flat latents of two batches."""
        if len(self.config["inputs"]) > 1:
            raise ArtifactError(
                f"Expected an encoder of one input but this one takes {len(self.config['inputs'])}; give what "
                f"encoder.latent returns, and masks, to quotient.{what}."
            )
        representation = self.projection.representation
        return representation.flatten(self.latent(x)), representation.flatten(self.latent(y))

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


def as_dtype(dtype: torch.dtype | str | None) -> torch.dtype | None:
    """Return a floating type by its name; None for that of the export.

    Raises:
        ValueError: No name of a floating type.
    """
    if dtype is None or isinstance(dtype, torch.dtype):
        return dtype
    if dtype == "auto":
        return None
    found = DTYPES.get(str(dtype).removeprefix("torch."))
    if found is None or not found.is_floating_point:
        names = [name for name, known in DTYPES.items() if known.is_floating_point]
        raise ValueError(f"Expected dtype among 'auto', {', '.join(map(repr, names))} but got {dtype!r}.")
    return found
