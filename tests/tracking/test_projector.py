import json
import os
import random

import numpy as np
import pytest
import torch
from google.protobuf import text_format
from PIL import Image
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig
from torch.utils.tensorboard import SummaryWriter

from lightning_invariant.errors import InvariantError
from lightning_invariant.tracking import projector, projector_files
from lightning_invariant.tracking.projector import write_projector
from lightning_invariant.tracking.projector_config import CONFIG, ROOT


def points(count=20, size=5, seed=0):
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed))


def names(run):
    config = text_format.Parse((run / CONFIG).read_text(), ProjectorConfig())
    return [entry.tensor_name for entry in config.embeddings]


def folders(run, tag):
    return sorted(int(folder.name) for folder in (run / ROOT / tag).iterdir())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64])
def test_server_reads_back_the_very_bytes(tmp_path, serve, dtype):
    z = (points() * 10).to(dtype)
    written = write_projector(tmp_path, "raw", 7, z, labels=list("abcdefghijklmnopqrst"))
    assert written.points == 20
    assert written.dropped == 0
    assert (written.folder / "tensors.bytes").stat().st_size == 20 * 5 * 4
    server = serve(tmp_path)
    assert server.runs() == ["."]
    assert server.tensor("raw, newest: step 7").tobytes() == z.float().numpy().tobytes()
    assert server.labels("raw, newest: step 7") == list("abcdefghijklmnopqrst")
    assert not np.array_equal(server.tensor("raw, newest: step 7"), points(seed=1).numpy())


@pytest.mark.parametrize("value", [0.0, 2.0, 1.4e-45])
def test_points_that_read_as_text_fall_back_to_a_table(tmp_path, serve, value):
    z = torch.full((6, 4), value)
    written = write_projector(tmp_path, "raw", 0, z)
    assert not (written.folder / "tensors.bytes").exists()
    assert np.array_equal(serve(tmp_path).tensor("raw, newest: step 0"), z.numpy())


def test_without_the_fallback_the_server_fails(tmp_path, serve, monkeypatch):
    monkeypatch.setattr(projector_files, "_reads_as_bytes", lambda raw: True)
    write_projector(tmp_path, "raw", 0, torch.zeros(6, 4))
    with pytest.raises(ValueError, match="could not convert"):
        serve(tmp_path).tensor("raw, newest: step 0")


def test_a_line_break_before_the_first_invalid_byte_falls_back_too(tmp_path, serve):
    # "\n" as the first byte and no other text: a reader that decodes line by line takes the first line for text.
    z = torch.from_numpy(
        np.frombuffer(b"ab\ncab\xff\xff\xff" + b"\x01\x80\x80\x3f" * 3, dtype="<f4", count=5)[:1].copy()
    )
    z = torch.cat([z, torch.full((3,), -1.5)]).view(2, 2)
    written = write_projector(tmp_path, "raw", 0, z)
    assert (written.folder / "tensors.tsv").exists()
    assert np.array_equal(serve(tmp_path).tensor("raw, newest: step 0"), z.numpy())


@pytest.mark.parametrize("label", ["two\nlines", "a\tb", "c\r\nd", "", "  ", "\u2028", "\ufeff", "\ud800"])
def test_no_label_moves_the_others(tmp_path, serve, label):
    write_projector(tmp_path, "raw", 0, points(4), labels=["first", label, "third", "fourth"])
    lines = serve(tmp_path).get("/metadata", run=".", name="raw, newest: step 0").decode().split("\n")
    assert [lines[0], *lines[2:]] == ["first", "third", "fourth", ""]
    assert lines[1].strip()
    assert "\t" not in lines[1]


def test_several_columns_have_a_header(tmp_path, serve):
    labels = {"digit\n": torch.tensor([3, 1, 2]), "angle": np.array([0.1, 1 / 3, 2.0]), "name": ["a", "", "c"]}
    write_projector(tmp_path, "raw", 0, points(3), labels=labels)
    expected = ["digit\\n\tangle\tname", "3\t0.1\ta", "1\t0.333333\t(empty)", "2\t2\tc"]
    assert serve(tmp_path).labels("raw, newest: step 0") == expected


