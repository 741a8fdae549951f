"""The trip of a network through JSON and safetensors."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lightning_invariant.artifact.files import parse_json
from lightning_invariant.artifact.graph import GraphArtifact, GraphModule, export_graph
from lightning_invariant.errors import GraphError
from tests.hub.graph_networks import TABLE, Apply, SecretViT, build

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def traceable_attention() -> Iterator[None]:
    """Without gradients PyTorch's encoder layers switch to a fused kernel of their own, with other last bits."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    yield
    torch.backends.mha.set_fastpath_enabled(before)


def batch(size: int, shape: tuple[int, ...]) -> Tensor:
    return torch.randn(size, *shape, generator=torch.Generator().manual_seed(size))


def export(name: str) -> tuple[nn.Module, tuple[int, ...], GraphArtifact]:
    network, shape = build(name)
    return network, shape, export_graph(network, (batch(3, shape),))


@pytest.mark.parametrize("name", TABLE)
def test_round_trip_is_bit_identical(name: str, tmp_path: Path) -> None:
    network, shape, artifact = export(name)
    save_file(artifact.tensors, tmp_path / "model.safetensors")
    text = json.dumps(artifact.graph, allow_nan=False)
    loaded = GraphModule(parse_json(text, "the graph", GraphError), load_file(tmp_path / "model.safetensors"))
    with torch.no_grad():
        for size in (1, 2, 7):
            x = batch(size, shape)
            before = x.clone()
            result = loaded(x)
            assert torch.equal(x, before), "the input was written into"
            assert torch.equal(result, network(x.clone())), f"batch of {size}"
            assert torch.equal(result, loaded(x)), "the second call differs"


def test_changed_weight_changes_the_numbers() -> None:
    network, shape, artifact = export("mlp")
    tensors = {**artifact.tensors, "0.bias": artifact.tensors["0.bias"] + 1e-3}
    x = batch(2, shape)
    assert not torch.equal(GraphModule(artifact.graph, tensors)(x), network(x))


def test_integer_input_and_second_input() -> None:
    network = Apply(lambda layer, i, w: (layer(i) * w[..., None]).sum(1), nn.Embedding(10, 4)).eval()
    indices, weights = torch.randint(10, (3, 5)), torch.randn(3, 5)
    artifact = export_graph(network, (indices, weights), dynamic=({0: "batch", 1: "points"}, {0: "batch", 1: "points"}))
    loaded = GraphModule(artifact.graph, artifact.tensors)
    indices, weights = torch.randint(10, (1, 9)), torch.randn(1, 9)
    assert torch.equal(loaded(indices, weights), network(indices, weights))
    with pytest.raises(GraphError, match=r"input 1 of shape .* got \[2, 9\]"):
        loaded(indices, torch.randn(2, 9))


def test_fresh_process_without_the_class(tmp_path: Path) -> None:
    _, shape, artifact = export("vit")
    save_file(artifact.tensors, tmp_path / "model.safetensors")
    (tmp_path / "graph.json").write_text(json.dumps(artifact.graph))
    network, _ = build("vit")
    with torch.no_grad():
        save_file({"x": batch(7, shape), "z": network(batch(7, shape)).contiguous()}, tmp_path / "expected.safetensors")
    code = """
        import pathlib, sys
        sys.path = [p for p in sys.path if not (pathlib.Path(p) / "tests" / "hub").exists()]
        import torch
        from safetensors.torch import load_file
        from lightning_invariant.artifact.files import parse_json
        from lightning_invariant.artifact.graph import GraphModule
        try:
            import tests.hub.graph_networks
        except ImportError:
            pass
        else:
            raise SystemExit("the class can be imported")
        torch.set_num_threads(int(sys.argv[1]))
        here = pathlib.Path(".")
        graph = parse_json((here / "graph.json").read_bytes(), "graph.json")
        encoder = GraphModule(graph, load_file(here / "model.safetensors"))
        expected = load_file(here / "expected.safetensors")
        with torch.no_grad():
            assert torch.equal(encoder(expected["x"].clone()), expected["z"])
        assert not {"pytorch_lightning", "lightning"} & set(sys.modules)
        print("equal")
    """
    package = tmp_path / "lightning_invariant"
    package.symlink_to(Path(sys.modules["lightning_invariant"].__file__).parent)
    command = [sys.executable, "-c", textwrap.dedent(code), str(torch.get_num_threads())]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == "equal", done.stderr


