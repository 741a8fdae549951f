"""Whatever goes wrong is one escaped line on the standard error, and the exit status 2."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lightning_invariant.cli import main
from tests.hub.loopback import Handler, Hub
from tests.hub.small_encoder import MEASURED, export, images

EVIL = "\x1b]0;owned\x07\x1b[2J\u202e"
CONTROLS = set("\x1b\x07\u202e")


def said(capsys: pytest.CaptureFixture[str], *arguments: Any) -> str:
    """The one line of a command that fails."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 2
    shown = capsys.readouterr().err
    lines = [line for line in shown.splitlines() if not line.endswith("...")]
    assert len(lines) == 1, shown
    assert lines[0].startswith("lightning-invariant: Expected")
    assert lines[0].isprintable()
    return lines[0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    export(tmp_path / "folder")
    return tmp_path / "folder"


def test_the_hub(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setenv("LIGHTNING_INVARIANT_QUEUE", str(tmp_path / "queue"))
    np.save(tmp_path / "x.npy", images(4).numpy())
    with Hub() as hub:
        hub.serve(monkeypatch, tmp_path / "home")
        for command in (["inspect"], ["pull"], ["embed"], ["verify"]):
            more = {"embed": [tmp_path / "x.npy", "-o", tmp_path / "y.npy"], "verify": ["--data", tmp_path / "x.npy"]}
            assert "404" in said(capsys, *command, "tester/nothing", *more.get(command[0], []))
    assert "tester/nothing" in said(capsys, "inspect", "tester/nothing")
    assert "tester/nothing" not in said(capsys, "inspect", "tester/other", "--offline")


def test_text_of_a_hub_never_reaches_the_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    send = Handler._send

    def evil(self: Handler, status: int, answer: Any, kind: str = "") -> None:
        headers = {**answer.headers, "X-Error-Message": ascii(EVIL), "X-Error-Code": "RepoNotFound"}
        body = json.dumps({"error": EVIL}).encode()
        send(self, 404, dataclasses.replace(answer, headers=headers, body=body), kind)

    with Hub() as hub:
        hub.serve(monkeypatch, tmp_path / "home")
        monkeypatch.setattr(Handler, "_send", evil)
        for command in ("inspect", "pull"):
            assert not set(said(capsys, command, "tester/x")) & CONTROLS
    assert not set(said(capsys, "inspect", f"tester/{EVIL}")) & CONTROLS
    assert not set(said(capsys, "inspect", EVIL)) & CONTROLS


def test_files_and_devices(tmp_path: Path, folder: Path, capsys) -> None:
    (tmp_path / "damaged.npz").write_bytes(b"PK\x03\x04 damaged")
    np.save(tmp_path / "number.npy", np.float32(3))
    np.save(tmp_path / "x.npy", images(4).numpy())
    for name in ("damaged.npz", "number.npy", "none.npy"):
        assert name in said(capsys, "verify", folder, "--data", tmp_path / name)
        assert name in said(capsys, "embed", folder, tmp_path / name, "-o", tmp_path / "y.npy")
        assert name in said(capsys, "compare", tmp_path / name, "--representation", "C4: 2 regular")
    assert "'frog'" in said(capsys, "embed", folder, tmp_path / "x.npy", "-o", tmp_path / "y.npy", "--device", "frog")
    assert "replaced" in said(capsys, "embed", folder, tmp_path / "x.npy", "-o", tmp_path / "x.npy")


@pytest.mark.parametrize(
    "more", [["--batch-size", "0"], ["--processes", "0"], ["--workers", "-1"], ["--batch-size", "1e3"]]
)
def test_numbers_out_of_their_range(more: list[str], folder: Path, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["embed", str(folder), "x.npy", "-o", "y.npy", *more])
    assert ended.value.code == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert f"argument {more[0]}: " in said
    assert more[1] in said


def test_bundled_encoders_have_no_revisions(capsys) -> None:
    assert "no revision and no subfolder" in said(capsys, "inspect", "digits-c4", "--revision", "main")
    assert "no revision and no subfolder" in said(capsys, "inspect", "digits-c4", "--subfolder", "small")
    assert "load without a download" in said(capsys, "pull", "digits-c4")
    assert main(["inspect", "digits-c4"]) == 0


def test_verify_says_why_it_cannot_measure(tmp_path: Path, folder: Path, capsys) -> None:
    same = np.repeat(images(1).numpy(), 30, axis=0)
    broken = images(30).numpy()
    broken[4, 0, 0] = np.nan
    for name, x, words in (("same", same, "all are the same"), ("nan", broken, "NaN"), ("one", same[:1], "at least 2")):
        np.save(tmp_path / f"{name}.npy", x)
        assert words in said(capsys, "verify", folder, "--data", tmp_path / f"{name}.npy")


def test_verify_alone_answers_one(tmp_path: Path, capsys) -> None:
    export(tmp_path / "folder", numbers=MEASURED | {"invariant/error": 1e-9})
    np.save(tmp_path / "x.npy", images(40).numpy())
    assert main(["verify", str(tmp_path / "folder"), "--data", str(tmp_path / "x.npy"), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["holds"] is False


def test_embed_of_what_is_no_number_says_so(tmp_path: Path, folder: Path, capsys) -> None:
    x = images(6).numpy()
    x[2] = np.inf
    np.save(tmp_path / "x.npy", x)
    assert main(["embed", str(folder), str(tmp_path / "x.npy"), "-o", str(tmp_path / "y.npy")]) == 0
    assert "1 of 6 rows of features are NaN or infinite, row 2 first" in capsys.readouterr().err


def test_one_reader_knows_the_labels_of_all_commands(tmp_path: Path, folder: Path, capsys) -> None:
    x, y = images(40), np.arange(40) % 2
    with torch.no_grad():
        from lightning_invariant.encoder import InvariantEncoder

        z = InvariantEncoder.from_pretrained(folder).latent(x).numpy()
    for key in ("label", "labels", "y", "target", "targets", "classes"):
        np.savez(tmp_path / "x.npz", x=x.numpy(), **{key: y})
        np.savez(tmp_path / "z.npz", z=z, **{key: y})
        main(["embed", str(folder), str(tmp_path / "x.npz"), "-o", str(tmp_path / "f.npz")])
        with np.load(tmp_path / "f.npz") as found:
            assert np.array_equal(found["labels"], y)
        from lightning_invariant.cli.latents import load_latents

        labels = load_latents(tmp_path / "z.npz")[1]
        assert labels is not None
        assert np.array_equal(labels.numpy(), y)


def test_a_traceback_is_there_for_who_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr("lightning_invariant.cli.list.run", lambda args: 1 / 0)
    monkeypatch.setattr("lightning_invariant.hub.download.bundled_names", lambda: 1 / 0)
    assert "ZeroDivisionError" in said(capsys, "inspect", "nothing")
    monkeypatch.setenv("LIGHTNING_INVARIANT_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        main(["inspect", "nothing"])
