"""The pulled encoder as a module: batches, copies, dtypes, inside other modules."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from lightning_invariant.encoder import InvariantEncoder
from lightning_invariant.errors import GraphError
from tests.hub.small_encoder import export, images, network, projection


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "folder"
    export(path)
    return path


@pytest.fixture
def encoder(folder: Path) -> InvariantEncoder:
    return InvariantEncoder.from_pretrained(folder)


@pytest.mark.parametrize("size", [1, 2, 7])
def test_features_and_latents_equal_the_live_ones(encoder: InvariantEncoder, size: int) -> None:
    x = images(size)
    with torch.no_grad():
        z = network()(x)
        assert torch.equal(encoder.latent(x), z)
        assert torch.equal(encoder(x), projection()(z))
        assert not torch.equal(encoder(x), projection()(network(1)(x)))


def test_features_are_invariant_where_latents_move(encoder: InvariantEncoder) -> None:
    z, representation = encoder.latent(images(4)).detach(), encoder.projection.representation
    for g in representation.group.elements()[1:]:
        moved = representation.transform(z, g)
        assert not torch.allclose(moved, z)
        torch.testing.assert_close(encoder.projection(moved), encoder.projection(z))


@pytest.mark.parametrize(
    "copy_of", [copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))], ids=["deepcopy", "pickle"]
)
def test_copies_are_equal_and_independent(encoder: InvariantEncoder, copy_of) -> None:
    before, twin = encoder(images(3)), copy_of(encoder)
    assert torch.equal(twin(images(3)), before)
    assert twin.config == encoder.config
    assert twin.certificate == encoder.certificate
    assert twin.guarantee == encoder.guarantee
    with torch.no_grad():
        for tensor in twin.state_dict().values():
            tensor.zero_()
    assert torch.equal(encoder(images(3)), before)
    assert not torch.equal(twin(images(3)), before)


def test_it_serves_in_the_workers_of_a_loader(encoder: InvariantEncoder) -> None:
    loader = DataLoader(Encoded(encoder), batch_size=2, num_workers=1, multiprocessing_context="fork")
    assert torch.allclose(torch.cat(list(loader)), encoder(images(4)).detach(), atol=1e-6)


SPAWNED = """
import sys, torch
from torch.utils.data import DataLoader, Dataset
from lightning_invariant import InvariantEncoder
class Encoded(Dataset):
    def __init__(self, encoder): self.encoder = encoder
    def __len__(self): return 4
    def __getitem__(self, i): return self.encoder(torch.full((1, 1, 6, 6), float(i)))[0].detach()
if __name__ == "__main__":
    encoder = InvariantEncoder.from_pretrained(sys.argv[1])
    loader = DataLoader(Encoded(encoder), batch_size=2, num_workers=1, multiprocessing_context="spawn")
    x = torch.arange(4.0)[:, None, None, None].expand(4, 1, 6, 6)
    print(torch.allclose(torch.cat(list(loader)), encoder(x).detach(), atol=1e-5))
