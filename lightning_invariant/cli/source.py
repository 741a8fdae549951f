"""Arguments of the commands that take an encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning_invariant.errors import InvariantError

if TYPE_CHECKING:
    import argparse

    from lightning_invariant.encoder import InvariantEncoder


def add_source(parser: argparse.ArgumentParser, *, computes: bool = True) -> None:
    """Where the encoder comes from and, for commands that run it, how."""
    parser.add_argument("repo", metavar="REPO", help="a folder, a bundled encoder (list), or user/name on the Hub")
    parser.add_argument("--revision", help="branch, tag or commit on the Hub")
    parser.add_argument("--subfolder", default="", help="folder of the encoder inside the repository")
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


def load(args: argparse.Namespace) -> InvariantEncoder:
    """Load the encoder that the arguments name.

    Raises:
        InvariantError: There is no such device.
    """
    import torch

    from lightning_invariant.encoder import InvariantEncoder

    try:
        device = None if args.device is None else torch.device(args.device)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # of builds without an accelerator
        raise InvariantError(
            f"Expected a device such as 'cpu' or 'cuda' but got {args.device!r}: {str(error).splitlines()[0]}"
        ) from error
    return InvariantEncoder.from_pretrained(
        args.repo,
        revision=args.revision,
        subfolder=args.subfolder,
        local_files_only=args.offline,
        device=device,
        trust_remote_code=args.trust_remote_code,
    )
