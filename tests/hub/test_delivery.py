"""From a queue to the Hub on loopback, with the genuine client: what arrives, what stays, what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lightning_invariant.encoder import export_encoder
from lightning_invariant.encoder.parity_check import check_parity, write_parity
from lightning_invariant.errors import HubError
from lightning_invariant.hub import worker as delivery
from lightning_invariant.hub.queue import ENCODER, ENTRY, PARITY, Queue
from lightning_invariant.hub.target import Target
from tests.hub.loopback import Fault, Hub
from tests.hub.small_encoder import MEASURED, export, grouped, images, network, projection

NAME = "tester/digits"
ROOT = Path(__file__).parents[2]


def add(queue: Queue, seed: int = 0, target: Target | None = None, run: str = "r", **settings: Any):
    """An entry with proof, as a training makes it."""

    def fill(fresh: Path) -> None:
        live, x = network(seed), images(3)
        export_encoder(
            fresh / ENCODER, live, projection(), x, **grouped(**{"numbers": MEASURED, "name": "digits"} | settings)
        )
        write_parity(fresh / PARITY, live, projection(), [x], [images(3, seed=7)])

    return queue.add(target or Target(NAME), fill, message=f"Export {seed}", run=run)


def deliver(hub: Hub, queue: Queue, home: Path, repo: str = NAME, token: str = "hf_loopback") -> list[dict]:
    """What a delivery in this process says."""
    with pytest.MonkeyPatch.context() as patch:
        hub.serve(patch, home, token)
        return [asdict(outcome) for outcome in delivery.empty_queue(queue, check_parity, only=repo)]


def deliver_beside(hub: Hub, queue: Queue, home: Path) -> list[dict]:
    """What the process beside a training says."""
    command = [sys.executable, "-m", delivery.PROCESS, str(queue.folder), NAME]
    environment = os.environ | hub.environment(home) | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def states(outcomes: list[dict]) -> list[str]:
    return [outcome["state"] for outcome in outcomes]


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    return Queue(tmp_path / "queue")


@pytest.mark.parametrize("profile", ["lfs", "regular"])
def test_one_atomic_commit_that_keeps_what_is_not_ours(tmp_path: Path, queue: Queue, profile: Any) -> None:
    with Hub(profile=profile) as hub:
        add(queue, figure=b"picture")
        assert states(deliver_beside(hub, queue, tmp_path / "home")) == ["published"]
        repository = hub.repositories[NAME]
        first = dict(repository.commits[repository.branches["main"]])
        assert {"config.json", "model.safetensors", "embeddings.png", ".gitattributes"} < set(first)
        assert f'from_pretrained("{NAME}")' in first["README.md"].decode()
        assert PARITY not in first
        assert ENTRY not in first
        mine = {"notes.md": b"mine", "README.md": first["README.md"] + b"\n## Mine\n"}
        repository.commit({**first, **mine})
        count = len(repository.commits)
        add(queue, 1)
        assert states(deliver(hub, queue, tmp_path / "home")) == ["published"]
        assert len(repository.commits) == count + 1
        second = repository.commits[repository.branches["main"]]
        assert second["notes.md"] == b"mine"
        assert "## Mine" in second["README.md"].decode()
        assert "embeddings.png" not in second, "a stale file of ours stayed"
        assert repository.messages[-1] == ("main", "Export 1")
        assert queue.entries() == []


def test_the_same_again_is_no_second_commit(tmp_path: Path, queue: Queue) -> None:
    with Hub() as hub:
        for run in ("a", "b"):
            add(queue, run=run)
            assert states(deliver(hub, queue, tmp_path / "home")) == ["published"]
        assert [message for _, message in hub.repositories[NAME].messages] == ["", "Export 0"]


def test_the_newest_of_a_run_is_uploaded_and_those_of_other_runs_in_order(tmp_path: Path, queue: Queue) -> None:
    with Hub() as hub:
        for seed, run in enumerate(["a", "a", "b", "a"]):
            add(queue, seed, run=run)
        found = deliver(hub, queue, tmp_path / "home")
        assert sorted(states(found)) == ["published", "published", "superseded", "superseded"]
        assert [message for _, message in hub.repositories[NAME].messages[1:]] == ["Export 3", "Export 2"]
        assert queue.entries() == []


def test_an_export_that_loads_to_other_features_is_not_uploaded(tmp_path: Path, queue: Queue) -> None:
    with Hub() as hub:
        good, bad = add(queue), add(queue, 1)
        kept = load_file(bad.parity)
        kept["features.2"] = kept["features.2"] + 1
        save_file(kept, bad.parity)
        found = deliver(hub, queue, tmp_path / "home")
        assert [(outcome["state"], outcome["entry"]) for outcome in found] == [
            ("refused", str(bad.folder)),
            ("published", str(good.folder)),
        ]
        assert "a batch of 2" in found[0]["trouble"]
        (left,) = queue.entries()
        assert left.refused
        assert "a batch of 2" in left.trouble
        assert [message for _, message in hub.repositories[NAME].messages[1:]] == ["Export 0"]


def test_another_invariance_error_is_not_uploaded(tmp_path: Path, queue: Queue) -> None:
    with Hub() as hub:
        entry = add(queue)
        kept = load_file(entry.parity)
        kept["features.moved"] = kept["features.3"].clone()
        save_file(kept, entry.parity)
        (found,) = deliver(hub, queue, tmp_path / "home")
        assert found["state"] == "refused"
        assert "invariance error of the live network, 0" in found["trouble"]
        assert NAME not in hub.repositories


def test_a_pull_request_is_opened_once_a_run(tmp_path: Path, queue: Queue) -> None:
    with Hub() as hub:
        target = Target(NAME, create_pr=True)
        for seed, run in enumerate(["a", "a", "b"]):
            add(queue, seed, target, run)
            (found,) = deliver(hub, queue, tmp_path / "home")
            assert found["state"] == "published"
        repository = hub.repositories[NAME]
        assert set(repository.pulls) == {"refs/pr/1", "refs/pr/2"}
        branches = [branch for branch, _ in repository.messages[1:]]
        assert branches == ["refs/pr/1", "refs/pr/1", "refs/pr/2"]
        assert set(repository.commits[repository.branches["main"]]) == {".gitattributes"}


def test_a_branch_of_its_own_and_a_private_repository(tmp_path: Path, queue: Queue) -> None:
    with Hub() as hub:
        add(queue, target=Target("lab/digits", "v2", private=True))
        (found,) = deliver(hub, queue, tmp_path / "home", "lab/digits")
        assert found["state"] == "published"
        repository = hub.repositories["lab/digits"]
        assert repository.private
        assert "config.json" in repository.commits[repository.branches["v2"]]
        assert "config.json" not in repository.commits[repository.branches["main"]]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault("commit", "403"), "may not write there"),
        (Fault("refs", "401"), "does not know this token"),
        (Fault("validate", "404"), "404"),
    ],
)
def test_what_is_refused_stays_and_the_next_push_succeeds(
    tmp_path: Path, queue: Queue, fault: Fault, words: str
) -> None:
    with Hub() as hub:
        hub.faults.plan(fault)
        add(queue)
        (found,) = deliver(hub, queue, tmp_path / "home")
        assert found["state"] == "kept"
        assert words in found["trouble"]
        (left,) = queue.entries()
        assert words in left.trouble
        assert states(deliver(hub, queue, tmp_path / "home")) == ["published"]
        assert queue.entries() == []


def test_a_commit_of_somebody_else_comes_between(tmp_path: Path, queue: Queue) -> None:
    between = []

    def other(method: str, path: str) -> None:
        if "/commit/" in path and not between:
            repository = hub.repositories[NAME]
            tree = repository.commits[repository.branches["main"]]
            between.append(repository.commit({**tree, "theirs.txt": b"theirs"}))

    with Hub(before=other) as hub:
        add(queue)
        assert states(deliver(hub, queue, tmp_path / "home")) == ["published"]
        repository = hub.repositories[NAME]
        assert repository.commits[repository.branches["main"]]["theirs.txt"] == b"theirs"
        assert hub.steps.count("commit") == 2


def test_an_answer_that_is_lost_gives_one_commit(tmp_path: Path, queue: Queue) -> None:
    with Hub() as hub:
        hub.faults.plan(Fault("commit", "drop after"))
        add(queue)
        assert states(deliver(hub, queue, tmp_path / "home")) == ["published"]
        assert [message for _, message in hub.repositories[NAME].messages[1:]] == ["Export 0"]


def test_a_token_that_may_only_read_keeps_everything(tmp_path: Path, queue: Queue) -> None:
    with Hub() as hub:
        add(queue)
        (found,) = deliver(hub, queue, tmp_path / "home", token="hf_reader")
        assert found["state"] == "kept"
        assert "may not write there" in found["trouble"]
        assert len(queue.entries()) == 1


def test_another_process_that_uploads_is_waited_for(tmp_path: Path, queue: Queue) -> None:
    add(queue)
    with queue.lock(Target(NAME)):
        (found,) = delivery.empty_queue(queue, check_parity)
    assert found.state == "kept"
    assert "another process" in found.trouble


def test_a_proof_that_holds_is_not_changed_by_the_number_of_rows(tmp_path: Path) -> None:
    live = network()
    write_parity(tmp_path / "proof", live, projection(), [images(2)])
    assert set(load_file(tmp_path / "proof")) == {"inputs.0", "features.1", "features.2"}
    with torch.no_grad():
        assert torch.equal(load_file(tmp_path / "proof")["features.2"], projection()(live(images(2))))


def scores(hub: Hub, branch: str = "main") -> float:
    repository = hub.repositories[NAME]
    tree = repository.commits[repository.branches[branch]]
    return json.loads(tree["certificate.json"])["measured"]["invariant/knn"]


def test_a_worse_encoder_of_another_run_goes_to_a_branch(tmp_path: Path, queue: Queue) -> None:
    with Hub() as hub:
        for seed, (run, score) in enumerate([("good", 0.9), ("worse", 0.5)]):
            add(queue, seed, run=run, numbers={"invariant/knn": score})
            (found,) = deliver(hub, queue, tmp_path / "home")
            assert found["state"] == "published"
        assert scores(hub) == 0.9
        assert scores(hub, "run-worse") == 0.5
        assert "measured 0.9 (knn), but this one measured 0.5" in found["trouble"]
        assert queue.entries() == []
        add(queue, 2, run="better", numbers={"invariant/knn": 0.95})
        deliver(hub, queue, tmp_path / "home")
        assert scores(hub) == 0.95


def test_a_run_may_replace_its_own_encoder_and_whoever_asks_any(tmp_path: Path, queue: Queue) -> None:
    with Hub() as hub:
        for seed, score in enumerate((0.9, 0.8)):
            add(queue, seed, run="one", numbers={"invariant/knn": score})
            deliver(hub, queue, tmp_path / "home")
            assert scores(hub) == score
        add(queue, 2, Target(NAME, replace=True), run="two", numbers={"invariant/knn": 0.1})
        deliver(hub, queue, tmp_path / "home")
        assert scores(hub) == 0.1
        assert set(hub.repositories[NAME].branches) == {"main"}


def test_a_pushed_encoder_that_measured_worse_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Hub() as hub:
        hub.serve(monkeypatch, tmp_path / "home")
        export(tmp_path / "a", numbers={"knn": 0.9}).push_to_hub(NAME)
        worse = export(tmp_path / "b", seed=1, numbers={"knn": 0.8})
        with pytest.raises(HubError, match="another branch \\(revision\\), or allow it with replace=True"):
            worse.push_to_hub(NAME)
        worse.push_to_hub(NAME, revision="try")
        worse.push_to_hub(NAME, replace=True)
        other = export(tmp_path / "c", seed=2, numbers={"knn": 0.1}, targets="values")
        other.push_to_hub(NAME)
        assert len(hub.repositories[NAME].commits) > 4
