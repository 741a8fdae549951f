"""Arguments of the commands that take an encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse


def add_source(parser: argparse.ArgumentParser, *, computes: bool = True) -> None:
    """Where the encoder comes from and, for commands that run it, how."""
    parser.add_argument("repo", metavar="REPO", help="a folder, a bundled encoder (list), or user/name on the Hub")
    parser.add_argument("--revision", help="branch, tag or commit on the Hub")
    parser.add_argument("--offline", action="store_true", help="use what was downloaded before")
    parser.add_argument("--json", action="store_true", help="print JSON")
    if computes:
        parser.add_argument("--device", help="such as cuda (default: the CPU)")
        parser.add_argument("--batch-size", type=int, default=256, help="inputs at one time (default: %(default)s)")
        parser.add_argument(
            "--trust-remote-code",
            action="store_true",
            help="only for encoders without a graph: import the class that they name from what is installed here",
        )


def where(args: argparse.Namespace) -> dict[str, Any]:
    """Settings for `local_folder` and `from_pretrained`."""
    return {"revision": args.revision, "local_files_only": args.offline}
