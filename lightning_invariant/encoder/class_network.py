"""A network that only its class can build: for what cannot be traced, and only with the caller's consent."""

from __future__ import annotations

import importlib
import json
import reprlib
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lightning_invariant.artifact.graph.module import check_inputs
from lightning_invariant.artifact.graph.operators import DTYPE_NAMES, DTYPES
from lightning_invariant.artifact.graph.values import TensorSpec
from lightning_invariant.errors import ArtifactError
from lightning_invariant.guests import escnn_modules

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jaxtyping import Float

    from lightning_invariant.groups import Representation

    Factory = nn.Module | type[nn.Module] | Callable[..., nn.Module]


class ClassNetwork(nn.Module):
    """The author's own network with flat latents and checked inputs; always in eval mode."""

    def __init__(
        self,
        network: nn.Module,
        description: Mapping[str, Any],
        inputs: list[dict[str, Any]],
        representation: Representation,
    ) -> None:
        super().__init__()
        self.network = network
        self.description, self.representation = dict(description), representation
        self.input_specs = tuple(TensorSpec(tuple(spec["shape"]), spec["dtype"], "input") for spec in inputs)
        self.exported = next((DTYPES[s.dtype] for s in self.input_specs if DTYPES[s.dtype].is_floating_point), None)
        super().train(False)

    @property
    def dtype(self) -> torch.dtype | None:
        """The floating type of the weights now; that of the export if it has none."""
        floats = (t.dtype for t in self.network.state_dict().values() if t.is_floating_point())
        return next(floats, self.exported)

    def train(self, mode: bool = True) -> ClassNetwork:
        """Has no effect: what was certified is the network in eval mode."""
        return self

    def forward(self, *inputs: Tensor) -> Float[Tensor, "B D"]:
        """Latents as rows.

        Raises:
            GraphError: An input has another dtype, rank or static size.
        """
        check_inputs(inputs, self.input_specs, self.exported, self.dtype)
        return self.representation.flatten(escnn_modules.plain_output(self.network(*inputs)))

    def describe(self) -> tuple[None, dict[str, Tensor]]:
        """No graph, and the tensors that save this network as it is now."""
        return None, class_state(self.network)


class LatentInput(nn.Module):
    """Takes latents in the place of a network, where a projection is shared alone."""

    dtype = None

    def __init__(self, representation: Representation) -> None:
        super().__init__()
        self.representation = representation

    def forward(self, z: Tensor) -> Float[Tensor, "B D"]:
        """Latents as rows."""
        return self.representation.flatten(z)

    def describe(self) -> tuple[None, dict[str, Tensor]]:
        """No graph and no tensors."""
        return None, {}


def class_description(network: nn.Module, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What a configuration says of a network that its class builds from JSON."""
    try:
        plain = json.loads(json.dumps(dict(arguments), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ArtifactError(
            f"Expected arguments that JSON can hold but got {error}; describe the network by numbers, names and lists."
        ) from error
    path = f"{type(network).__module__}.{type(network).__qualname__}"
    if "<locals>" in path:
        raise ArtifactError(f"Expected a class of a module but got {path}; define it at the top of a module.")
    return {"kind": "class", "class": path, "arguments": plain}


def class_state(network: nn.Module) -> dict[str, Tensor]:
    """Plain copies of the state, without what is made of the weights in eval mode only."""
    state = escnn_modules.without_derived(network, network.state_dict())
    for name, value in state.items():
        if not isinstance(value, Tensor) or value.dtype not in DTYPE_NAMES or value.layout != torch.strided:
            raise ArtifactError(
                f"Expected plain tensors as state but {name!r} is {type(value).__name__}; leave it out."
            )
    return {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}


def build_network(
    description: Mapping[str, Any], tensors: Mapping[str, Tensor], made: Factory | None, *, trust_remote_code: bool
) -> nn.Module:
    """The author's network with exactly the weights of an artefact.

    It is made from what the caller gave: the class, a function of its arguments, or an instance. Without that the class
    is imported, if the caller allows it.

    Raises:
        ArtifactError: Neither a class nor that permission, no such class, or weights that do not fit.
    """
    path = description["class"]
    if made is None and not trust_remote_code:
        raise ArtifactError(
            f"Expected network={path.rpartition('.')[2]}, the author's class {path}, since this network could not be "
            "written without its class; or trust_remote_code=True to import that name from what is installed here."
        )
    made = _import_class(path) if made is None else made
    network = made if isinstance(made, nn.Module) else _call(made, description)
    if not isinstance(network, nn.Module):
        raise ArtifactError(f"Expected a class that makes an nn.Module but got {type(network).__name__}.")
    network.train()  # what some keep in eval mode only is made anew of the loaded weights
    own = network.state_dict()
    got, want = ({k: (tuple(v.shape), v.dtype) for k, v in state.items()} for state in (tensors, own))
    if got != want:
        different = sorted(name for name in got.keys() | want.keys() if got.get(name) != want.get(name))
        raise ArtifactError(
            f"Expected weights of {path} but {len(different)} of them differ in name, shape or type, such as "
            f"{', '.join(different[:3])}; use the version of the class that was exported."
        )
    network.load_state_dict(dict(tensors), strict=True)
    return network.eval()


def _call(made: Callable[..., nn.Module], description: Mapping[str, Any]) -> nn.Module:
    try:
        return made(**description["arguments"])
    except Exception as error:  # the author's class can fail in any way on the arguments of a file
        raise ArtifactError(
            f"Expected {description['class']} to take the artefact's arguments "
            f"{reprlib.repr(description['arguments'])} but got {type(error).__name__}: {str(error)[:300]}; use the "
            "version of the class that was exported, or give an instance."
        ) from error


def _import_class(path: str) -> type[nn.Module]:
    module, _, name = path.rpartition(".")
    try:
        found: Any = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ArtifactError(
            f"Expected the class {path} to be installed but got: {error}; install the author's package."
        ) from error
    if not isinstance(found, type) or not issubclass(found, nn.Module):
        raise ArtifactError(f"Expected {path} to be a subclass of nn.Module but it is not; it is not called.")
    return found
