import importlib.util
import json
import sys

import pytest
import torch

from lightning_invariant.groups import Representation
from lightning_invariant.projections import SphericalPowerSpectrum

maps = pytest.importorskip("benchmarks.maps")
peers = pytest.importorskip("benchmarks.peers")


@pytest.fixture(autouse=True)
def same_threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_quick_run_without_escnn_says_so_and_measures_e3nn(tmp_path):
    pytest.importorskip("e3nn")
    assert peers.main(["--quick", "--out", str(tmp_path), "--json", str(tmp_path / "numbers.json")]) == 0
    assert "escnn: not installed here; make the environment with:" in (tmp_path / "peers.md").read_text()
    rows = {(row["latents"], row["map"]): row for row in json.loads((tmp_path / "numbers.json").read_text())["rows"]}
    text = "SO3: 8x0 + 8x1 + 8x2"
    assert all(row["together"] < 1e-4 for row in rows.values())
    assert rows[text, "ChannelNorm"]["difference"] < 1e-5
    assert rows[text, "o3.Norm"]["channels"] < 1e-4 < 0.1 < rows[text, "o3.TensorSquare to 0e"]["channels"]
    assert rows[text, "SphericalPowerSpectrum"]["terms"] < 1e-4 < 0.01 < rows[text, "SphericalBispectrum"]["terms"]


def test_latents_moved_apart_lie_on_other_orbits_but_keep_each_channel():
    representation, generator = Representation.parse("C8: 4 regular"), torch.Generator().manual_seed(0)
    z = representation.random(32, generator)
    apart = maps.moved(representation, z, generator, apart="channels")
    assert torch.equal(z.view(32, 4, 8).sort().values, apart.view(32, 4, 8).sort().values)
    orbit = torch.stack([representation.transform(z, g) for g in representation.group.elements()])
    assert (orbit - apart).norm(dim=2).amin(dim=0).median() > 1
    together = maps.moved(representation, z, generator)
    assert (orbit - together).norm(dim=2).amin(dim=0).max() == 0


@pytest.mark.parametrize("python", ["no-such-python", sys.executable])
def test_a_python_without_escnn_is_refused(capsys, python):
    if python == sys.executable and importlib.util.find_spec("escnn"):
        pytest.skip("escnn is installed here")
    with pytest.raises(SystemExit):
        peers.main(["--quick", "--escnn-python", python])
    assert "Expected --escnn-python to be the Python of an environment with escnn" in capsys.readouterr().err


def test_rows_of_the_escnn_environment_are_read(tmp_path):
    pytest.importorskip("escnn")
    peers.main(
        ["--quick", "--out", str(tmp_path), "--json", str(tmp_path / "numbers.json"), "--escnn-python", sys.executable]
    )
    rows = {row["map"]: row for row in json.loads((tmp_path / "numbers.json").read_text())["rows"]}
    assert rows["ChannelMax"]["difference"] == rows["ChannelNorm"]["difference"] == 0
    assert rows["GroupPooling"]["channels"] < 1e-4 < 0.5 < rows["MaxFilter"]["channels"]


def test_the_power_spectrum_takes_the_products_of_tensor_square():
    o3 = pytest.importorskip("e3nn.o3")
    text, z = "SO3: 8x1 + 8x2", torch.randn(500, 64, generator=torch.Generator().manual_seed(0))
    theirs = o3.TensorSquare(o3.Irreps("8x1e + 8x2e"), filter_ir_out=["0e"])(z)
    ours = SphericalPowerSpectrum(text)(z) * z.norm(dim=1, keepdim=True)
    cosines = (ours / ours.norm(dim=0)).mT @ (theirs / theirs.norm(dim=0))
    assert cosines.amax(dim=1).sub(1).abs().max() < 1e-5
    assert sorted(cosines.argmax(dim=1).tolist()) == list(range(theirs.shape[1]))