def test_points_with_labels_have_a_bookmark_that_colours_them(tmp_path, serve):
    labels = {"name": [f"word {i}" for i in range(60)], "digit": [i % 10 for i in range(60)]}
    write_projector(tmp_path, "raw", 0, points(60), labels=labels)
    write_projector(tmp_path, "raw", 1, points(50, 2), labels={"digit": labels["digit"][:50]})
    write_projector(tmp_path, "words", 0, points(60), labels=labels["name"])
    write_projector(tmp_path, "bare", 0, points())
    server = serve(tmp_path)
    told = {}
    for name, entry in server.embeddings().items():
        if "bookmarksPath" in entry:
            (told[name],) = json.loads(server.get("/bookmarks", run=".", name=name))
    assert {name: state["selectedColorOptionName"] for name, state in told.items()} == {
        "raw, newest: step 1": "label",
        "raw, older 1: step 0": "digit",  # a view of 50 of its points
    }
    assert [state["pcaComponentDimensions"] for state in told.values()] == [[0, 1], [0, 1, 2]]
    assert max(path.stat().st_size for path in tmp_path.rglob("bookmarks.json")) < 1000


def test_rows_that_are_not_finite_are_left_out_with_label_and_picture(tmp_path, serve):
    z = points(6).double()
    z[1, 2], z[4, 0] = float("nan"), 1e300  # infinite in float32
    pictures = torch.arange(6, dtype=torch.uint8).mul(40).view(6, 1, 1, 1).expand(6, 1, 2, 2)
    written = write_projector(tmp_path, "raw", 0, z, labels=range(6), thumbnails=pictures)
    assert (written.points, written.dropped) == (4, 2)
    server = serve(tmp_path)
    assert np.array_equal(server.tensor("raw, newest: step 0"), z[[0, 2, 3, 5]].float().numpy())
    assert server.labels("raw, newest: step 0") == ["0", "2", "3", "5"]
    assert np.asarray(Image.open(written.folder / "sprite.png"))[::2, ::2].tolist() == [[0, 80], [120, 200]]


def test_too_few_finite_rows_are_refused_and_nothing_is_left(tmp_path):
    with pytest.raises(ValueError, match="at least 2 finite rows of 'raw' but got 1 of 3"):
        write_projector(tmp_path, "raw", 0, torch.tensor([[1.0], [float("nan")], [float("inf")]]))
    assert list(tmp_path.iterdir()) == []


def test_one_column_gets_a_second(tmp_path, serve):
    write_projector(tmp_path, "raw", 0, points(5, 1))
    assert np.array_equal(serve(tmp_path).tensor("raw, newest: step 0"), np.pad(points(5, 1).numpy(), ((0, 0), (0, 1))))


def test_more_rows_than_asked_are_thinned_alike_for_every_tag(tmp_path, serve):
    z = points(500)
    for tag in ("raw", "invariant"):
        write_projector(tmp_path, tag, 0, z, labels=range(500), max_points=50)
    server = serve(tmp_path)
    rows = [int(label) for label in server.labels("raw, newest: step 0")]
    assert len(rows) == 50
    assert server.labels("invariant, newest: step 0") == server.labels("raw, newest: step 0")
    assert np.array_equal(server.tensor("raw, newest: step 0"), z[rows].numpy())


def test_sprites_of_large_pictures_stay_below_the_limit(tmp_path, serve):
    pictures = torch.zeros(1, 3, 300, 300, dtype=torch.uint8).expand(1000, 3, 300, 300)
    written = write_projector(tmp_path, "raw", 0, points(1000), thumbnails=pictures)
    sheet = Image.open(written.folder / "sprite.png")
    assert 32 * 300 > 8192 >= max(sheet.size)
    assert sheet.size == (32 * 64, 32 * 64)
    assert serve(tmp_path).embeddings()["raw, newest: step 0"]["sprite"]["singleImageDim"] == [64, 64]


def test_resumed_run_keeps_what_was_there(tmp_path, serve):
    for step in (0, 10):
        write_projector(tmp_path, "raw", step, points(seed=step))
    write_projector(tmp_path, "invariant", 10, points(seed=3))
    assert names(tmp_path) == ["invariant, newest: step 10", "raw, newest: step 10", "raw, older 1: step 0"]
    write_projector(tmp_path, "raw", 10, points(9, seed=4))  # the same step again, after a crash
    assert names(tmp_path) == ["invariant, newest: step 10", "raw, newest: step 10", "raw, older 1: step 0"]
    assert serve(tmp_path).tensor("raw, newest: step 10").shape == (9, 5)


def test_torch_alone_loses_entries_on_resume(tmp_path):
    """Why this writer exists: should torch ever mend it, this test says so."""
    for step in (0, 10):
        writer = SummaryWriter(str(tmp_path))
        writer.add_embedding(points(), tag="torch", global_step=step)
        writer.close()
    assert names(tmp_path) == ["torch:00010"]


