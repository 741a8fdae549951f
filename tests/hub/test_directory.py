"""A folder that is replaced as a whole, or not at all."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lightning_invariant.artifact import directory
from lightning_invariant.artifact.directory import STALE, STALE_AFTER, check_replaceable, replace_directory
from lightning_invariant.errors import ArtifactError

WRITER = """
import itertools, pathlib, sys, types
import lightning_invariant
room = types.ModuleType("lightning_invariant.hub")  # the room without its __init__, which imports torch
room.__path__ = [str(pathlib.Path(lightning_invariant.__file__).parent / "hub")]
sys.modules[room.__name__] = room
from lightning_invariant.artifact import directory
if sys.argv[2] == "renames":
    directory._exchange = lambda one, other: False
for turn in itertools.count():
    def fill(fresh):
        for name in "abc":
            (fresh / name).write_text(f"{turn:06d}" * 2000)
    if sys.argv[2] == "in place":
        fill(pathlib.Path(sys.argv[1]))
        print(turn, flush=True)
        continue
    directory.replace_directory(sys.argv[1], fill, keep=lambda name: name not in "abc")
    print(turn, flush=True)
"""


def write(target: Path, text: str, *names: str) -> None:
    def fill(fresh: Path) -> None:
        for name in names or ("a", "b"):
            (fresh / name).write_text(text)

    replace_directory(target, fill, keep=lambda name: name not in ("a", "b"))


def content(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name.startswith(STALE)]


@pytest.fixture(params=["exchange", "renames"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "renames":
        monkeypatch.setattr(directory, "_exchange", lambda one, other: False)
    return request.param


def test_new_folder_and_replacement(tmp_path: Path, way: str) -> None:
    target = tmp_path / "new" / "folder"
    write(target, "1")
    assert content(target) == {"a": "1", "b": "1"}
    write(target, "2", "a")
    assert content(target) == {"a": "2"}, "an old file of ours stayed"
    assert leftovers(target.parent) == []


def test_the_exchange_of_the_system_is_used(tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("checked on Linux")
    (tmp_path / "x").mkdir()
    (tmp_path / "y").mkdir()
    (tmp_path / "x" / "here").touch()
    assert directory._exchange(tmp_path / "x", tmp_path / "y")
    assert (tmp_path / "y" / "here").exists()
    assert not directory._exchange(tmp_path / "x", tmp_path / "nothing")


def test_files_of_the_user_survive(tmp_path: Path, way: str) -> None:
    target = tmp_path / "folder"
    write(target, "1")
    (target / "notes.txt").write_text("mine")
    (target / "runs" / "deep").mkdir(parents=True)
    (target / "runs" / "deep" / "events").write_text("mine too")
    (target / "runs" / "empty").mkdir()
    (target / "link").symlink_to("notes.txt")
    (target / "dangling").symlink_to("nowhere")
    (target / "notes.txt").chmod(0o444)
    with (target / "log").open("a") as log:
        write(target, "2")
        log.write("still appended")
    assert (target / "a").read_text() == "2"
    assert (target / "notes.txt").read_text() == "mine"
    assert (target / "runs" / "deep" / "events").read_text() == "mine too"
    assert (target / "runs" / "empty").is_dir()
    assert os.readlink(target / "link") == "notes.txt"
    assert os.readlink(target / "dangling") == "nowhere"
    assert (target / "log").read_text() == "still appended"
    assert leftovers(tmp_path) == []


def test_files_are_copied_where_links_are_not_to_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **settings: object) -> None:
        raise OSError("no links here")

    write(tmp_path / "folder", "1")
    (tmp_path / "folder" / "notes").write_text("mine")
    monkeypatch.setattr(os, "link", refuse)
    write(tmp_path / "folder", "2")
    assert content(tmp_path / "folder") == {"a": "2", "b": "2", "notes": "mine"}


def test_a_writer_that_fails_leaves_the_old_folder(tmp_path: Path) -> None:
    target = tmp_path / "folder"

    def fill(fresh: Path) -> None:
        (fresh / "a").write_text("2")
        raise failure

    for failure in (OSError(28, "No space left on device"), ValueError("other"), KeyboardInterrupt()):
        expected = ArtifactError if isinstance(failure, OSError) else type(failure)
        with pytest.raises(expected):
            replace_directory(target, fill, keep=lambda name: False)
        assert not target.exists()
    write(target, "1")
    failure = OSError(28, "No space left on device")
    with pytest.raises(ArtifactError, match=r"No space left.*the old content is unchanged"):
        replace_directory(target, fill, keep=lambda name: False)
    assert content(target) == {"a": "1", "b": "1"}
    assert leftovers(tmp_path) == []


def test_a_second_rename_that_fails_brings_the_old_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, rename = tmp_path / "folder", os.rename
    write(target, "1")

    def failing(source: Path, destination: Path) -> None:
        if Path(source).name == "new":
            raise OSError("not today")
        rename(source, destination)

    monkeypatch.setattr(directory, "_exchange", lambda one, other: False)
    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(ArtifactError, match="not today"):
        write(target, "2")
    assert content(target) == {"a": "1", "b": "1"}


def test_permissions_are_those_of_the_user(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    write(tmp_path / "folder", "1")
    assert (tmp_path / "folder").stat().st_mode == (tmp_path / "plain").stat().st_mode
    (tmp_path / "folder").chmod(0o750)
    write(tmp_path / "folder", "2")
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o750


def test_a_symbolic_link_stays_one(tmp_path: Path) -> None:
    write(tmp_path / "real", "1")
    (tmp_path / "link").symlink_to("real")
    write(tmp_path / "link", "2")
    assert (tmp_path / "link").is_symlink()
    assert content(tmp_path / "real") == {"a": "2", "b": "2"}


def test_remains_of_killed_writers_are_removed_when_they_are_old(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    old, young, foreign = (
        tmp_path / f"{STALE}{name}" for name in ("folder-abcdefgh", "folder-12345678", "other-abcdefgh")
    )
    for path in (old, young, foreign):
        (path / "new").mkdir(parents=True)
    for path in (old, foreign):
        os.utime(path, (0, time.time() - STALE_AFTER - 60))
    write(target, "1")
    assert leftovers(tmp_path) == [path for path in leftovers(tmp_path) if path in (young, foreign)]
    assert not old.exists()
    assert young.exists()
    assert foreign.exists()


def test_the_next_writer_brings_back_what_was_put_aside(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    write(target, "1")
    (target / "notes").write_text("mine")
    staging = tmp_path / f"{STALE}folder-abcdefgh"
    staging.mkdir()
    target.rename(staging / "old")
    write(target, "2")
    assert content(target) == {"a": "2", "b": "2", "notes": "mine"}


def test_targets_that_can_be_replaced(tmp_path: Path) -> None:
    assert check_replaceable(tmp_path / "new" / "folder") == []
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    assert check_replaceable(tmp_path / "full") == ["x"]
    assert [path.name for path in tmp_path.iterdir()] == ["full"], "something was left behind"


def test_targets_that_cannot_be_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("nowhere/at/all")
    (tmp_path / "work" / "inner").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work" / "inner")
    for target, reason in [
        (tmp_path / "file", "is something else"),
        (tmp_path / "file" / "folder", "Not a directory"),
        (tmp_path / "file" / "deep" / "folder", "Not a directory"),
        (tmp_path / ("n" * 250), "File name too long"),
        ("a\0b", "null"),
        (".", "holds the working directory"),
        (tmp_path / "work", "holds the working directory"),
        ("/", "mount point"),
    ]:
        with pytest.raises(ArtifactError, match=rf"(?s){reason}.*choose"):
            check_replaceable(target)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dangling", "file", "work"]


@pytest.mark.skipif(sys.platform != "linux", reason="a file system that nobody can write to")
@pytest.mark.parametrize("place", ["/proc", "/proc/self/fd"])
def test_a_place_where_even_the_superuser_cannot_write(place: str) -> None:
    assert os.access(place, os.F_OK)
    with pytest.raises(ArtifactError, match="Expected a folder that can be written but got /proc"):
        check_replaceable(f"{place}/folder")
    with pytest.raises(ArtifactError, match="Expected a folder that can be written but got /proc"):
        write(Path(place) / "folder", "1")


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="permission bits do not bind the superuser")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ArtifactError, match="Permission denied"):
        check_replaceable(tmp_path / "folder")


def kill(target: Path, way: str, turns: int) -> int:
    """Kill a writer at random moments; returns how many different versions were seen."""
    moments, seen = random.Random(0), set()
    for _ in range(turns):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, target, way], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        for _ in range(moments.randrange(1, 6)):
            writer.stdout.readline()
        time.sleep(moments.random() * 0.02)
        writer.kill()
        writer.wait()
        writer.stdout.close()
        if not target.exists():
            assert way == "renames", "the folder was gone for a moment"
            directory._clean_up(target)
        found = content(target)
        assert found.pop("notes") == "mine"
        assert sorted(found) == ["a", "b", "c"]
        assert len(set(found.values())) == 1, "files of two versions"
        assert len(found["a"]) == 12_000, "half a file"
        seen.add(found["a"])
        for staging in leftovers(target.parent):
            shutil.rmtree(staging)
    return len(seen)


@pytest.mark.parametrize(("way", "turns"), [("exchange", 20), pytest.param("exchange", 100, marks=pytest.mark.slow)])
def test_a_killed_writer_leaves_the_old_or_the_new_folder(tmp_path: Path, way: str, turns: int) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    (target / "notes").write_text("mine")
    assert kill(target, way, turns) > 3


def test_a_killed_writer_in_place_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes").write_text("mine")
    with pytest.raises(AssertionError, match=r"files of two versions|half a file"):
        kill(tmp_path / "folder", "in place", 100)


@pytest.mark.slow
def test_a_killed_writer_without_an_exchange_loses_nothing(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    (target / "notes").write_text("mine")
    assert kill(target, "renames", 100) > 3
