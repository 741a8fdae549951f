"""Arguments of the commands that take an encoder."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from lightning_invariant.errors import InvariantError

if TYPE_CHECKING:
    from collections.abc import Callable

    from lightning_invariant.encoder import InvariantEncoder


def add_source(parser: argparse.ArgumentParser, *, computes: bool = True) -> None:
    """Add arguments that say where the encoder comes from and, for commands that run it, how."""
    parser.add_argument(
        "repo", metavar="REPO", help="folder, name of a bundled encoder (see `list`), or user/name on the Hub"
    )
    parser.add_argument("--revision", help="branch, tag or commit on the Hub")
    parser.add_argument("--subfolder", default="", help="folder of the encoder inside the repository")
    parser.add_argument("--offline", action="store_true", help="use only files that were downloaded before")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    if computes:
        parser.add_argument("--device", help="device, such as cuda (default: the CPU)")
        parser.add_argument(
            "--batch-size", type=at_least(1), default=256, help="number of inputs at a time (default: %(default)s)"
        )
        parser.add_argument(
            "--trust-remote-code",
            action="store_true",
            help="only for encoders without a graph: import the class that the encoder names from what is installed",
        )


def at_least(smallest: int) -> Callable[[str], int]:
    """Return a type of arguments: whole numbers from the smallest one on that fit into a seed or a size."""

    def number(text: str) -> int:
        value = int(text)
        if not smallest <= value < 2**62:
            raise argparse.ArgumentTypeError(f"expected a whole number from {smallest} to 2^62 but got {text}")
        return value

    number.__name__ = "int"  # which argparse shows for what is no number
    return number


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