def test_last_steps_of_each_tag_are_kept(tmp_path):
    for step in range(0, 50, 10):
        write_projector(tmp_path, "raw", step, points(), keep_last=2)
    write_projector(tmp_path, "invariant", 0, points(), keep_last=2)
    assert folders(tmp_path, "raw") == [30, 40]
    assert folders(tmp_path, "invariant") == [0]
    assert names(tmp_path) == ["invariant, newest: step 0", "raw, newest: step 40", "raw, older 1: step 30"]


def test_an_older_step_shows_no_more_points_than_the_newest_and_keeps_the_others(tmp_path, serve):
    z = points(90)
    pictures = torch.arange(90, dtype=torch.uint8)[:, None, None, None].expand(90, 3, 4, 6)
    labels = {"row": range(90), "word": ["a\nb"] * 90}
    write_projector(tmp_path, "raw", 0, z, labels=labels, thumbnails=pictures)
    write_projector(tmp_path, "raw", 10, z[:30], labels={"row": range(30), "word": ["c"] * 30})
    server, name = serve(tmp_path), "raw, older 1: step 0"
    header, *lines = server.labels(name)
    rows = [int(line.split("\t")[0]) for line in lines]
    assert (header, len(rows), len(set(rows))) == ("row\tword", 30, 30)
    assert np.array_equal(server.tensor(name), z[rows].numpy())
    sheet = np.asarray(Image.open(tmp_path / server.embeddings()[name]["sprite"]["imagePath"]))
    assert sheet[::4, ::6, 0].flatten()[:30].tolist() == rows
    write_projector(tmp_path, "raw", 20, z, labels=labels)  # the whole is shown again, and the view is gone
    assert [entry["tensorShape"] for entry in serve(tmp_path).embeddings().values()] == [[90, 5], [30, 5], [90, 5]]
    assert not list(tmp_path.rglob("*view*"))


def test_views_of_points_that_read_as_text_are_tables_too(tmp_path, serve):
    z = torch.zeros(40, 3)
    z[39] = -1.5  # beyond the rows of the view: the whole is raw bytes, the view cannot be
    write_projector(tmp_path, "raw", 0, z.flip(0))
    write_projector(tmp_path, "raw", 1, points(12))
    assert serve(tmp_path).tensor("raw, older 1: step 0").shape == (12, 3)


def test_ages_of_many_steps_are_in_the_order_of_their_names(tmp_path):
    for step in range(12):
        write_projector(tmp_path, "raw", step, points(), keep_last=11)
    shown = names(tmp_path)
    assert shown == sorted(shown)
    assert [int(name.rpartition(" ")[2]) for name in shown] == list(range(11, 0, -1))


def test_a_run_resumed_from_an_earlier_step_keeps_its_new_points(tmp_path):
    for stamp, step in enumerate((100, 200, 300, 150)):
        written = write_projector(tmp_path, "raw", step, points(), keep_last=3)
        os.utime(written.folder / "entry.pbtxt", ns=(stamp, stamp))
    assert folders(tmp_path, "raw") == [150, 200, 300]
    write_projector(tmp_path, "raw", 160, points(), keep_last=2)
    assert folders(tmp_path, "raw") == [150, 160]


def test_entries_and_folders_of_other_writers_are_kept(tmp_path, serve):
    writer = SummaryWriter(str(tmp_path))
    writer.add_embedding(points(seed=1), tag="mine", global_step=0, metadata=list(range(20)))
    before = {path: path.read_bytes() for path in (tmp_path / "00000").rglob("*") if path.is_file()}
    for step in range(4):
        write_projector(tmp_path, "raw", step, points(), keep_last=1)
    assert names(tmp_path) == ["mine:00000", "raw, newest: step 3"]
    assert before == {path: path.read_bytes() for path in (tmp_path / "00000").rglob("*") if path.is_file()}
    assert np.allclose(serve(tmp_path).tensor("mine:00000"), points(seed=1).numpy())
    # torch overwrites the config with its own entries; the next write brings ours back.
    writer.add_embedding(points(seed=2), tag="mine", global_step=1)
    writer.close()
    assert names(tmp_path) == ["mine:00000", "mine:00001"]
    write_projector(tmp_path, "invariant", 9, points())
    assert names(tmp_path) == ["mine:00000", "mine:00001", "invariant, newest: step 9", "raw, newest: step 3"]


