"""Trains in two processes; each writes what it logged. Run by test_distributed."""

import json
import os
import sys
from pathlib import Path

import pytorch_lightning as pl
import torch

from lightning_invariant import InvariantCallback
from tests.callback.loops import REPRESENTATION, Classifier, loaders, trainer


def main(folder: str, watched: str) -> None:
    torch.set_num_threads(1)
    pl.seed_everything(0, verbose=False)
    callbacks = (
        [InvariantCallback("encoder", REPRESENTATION, export_dir=Path(folder) / "hub")] if watched == "yes" else []
    )
    module, run = (
        Classifier(),
        trainer(callbacks, folder, strategy="ddp_find_unused_parameters_true", devices=2, max_epochs=1),
    )
    run.fit(module, *loaders())
    logged = {name: float(value) for name, value in run.callback_metrics.items()}
    weights = {name: value.double().sum().item() for name, value in module.state_dict().items()}
    rank = os.environ.get("LOCAL_RANK", "0")
    (Path(folder) / f"rank{rank}.json").write_text(json.dumps({"logged": logged, "weights": weights}))


if __name__ == "__main__":
    main(*sys.argv[1:])
