from __future__ import annotations

import argparse
import csv
import json
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lightning_invariant.cli.compare import add_parser
from lightning_invariant.cli.latents import load_latents
from lightning_invariant.errors import GroupError, LatentError, ParseError
from lightning_invariant.evaluation import comparison
from lightning_invariant.groups import Representation

REPRESENTATION = "C4: 3 regular"


@pytest.fixture(autouse=True)
def _few_timed_rows(monkeypatch):
    monkeypatch.setattr(comparison, "ROWS", 512)


@pytest.fixture
def latents():
    """Three classes of latents, each moved by an element of its own."""
    generator = torch.Generator().manual_seed(0)
    representation, labels = Representation.parse(REPRESENTATION), torch.arange(120) % 3
    z = 2 * representation.random(3, generator)[labels] + 0.3 * representation.random(120, generator)
    return representation.transform(z, representation.group.sample(120, generator)), labels


@pytest.fixture
def path(latents, tmp_path):
    file = tmp_path / "latents.npz"
    np.savez(file, latents=latents[0].reshape(-1, 3, 4).numpy(), labels=latents[1].numpy())
    return file


def command(*args):
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    parsed = parser.parse_args(["compare", *map(str, args)])
    return parsed.run(parsed)


def test_the_command_prints_and_writes(path, tmp_path, capsys):
    files = [tmp_path / name for name in ("t.json", "t.csv", "p.png")]
    status = command(
        path, "--representation", REPRESENTATION, "--samples", 30,
        "--json", files[0], "--csv", files[1], "--figure", files[2],
    )  # fmt: skip
    printed = capsys.readouterr().out
    assert status == 0
    assert "* " in printed
    assert "chosen: C4" in printed
    data = json.loads(files[0].read_text())
    assert data["representation"] == REPRESENTATION
    with files[1].open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["name"] for row in table] == [row["name"] for row in data["rows"]]
    assert [row["name"] for row in table if row["chosen"] == "True"] == [r["name"] for r in data["rows"] if r["chosen"]]
    assert files[2].read_bytes().startswith(b"\x89PNG")


def test_without_rich_the_table_is_plain_text(path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "rich", None)
    assert command(path, "--representation", REPRESENTATION, "--samples", 20) == 0
    assert "MaxFilter" in capsys.readouterr().out


def test_on_a_terminal_the_table_is_drawn_by_rich(path, monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    assert command(path, "--representation", REPRESENTATION, "--samples", 20) == 0
    printed = capsys.readouterr().out
    assert "MaxFilter" in printed
    assert "chosen: C4" in printed


def test_all_formats_hold_the_same_latents(latents, path, tmp_path):
    z, labels = latents
    save_file({"z": z, "y": labels}, tmp_path / "a.safetensors")
    save_file({"anything": z.bfloat16()}, tmp_path / "b.safetensors")
    np.save(tmp_path / "c.npy", z.numpy())
    np.save(tmp_path / "labels.npy", labels.numpy())
    for name in ("a.safetensors", "c.npy"):
        assert torch.equal(load_latents(tmp_path / name)[0], z)
    assert torch.equal(load_latents(path)[0].flatten(1), z)
    assert torch.equal(load_latents(tmp_path / "a.safetensors")[1], labels)
    assert load_latents(tmp_path / "b.safetensors")[0].dtype == torch.float32
    assert load_latents(tmp_path / "c.npy")[1] is None
    rows = []
    for arguments in ((tmp_path / "c.npy", "--labels", tmp_path / "labels.npy"), (path,)):
        assert command(*arguments, "--representation", REPRESENTATION, "--samples", 20, "--json", tmp_path / "t") == 0
        rows.append([row["knn"] for row in json.loads((tmp_path / "t").read_text())["rows"]])
    assert rows[0] == rows[1]
    assert None not in rows[0]


def test_class_names_become_numbers(latents, tmp_path):
    z, labels = latents
    np.savez(tmp_path / "names.npz", z=z.numpy(), y=np.array(["cat", "dog", "elk"])[labels.numpy()])
    assert torch.equal(load_latents(tmp_path / "names.npz")[1], labels)


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("none.npz", lambda p: None, "found none at"),
        ("z.txt", lambda p: p.write_text("1 2"), "file ending in .npy, .npz"),
        ("z.npz", lambda p: p.write_bytes(b"PK\x03\x04 damaged"), "cannot be read"),
        ("z.npy", lambda p: p.write_bytes(b""), "cannot be read"),
        ("z.safetensors", lambda p: p.write_bytes(b"damaged"), "cannot be read"),
        ("o.npz", lambda p: np.savez(p, latents=np.array([{}], dtype=object), allow_pickle=True), "cannot be read"),
        ("two.npz", lambda p: np.savez(p, a=np.zeros((9, 12)), b=np.zeros((9, 12))), r"but got \['a', 'b'\]"),
        ("flat.npy", lambda p: np.save(p, np.zeros(12)), r"at least 4 latents \(B, ...\)"),
        ("text.npy", lambda p: np.save(p, np.full((9, 12), "x")), "real numbers"),
        ("few.npy", lambda p: np.save(p, np.zeros((3, 12))), "at least 4"),
        ("nan.npy", lambda p: np.save(p, np.where(np.arange(108).reshape(9, 12) == 40, np.nan, 1)), "row 3 first"),
        ("size.npy", lambda p: np.save(p, np.random.default_rng(0).normal(size=(9, 13))), "Expected latents of shape"),
        ("short.npz", lambda p: np.savez(p, z=np.ones((9, 12)), y=np.zeros(8)), "Expected 9 labels"),
        ("labels.npz", lambda p: np.savez(p, z=np.ones((9, 12)), y=np.full(9, np.nan)), "finite labels"),
    ],
)
def test_bad_files_are_explained(name, write, message, tmp_path):
    write(tmp_path / name)
    with pytest.raises(LatentError, match=message):
        command(tmp_path / name, "--representation", REPRESENTATION)


def test_bad_representations_are_explained(path):
    with pytest.raises(ParseError, match="did you mean 'regular'"):
        command(path, "--representation", "C4: 3 reglar")
    with pytest.raises(GroupError, match="samples only"):
        command(path, "--representation", "Sampled: 12 trivial")
