"""The time of an epoch: what is counted, and what is said about data that is not there."""

import pytest

from benchmarks import epochs
from tests.zoo.tiny_mnist import write_tiny_mnist


def test_every_network_is_timed_over_whole_batches(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(epochs, "IMAGES", 200)
    monkeypatch.setattr(epochs, "NETWORKS", epochs.NETWORKS[1:4:2])
    data = write_tiny_mnist(tmp_path)
    assert epochs.main(["--data-dir", str(data), "--threads", "1", "--out", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "epochs.md").read_text()
    lines = [line.split(" | ") for line in text.splitlines() if "invariant by itself" in line or "CNN" in line]
    assert [(line[2], float(line[3]) > 0) for line in lines] == [("192", True)] * 2
    assert str(tmp_path) not in text


def test_quick_writes_no_table(tmp_path, monkeypatch):
    monkeypatch.setattr(epochs, "QUICK_IMAGES", 70)
    monkeypatch.setattr(epochs, "NETWORKS", epochs.NETWORKS[3:4])
    data = write_tiny_mnist(tmp_path)
    assert epochs.main(["--quick", "--data-dir", str(data), "--threads", "1", "--out", str(tmp_path / "out")]) == 0
    assert not (tmp_path / "out").exists()


def test_a_set_with_fewer_images_is_one_message(tmp_path, capsys):
    assert epochs.main(["--data-dir", str(write_tiny_mnist(tmp_path)), "--threads", "1"]) == 2
    assert "Expected at most 240 images" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["nowhere", "."])
def test_a_folder_without_the_images_is_named(tmp_path, name, capsys):
    assert epochs.main(["--quick", "--data-dir", str(tmp_path / name), "--threads", "1"]) == 2
    assert "Expected MNIST's file train-images-idx3-ubyte.gz" in capsys.readouterr().err