def test_nothing_of_the_author_leaks() -> None:
    _, _, artifact = export("vit")
    text = json.dumps(artifact.graph)
    for secret in (SecretViT.__name__, "TransformerEncoder", Path(__file__).parent.name + "/", ".py", "stack", "tests"):
        assert secret not in text
    assert "blocks.layers.0.linear1.weight" in text


def test_export_leaves_the_network_alone_and_copies_no_weight() -> None:
    network, shape, artifact = export("conv")
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    export_graph(network, (batch(2, shape),))
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert artifact.tensors["0.weight"].data_ptr() == network[0].weight.data_ptr()


def test_ties_are_stored_once_and_stay_tied() -> None:
    _, _, artifact = export("tied")
    assert set(artifact.tensors) == {"first.weight", "first.bias", "second.bias"}
    assert artifact.graph["aliases"] == {"second.weight": "first.weight"}
    loaded = GraphModule(artifact.graph, artifact.tensors)
    assert loaded.network.get_parameter("second.weight") is loaded.network.get_parameter("first.weight")


def test_weights_that_nothing_uses_are_left_out() -> None:
    network = nn.ModuleDict({"encoder": nn.Linear(3, 2), "decoder": nn.Linear(2, 3)}).eval()
    network.forward = lambda x: network.encoder(x)  # type: ignore[method-assign]
    artifact = export_graph(network, (batch(3, (3,)),))
    assert sorted(artifact.tensors) == ["encoder.bias", "encoder.weight"]
    assert torch.equal(GraphModule(artifact.graph, artifact.tensors)(batch(5, (3,))), network(batch(5, (3,))))


@pytest.mark.parametrize("name", ["conv", "vit", "batch_sizes"])
@pytest.mark.parametrize(
    "copy_of", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"]
)
def test_copies_compute_the_same_and_are_independent(name: str, copy_of) -> None:
    _, shape, artifact = export(name)
    loaded = GraphModule(artifact.graph, artifact.tensors)
    x = batch(2, shape)
    expected = loaded(x)
    twin = copy_of(loaded)
    assert torch.equal(twin(x), expected)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    assert torch.equal(loaded(x), expected)
    if list(twin.parameters()):
        assert not torch.equal(twin(x), expected)


def test_state_dict_has_the_names_of_the_network() -> None:
    network, shape, artifact = export("conv")
    loaded = GraphModule(artifact.graph, artifact.tensors)
    own = {k: v for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}
    assert {k: v.shape for k, v in loaded.network.state_dict().items()}.items() >= {
        k: v.shape for k, v in own.items()
    }.items()
    other, _ = build("conv")
    nn.init.ones_(other[0].weight)
    loaded.network.load_state_dict(other.state_dict(), strict=False)
    assert torch.equal(loaded(batch(2, shape)), other(batch(2, shape)))


def test_train_has_no_effect() -> None:
    network, shape, artifact = export("conv")
    loaded = GraphModule(artifact.graph, artifact.tensors)
    outer = nn.Sequential(loaded).train()
    assert outer.training
    assert not any(part.training for part in loaded.modules())
    assert loaded.train() is loaded
    assert torch.equal(outer(batch(2, shape)), network(batch(2, shape)))


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("name", ["conv", "vit", "batch_sizes"])
def test_compiles_in_one_piece(name: str, backend: str) -> None:
    if sys.version_info >= (3, 15):
        pytest.skip("torch.compile does not support this Python yet")
    _, shape, artifact = export(name)
    loaded = GraphModule(artifact.graph, artifact.tensors)
    compiled = torch.compile(loaded, backend=backend, fullgraph=True)
    with torch.no_grad():
        for size in (2, 5):
            torch.testing.assert_close(compiled(batch(size, shape)), loaded(batch(size, shape)))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("name", ["conv", "vit", "gru", "batch_sizes", "casts"])