def test_a_checkpoint_named_by_another_writer_is_kept(tmp_path):
    (tmp_path / CONFIG).write_text('model_checkpoint_path: "model.ckpt"\nembeddings { tensor_name: "weights" }')
    for step in (0, 1):
        write_projector(tmp_path, "raw", step, points(), keep_last=1)
    assert 'model_checkpoint_path: "model.ckpt"' in (tmp_path / CONFIG).read_text()
    assert names(tmp_path) == ["weights", "raw, newest: step 1"]


def test_the_config_never_names_a_missing_file_when_the_process_dies(tmp_path, serve, monkeypatch):
    write_projector(tmp_path, "raw", 0, points())
    for name in ("write_tensor", "metadata_table", "outdated", "write_config"):
        with monkeypatch.context() as patch:
            patch.setattr(projector, name, _die)
            with pytest.raises(KeyboardInterrupt):
                write_projector(tmp_path, "raw", 1, points(), labels=range(20), keep_last=1)
        assert serve(tmp_path).tensor("raw, newest: step 0").shape == (20, 5)
    write_projector(tmp_path, "raw", 2, points(), keep_last=1)
    assert folders(tmp_path, "raw") == [2]
    assert names(tmp_path) == ["raw, newest: step 2"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [ROOT, CONFIG]


def test_replaced_points_are_never_served_in_the_shape_of_the_old(tmp_path, serve, monkeypatch):
    write_projector(tmp_path, "raw", 0, points())
    write_projector(tmp_path, "raw", 1, points())
    with monkeypatch.context() as patch:
        patch.setattr(projector, "outdated", _die)
        with pytest.raises(KeyboardInterrupt):
            write_projector(tmp_path, "raw", 1, points(9, 7))
    assert set(serve(tmp_path).embeddings()) == {"raw, newest: step 0"}
    write_projector(tmp_path, "invariant", 1, points())
    assert serve(tmp_path).tensor("raw, newest: step 1").shape == (9, 7)


def _die(*_, **__):
    raise KeyboardInterrupt


@pytest.mark.parametrize("tag", ["val/raw", "..", "a b", "ä:0", "x\ny", 'q"', "%2E", "."])
def test_any_tag_stays_inside_the_folder_and_is_served(tmp_path, serve, tag):
    written = write_projector(tmp_path, tag, 0, points())
    assert written.folder.resolve().parent.parent == (tmp_path / ROOT).resolve()
    assert np.array_equal(serve(tmp_path).tensor(f"{tag}, newest: step 0"), points().numpy())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": torch.zeros(4)}, "of shape"),
        ({"points": torch.zeros(4, 0)}, "of shape"),
        ({"points": torch.zeros(4, 2, dtype=torch.complex64)}, "real points"),
        ({"labels": [1, 2, 3]}, "Expected 4 of 'label'"),
        ({"labels": {"digit": [1]}}, "Expected 4 of 'digit'"),
        ({"labels": {}}, "empty mapping"),
        ({"thumbnails": torch.zeros(3, 1, 2, 2)}, "Expected 4 of 'thumbnails'"),
        ({"step": -1}, "step >= 0"),
        ({"tag": ""}, "Expected a tag"),
        ({"tag": "x" * 300}, "at most 200"),
        ({"keep_last": 0}, "keep_last >= 1"),
        ({"max_points": 1}, "max_points >= 2"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_written(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        write_projector(**{"log_dir": tmp_path, "tag": "raw", "step": 0, "points": torch.randn(4, 2), **change})
    assert list(tmp_path.iterdir()) == []


def test_a_remote_folder_is_refused():
    with pytest.raises(InvariantError, match="local folder"):
        write_projector("s3://bucket/run", "raw", 0, points())


def test_a_broken_config_is_reported_and_not_overwritten(tmp_path):
    (tmp_path / CONFIG).write_text("embeddings {")
    with pytest.raises(InvariantError, match="move it away"):
        write_projector(tmp_path, "raw", 0, points())
    assert (tmp_path / CONFIG).read_text() == "embeddings {"
    assert [path.name for path in tmp_path.iterdir()] == [CONFIG]  # no folders that nobody would ever remove


def test_global_random_states_are_untouched(tmp_path):
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    write_projector(tmp_path, "raw", 0, points(100), thumbnails=torch.zeros(100, 1, 4, 4), max_points=10)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.random.get_state()[1].tolist() == states[1]
    assert random.getstate() == states[2]
