"""The command line: LightningCLI for recipes, and small commands."""

from lightning_invariant.cli.main import main

__all__ = ["main"]
