"""The command `pull`: an encoder of the Hub as a folder, whole and checked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_invariant.cli.terminal import show
from lightning_invariant.errors import HubError, InvariantError

if TYPE_CHECKING:
    import argparse

    from lightning_invariant.hub.download import Source


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the `pull` command."""
    parser = subparsers.add_parser(
        "pull",
        help="download an encoder",
        description="Download an encoder, check its hashes, and write it to a folder in one step. Nothing in it is "
        "executed. Without -o it stays in the Hub's cache, where from_pretrained finds it offline.",
        epilog="Example: lightning-invariant pull user/name -o encoder",
    )
    parser.add_argument("repo", metavar="REPO", help="user/name")
    parser.add_argument(
        "-o", "--output", metavar="DIR", help="new or empty folder, or an earlier export, which is replaced"
    )
    parser.add_argument("--subfolder", default="", help="folder of the encoder inside the repository")
    parser.add_argument("--revision", metavar="REV", help="branch, tag or commit (default: main)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; the exit status is 0 if the encoder is there and whole."""
    from lightning_invariant.hub.download import Source
    from lightning_invariant.hub.retries import in_words
    from lightning_invariant.hub.target import Target

    if "/" not in args.repo:
        raise HubError(
            f"Expected a repository 'user/name' but got {args.repo!r}; bundled encoders load without a download."
        )
    source = Source(args.repo, args.revision, args.subfolder)
    Target(source.repository()[0])
    try:
        result = pull(source, args.output)
    except InvariantError:
        raise
    except Exception as error:  # the client's errors have several bases
        raise HubError(f"Expected to pull {args.repo} but {in_words(error)}.") from error
    if args.json:
        print(json.dumps(result, indent=2))
        return 0
    name = result["folder"] if args.output else args.repo
    show(f"pulled {args.repo} at {result['commit'][:12]} ({result['bytes']:,} bytes) to {result['folder']}")
    show(f'load it: InvariantEncoder.from_pretrained("{name}")')
    return 0


def pull(source: Source, output: str | Path | None = None) -> dict[str, Any]:
    """Download an encoder and check it.

    Args:
        source: Which one.
        output: A folder to put it into, replaced as a whole; files in it that are not ours stay. None for none.

    Returns:
        `repo_id`, `commit`, `folder`, `bytes`, `files`.

    Raises:
        ArtifactError: A file is missing or damaged, or the folder cannot be written.
        huggingface_hub.errors.HfHubHTTPError: The Hub refuses.
    """
    from lightning_invariant.artifact.config import CARD, FIGURE, ONNX, is_own, needed_files
    from lightning_invariant.artifact.directory import replace_directory
    from lightning_invariant.artifact.folder import check_target, read_artifact
    from lightning_invariant.hub.download import local_folder, read_pretrained

    if output is not None:
        check_target(output)
    read_pretrained(source.name, source.revision, subfolder=source.subfolder)
    cached = local_folder(source, wanted=lambda config: [*needed_files(config), CARD, FIGURE, ONNX])

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
        "repo_id": source.repository()[0],
        "commit": cached.parents[len(Path(source.subfolder).parts) - 1].name if source.subfolder else cached.name,
        "folder": str(folder),
        "bytes": sum(files.values()),
        "files": files,
    }
