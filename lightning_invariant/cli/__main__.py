"""Let `python -m lightning_invariant.cli` do what the command does."""

import sys

from lightning_invariant.cli import main

if __name__ == "__main__":
    sys.exit(main())