"""


def test_it_serves_in_workers_that_start_afresh(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "serve.py").write_text(SPAWNED)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, str(tmp_path / "serve.py"), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == "True\n", done.stderr


class Encoded(torch.utils.data.Dataset):
    def __init__(self, encoder: InvariantEncoder) -> None:
        self.encoder = encoder

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> torch.Tensor:
        torch.set_num_threads(1)
        with torch.no_grad():
            return self.encoder(images(4)[index : index + 1])[0]


def test_state_dict_round_trip(folder: Path, encoder: InvariantEncoder, tmp_path: Path) -> None:
    state = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    twin = InvariantEncoder.from_pretrained(folder)
    with torch.no_grad():
        for tensor in twin.state_dict().values():
            tensor.zero_()
    assert not torch.equal(twin(images(2)), encoder(images(2)))
    twin.load_state_dict(state, strict=True)
    assert torch.equal(twin(images(2)), encoder(images(2)))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float16, 5e-3), (torch.bfloat16, 5e-2)])
def test_dtype_moves_network_and_projection(folder: Path, dtype: torch.dtype, tolerance: float) -> None:
    expected = InvariantEncoder.from_pretrained(folder)(images(3))
    for encoder in (
        InvariantEncoder.from_pretrained(folder, dtype=dtype),
        InvariantEncoder.from_pretrained(folder).to(dtype),
    ):
        features = encoder(images(3).to(dtype))
        assert features.dtype == dtype
        assert (features - expected).abs().max().item() < tolerance
        with pytest.raises(GraphError, match=f"of dtype {dtype} but got torch.float32; convert it"):
            encoder(images(3))
    half = InvariantEncoder.from_pretrained(folder).half()
    assert half(images(1).half()).dtype == torch.float16


def test_device_and_meta(folder: Path) -> None:
    encoder = InvariantEncoder.from_pretrained(folder, device="meta")
    assert {tensor.device.type for tensor in encoder.state_dict().values()} == {"meta"}


def test_inputs_that_do_not_fit(encoder: InvariantEncoder) -> None:
    with pytest.raises(GraphError, match=r"Expected input 0 of shape .* got \[2, 1, 7, 7\]"):
        encoder(torch.zeros(2, 1, 7, 7))


def test_train_stays_in_eval(encoder: InvariantEncoder) -> None:
    before = encoder(images(3))
    statistics = {name: tensor.clone() for name, tensor in encoder.named_buffers()}
    outer = nn.Sequential(encoder).train()
    assert outer.training
    assert not any(part.training for part in encoder.modules())
    assert encoder.train() is encoder
    outer(images(5))
    assert torch.equal(encoder(images(3)), before)
    assert all(torch.equal(tensor, statistics[name]) for name, tensor in encoder.named_buffers())


@pytest.mark.parametrize("tuned", [False, True], ids=["head only", "fine-tuned"])
def test_training_a_module_around_it(encoder: InvariantEncoder, *, tuned: bool) -> None:
    torch.manual_seed(0)
    encoder.requires_grad_(tuned)
    model = nn.Sequential(encoder, nn.Linear(16, 2)).train()
    x, y = images(32), torch.arange(32) % 2
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.02)
    losses = []
    for _ in range(30):
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    changed = {name for name, tensor in encoder.state_dict().items() if not torch.equal(tensor, before[name])}
    parameters = {name for name, _ in encoder.named_parameters()}
    assert changed == (parameters if tuned else set())


def test_fine_tuned_features_stay_invariant(encoder: InvariantEncoder) -> None:
    with torch.no_grad():
        for parameter in encoder.network.parameters():
            parameter.add_(0.1)
    test_features_are_invariant_where_latents_move(encoder)


@pytest.mark.skipif(sys.version_info >= (3, 15), reason="torch.compile does not support this Python yet")
def test_compiles_in_one_piece(encoder: InvariantEncoder) -> None:
    compiled = torch.compile(encoder, backend="aot_eager", fullgraph=True)
    with torch.no_grad():
        for size in (2, 5):
            torch.testing.assert_close(compiled(images(size)), encoder(images(size)))


def test_the_representation_reads(encoder: InvariantEncoder) -> None:
    assert "latent 8 -> 16 features, invariant under C4" in repr(encoder)


def test_a_plain_certificate_is_kept(encoder: InvariantEncoder) -> None:
    assert encoder.certificate["measured"]["invariant/knn"] == 0.95


def test_loads_where_only_the_package_is(folder: Path) -> None:
    code = """
import sys
for name in ("pytorch_lightning", "lightning", "matplotlib", "scipy", "sklearn", "lightning_invariant.zoo"):
    sys.modules[name] = None
import torch
from lightning_invariant import InvariantEncoder
encoder = InvariantEncoder.from_pretrained(sys.argv[1])
print(tuple(encoder(torch.zeros(2, 1, 6, 6)).shape))
try:
    import lightning_invariant.zoo
except ImportError:
    print("blocked")
"""
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False)
    assert done.stdout == "(2, 16)\nblocked\n", done.stderr