def test_dtype_moves_the_whole_network(name: str, dtype: torch.dtype) -> None:
    network, shape, artifact = export(name)
    loaded = GraphModule(artifact.graph, artifact.tensors).to(dtype)
    if not artifact.tensors:
        assert loaded(batch(2, shape)).dtype == torch.float32
        return
    x = batch(2, shape).to(dtype)
    result = loaded(x)
    assert result.dtype == dtype
    torch.testing.assert_close(result, network.to(dtype)(x.clone()), rtol=2e-2, atol=2e-2)
    with pytest.raises(GraphError, match=r"dtype .* but got torch.float32; convert it with"):
        loaded(x.float())
    saved = GraphModule(*loaded.describe())
    assert torch.equal(saved(x), result)


def test_device_follows_the_input() -> None:
    for name in ("conv", "batch_sizes", "sample", "vit"):
        _, shape, artifact = export(name)
        loaded = GraphModule(artifact.graph, artifact.tensors).to("meta")
        assert loaded(batch(2, shape).to("meta")).device.type == "meta"


def test_gradients_equal_those_of_the_network() -> None:
    network, shape, artifact = export("conv")
    loaded = GraphModule(artifact.graph, artifact.tensors)
    x, y = batch(2, shape).requires_grad_(), batch(2, shape).requires_grad_()
    network(x).sum().backward()
    loaded(y).sum().backward()
    assert torch.equal(x.grad, y.grad)
    assert torch.equal(network[0].weight.grad, loaded.network.get_parameter("0.weight").grad)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            (torch.zeros(2, 1, 8, 8, dtype=torch.float64),),
            "Expected input 0 of dtype torch.float32 but got torch.float64",
        ),
        ((torch.zeros(2, 8, 8),), r"Expected input 0 of shape \['batch', 1, 8, 8\] but got \[2, 8, 8\]"),
        ((torch.zeros(2, 1, 8, 9),), r"but got \[2, 1, 8, 9\]"),
        ((), "Expected 1 input tensors but got 0"),
        (([[0.0]],), "Expected a tensor as input 0 but got list"),
    ],
)
def test_wrong_input_is_refused(given: tuple, message: str) -> None:
    _, _, artifact = export("conv")
    with pytest.raises(GraphError, match=message):
        GraphModule(artifact.graph, artifact.tensors)(*given)


def test_a_loaded_network_survives_that_pytorch_traces_it() -> None:
    network, shape = build("conv")
    artifact = export_graph(network, (torch.randn(2, *shape),))
    loaded, x = GraphModule(artifact.graph, artifact.tensors), torch.randn(3, *shape)
    again = export_graph(loaded, (x,))
    with torch.no_grad():
        assert torch.equal(loaded(x), network(x))
        assert torch.equal(GraphModule(again.graph, again.tensors)(x), network(x))


def test_repr_says_what_goes_in_and_out() -> None:
    _, _, artifact = export("conv")
    loaded = GraphModule(artifact.graph, artifact.tensors)
    assert "float32['batch', 1, 8, 8] -> float32['batch', 4], 9 nodes" in repr(loaded)


def test_a_network_of_e3nn() -> None:
    o3 = pytest.importorskip("e3nn.o3")
    irreps = "1x0e + 1x1o + 1x2e"
    product, linear = o3.FullyConnectedTensorProduct(irreps, irreps, "4x0e + 2x1o"), o3.Linear("4x0e + 2x1o", "4x0e")

    def forward(sphere: nn.Module, product: nn.Module, linear: nn.Module, x: torch.Tensor) -> torch.Tensor:
        y = sphere(x)
        return linear(product(y, y)).sum(1)

    network = Apply(forward, o3.SphericalHarmonics("0e + 1o + 2e", True), product, linear).eval()
    artifact = export_graph(network, (torch.randn(2, 5, 3),))
    x = torch.randn(4, 5, 3)
    torch.testing.assert_close(GraphModule(artifact.graph, artifact.tensors)(x), network(x))


def test_a_view_of_what_another_torch_lays_out_in_another_way_is_a_copy() -> None:
    class Folded(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.view(-1, 6)

    artifact = export_graph(Folded().eval(), (torch.randn(4, 2, 3),))
    assert any(node["op"] == "aten.view.default" for node in artifact.graph["nodes"])
    loaded, x = GraphModule(artifact.graph, artifact.tensors), torch.randn(4, 3, 2).mT
    assert torch.equal(loaded(x), x.reshape(-1, 6))
    with pytest.raises(RuntimeError, match="view size"):
        x.view(-1, 6)
