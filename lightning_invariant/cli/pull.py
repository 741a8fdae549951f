"""The command `pull`: an encoder of the Hub as a folder, whole and checked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_invariant.errors import HubError, InvariantError

if TYPE_CHECKING:
    import argparse


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the `pull` command."""
    parser = subparsers.add_parser(
        "pull",
        help="download an encoder",
        description="Download an encoder, check its hashes, and put it into a folder as a whole. Nothing of it is "
        "executed. Without -o it stays in the Hub's cache, where from_pretrained finds it offline.",
        epilog="Example: lightning-invariant pull user/name -o encoder",
    )
    parser.add_argument("repo", metavar="REPO", help="user/name")
    parser.add_argument("-o", "--output", metavar="DIR", help="new or empty folder, or an earlier export to replace")
    parser.add_argument("--revision", metavar="REV", help="branch, tag or commit (default: main)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; the exit status is 0 if the encoder is there and whole."""
    from lightning_invariant.hub.attempts import in_words
    from lightning_invariant.hub.target import Target

    Target(args.repo)
    try:
        result = pull(args.repo, args.output, revision=args.revision)
    except InvariantError:
        raise
    except Exception as error:  # the client's errors have several bases
        raise HubError(f"Expected to pull {args.repo} but {in_words(error)}.") from error
    if args.json:
        print(json.dumps(result, indent=2))
        return 0
    source = result["folder"] if args.output else args.repo
    print(f"pulled {args.repo} at {result['commit'][:12]} ({result['bytes']:,} bytes) to {result['folder']}")
    print(f'load it: InvariantEncoder.from_pretrained("{source}")')
    return 0


def pull(repo_id: str, output: str | Path | None = None, *, revision: str | None = None) -> dict[str, Any]:
    """Download an encoder and check it.

    Args:
        repo_id: "user/name".
        output: A folder to put it into, replaced as a whole; files in it that are not ours stay. None for none.
        revision: Branch, tag or commit.

    Returns:
        `repo_id`, `commit`, `folder`, `bytes`, `files`.

    Raises:
        ArtifactError: A file is missing or damaged, or the folder cannot be written.
        huggingface_hub.errors.HfHubHTTPError: The Hub refuses.
    """
    from lightning_invariant.hub.artifact import OWN, check_target, is_own
    from lightning_invariant.hub.directory import replace_directory
    from lightning_invariant.hub.reader import read_artifact
    from lightning_invariant.hub.transport import local_folder, read_pretrained

    if output is not None:
        check_target(output)
    read_pretrained(repo_id, revision=revision)
    cached = local_folder(repo_id, revision=revision, files=OWN)

    def fill(fresh: Path) -> None:
        for path in cached.iterdir():
            if is_own(path.name):
                shutil.copyfile(path, fresh / path.name)
        read_artifact(fresh)

    if output is not None:
        replace_directory(output, fill, keep=lambda name: not is_own(name))
    folder = cached if output is None else Path(output)
    files = {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if is_own(path.name)}
    return {
        "repo_id": repo_id,
        "commit": cached.name,
        "folder": str(folder),
        "bytes": sum(files.values()),
        "files": files,
    }
