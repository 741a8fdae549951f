from __future__ import annotations

import argparse
import csv
import json
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lightning_invariant.cli import comparison as measuring
from lightning_invariant.cli.compare import add_parser, compare, text_table
from lightning_invariant.cli.latents import load_latents
from lightning_invariant.errors import GroupError, LatentError, ParseError
from lightning_invariant.groups import Representation

REPRESENTATION = "C4: 3 regular"


@pytest.fixture(autouse=True)
def _few_timed_rows(monkeypatch):
    monkeypatch.setattr(measuring, "ROWS", 512)


@pytest.fixture
def latents():
    """Three classes of latents, each moved by an element of its own."""
    generator = torch.Generator().manual_seed(0)
    representation, labels = Representation.parse(REPRESENTATION), torch.arange(120) % 3
    z = 2 * representation.random(3, generator)[labels] + 0.3 * representation.random(120, generator)
    return representation.move(z, representation.group.sample(120, generator)), labels


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


def test_every_applicable_projection_is_measured_and_the_chosen_one_marked(path):
    found = compare(path, REPRESENTATION, samples=60)
    rows = {row.name: row for row in found.rows}
    assert {"raw latents", "MaxFilter", "SortedCoorbits", "OrbitMean", "ChannelMax", "RandomFeatures"} <= set(rows)
    assert not {"Sort", "GramRoot", "Composition", "SampledMean"} & set(rows)
    (chosen,) = (row for row in found.rows if row.chosen)
    assert chosen.guarantee.startswith("invariant under C4")
    assert rows["ChannelMax"].hard_negative == pytest.approx(0, abs=1e-6)
    assert chosen.hard_negative > 0.3
    assert chosen.spearman > rows["raw latents"].spearman
    assert chosen.knn > 0.9
    assert (
        chosen.distortion_high / chosen.distortion_low
        < rows["OrbitMean"].distortion_high / rows["OrbitMean"].distortion_low
    )
    assert all(row.seconds > 0 for row in found.rows if row.name != "raw latents")
    assert found.exact
    assert found.samples == 60
    assert found.reason


def test_an_isometric_projection_has_no_distortion(tmp_path):
    np.save(tmp_path / "z.npy", np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32))
    found = compare(tmp_path / "z.npy", "S6: points")
    (chosen,) = (row for row in found.rows if row.chosen)
    assert chosen.name == "Sort"
    assert chosen.distortion_high / chosen.distortion_low == pytest.approx(1, abs=1e-4)
    assert chosen.spearman == pytest.approx(1, abs=1e-4)
    assert chosen.hard_negative is chosen.knn is chosen.ridge is None


def test_numbers_repeat_with_the_seed_except_times(path):
    def numbers(seed):
        rows = compare(path, REPRESENTATION, seed=seed, samples=40).to_dict()["rows"]
        return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]

    assert numbers(0) == numbers(0)
    assert numbers(0) != numbers(1)


def test_size_is_handed_to_the_chosen_projection(path):
    (chosen,) = (row for row in compare(path, REPRESENTATION, size=40, samples=20).rows if row.chosen)
    assert chosen.features == 40


def test_the_command_prints_and_writes(path, tmp_path, capsys):
    files = [tmp_path / name for name in ("t.json", "t.csv", "p.png")]
    status = command(
        path, "--representation", REPRESENTATION, "--samples", 30,
        "--json", files[0], "--csv", files[1], "--picture", files[2],
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
    monkeypatch.setitem(sys.modules, "rich.console", None)
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
    by_file = compare(tmp_path / "c.npy", REPRESENTATION, tmp_path / "labels.npy", samples=20)
    by_value = compare(tmp_path / "c.npy", REPRESENTATION, labels, samples=20)
    beside = compare(path, REPRESENTATION, samples=20)
    assert [row.knn for row in by_file.rows] == [row.knn for row in by_value.rows] == [row.knn for row in beside.rows]


def test_class_names_and_float_targets(latents, tmp_path):
    z, labels = latents
    np.savez(tmp_path / "names.npz", z=z.numpy(), y=np.array(["cat", "dog", "elk"])[labels.numpy()])
    assert torch.equal(load_latents(tmp_path / "names.npz")[1], labels)
    found = compare(tmp_path / "names.npz", REPRESENTATION, z.square().sum(1), samples=20)
    assert all(row.ridge is not None and row.ridge <= 1 for row in found.rows)


def test_the_plain_table_lines_up(path):
    lines = text_table(compare(path, REPRESENTATION, samples=20)).splitlines()
    starts = {line.index("invariant under") for line in lines if " invariant under " in line}
    assert len(starts) == 1


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("none.npz", lambda p: None, "found none at"),
        ("z.txt", lambda p: p.write_text("1 2"), "Expected a .npz, .npy or .safetensors"),
        ("z.npz", lambda p: p.write_bytes(b"PK\x03\x04 damaged"), "reading failed"),
        ("z.npy", lambda p: p.write_bytes(b""), "reading failed"),
        ("z.safetensors", lambda p: p.write_bytes(b"damaged"), "reading failed"),
        ("o.npz", lambda p: np.savez(p, latents=np.array([{}], dtype=object), allow_pickle=True), "reading failed"),
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
        compare(tmp_path / name, REPRESENTATION)


def test_bad_representations_are_explained(path):
    with pytest.raises(ParseError, match="did you mean 'regular'"):
        compare(path, "C4: 3 reglar")
    with pytest.raises(GroupError, match="samples only"):
        compare(path, "Sampled: 12 trivial")


def test_equal_latents_are_measured_without_nan(tmp_path):
    np.save(tmp_path / "same.npy", np.ones((20, 12), dtype=np.float32))
    found = compare(tmp_path / "same.npy", REPRESENTATION)
    json.dumps(found.to_dict(), allow_nan=False)
    assert all(row.spearman is None for row in found.rows)
