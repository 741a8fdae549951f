"""The command `push`: a folder to the Hub now, or everything that waits in the queue."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_invariant.cli.terminal import show
from lightning_invariant.errors import HubError, InvariantError

if TYPE_CHECKING:
    import argparse

    from lightning_invariant.hub.queue import Queue
    from lightning_invariant.hub.worker import Outcome

ATTEMPTS = 4


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the `push` command."""
    parser = subparsers.add_parser(
        "push",
        help="upload an exported folder, or what training runs left in the queue",
        description="Upload an exported folder as one commit. Without a folder, upload what training runs could not "
        "publish: their exports wait in a queue, and each is compared with its live network first.",
        epilog="Examples: `lightning-invariant push`, or `lightning-invariant push runs/hub user/name --private`",
    )
    parser.add_argument(
        "folder", nargs="?", metavar="FOLDER", help="an exported encoder (default: everything in the queue)"
    )
    parser.add_argument("repo", nargs="?", metavar="REPO", help="user/name; created if it does not exist")
    parser.add_argument(
        "--revision", metavar="BRANCH", help="branch to commit to (default: main); created if it does not exist"
    )
    parser.add_argument("--create-pr", action="store_true", help="open a pull request instead of committing")
    parser.add_argument("--private", action="store_true", default=None, help="create the repository as private")
    parser.add_argument("--replace", action="store_true", help="replace the published encoder even if it scored better")
    parser.add_argument(
        "--message", default="Upload an invariant encoder", help="commit message (default: %(default)s)"
    )
    parser.add_argument("--queue", metavar="DIR", help="folder of the queue, if it is not the default one")
    parser.add_argument("--dry-run", action="store_true", help="show what would be uploaded without uploading it")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; the exit status is 0 if nothing stays behind."""
    if args.folder is None:
        return _push_queue(args)
    if args.repo is None:
        raise HubError(
            f"Expected a folder and a repository but got {args.folder!r} alone; run `lightning-invariant push FOLDER "
            "user/name`, or `lightning-invariant push` for what waits in the queue."
        )
    return _push_folder(args)


def _push_folder(args: argparse.Namespace) -> int:
    from lightning_invariant.artifact.folder import read_artifact
    from lightning_invariant.hub.access import check_access
    from lightning_invariant.hub.client import hub_client
    from lightning_invariant.hub.commit import commit_folder
    from lightning_invariant.hub.retries import attempt, in_words
    from lightning_invariant.hub.target import Target

    target, folder = Target(args.repo, args.revision, args.create_pr, args.private, args.replace), Path(args.folder)
    read_artifact(folder)  # nothing that could not be loaded again is uploaded
    if args.dry_run:
        _print(args, {"state": "dry run", "repo_id": target.repo_id, "folder": str(folder)}, f"{folder} -> {target}")
        return 0
    if trouble := check_access(target):
        raise HubError(f"Expected to reach the Hub but {trouble}; try again later. Nothing was uploaded.")
    _say(f"uploading {folder} to {target}")
    try:
        done = attempt(
            lambda: commit_folder(hub_client(), folder, target, message=args.message), attempts=ATTEMPTS, say=_say
        )
    except InvariantError:
        raise
    except Exception as error:  # the client's errors have several bases
        raise HubError(f"Expected to publish {folder} to {target} but {in_words(error)}.") from error
    result = {"state": "published", "repo_id": target.repo_id, "url": done.url, "commit": done.oid}
    _print(args, result, f"published {done.url}")
    return 0


def _push_queue(args: argparse.Namespace) -> int:
    from lightning_invariant.encoder.parity_check import check_parity
    from lightning_invariant.hub.queue import Queue
    from lightning_invariant.hub.worker import empty_queue

    queue = Queue(args.queue)
    if args.dry_run:
        waiting = [
            {"repo_id": entry.target.repo_id, "entry": str(entry.folder), "trouble": entry.trouble}
            for entry in queue.entries()
        ]
        lines = [f"{entry['repo_id']}  {entry['entry']}  {entry['trouble']}".rstrip() for entry in waiting]
        _print(args, {"queue": str(queue.folder), "waiting": waiting}, "\n".join(lines) or _empty(queue))
        return 0
    outcomes = list(empty_queue(queue, check_parity, attempts=ATTEMPTS, say=_say))
    left = [outcome for outcome in outcomes if outcome.state in ("kept", "refused")]
    result = {"queue": str(queue.folder), "outcomes": [asdict(outcome) for outcome in outcomes]}
    _print(args, result, "\n".join(map(_in_a_line, outcomes)) or _empty(queue))
    return 2 if left else 0


def _empty(queue: Queue) -> str:
    return f"nothing waits in {queue.folder}"


def _in_a_line(outcome: Outcome) -> str:
    if outcome.state == "published":
        return f"published {outcome.url}" + (f" ({outcome.trouble})" if outcome.trouble else "")
    if outcome.state == "superseded":
        return f"left out {outcome.entry}: a newer export of the same training takes its place"
    return f"{outcome.state} {outcome.entry or outcome.repo_id}: {outcome.trouble}"


def _print(args: argparse.Namespace, result: dict[str, Any], text: str) -> None:
    show(json.dumps(result, indent=2) if args.json else text)


def _say(text: str) -> None:
    show(f"{text} ...", sys.stderr)
