"""Trains with the callback; told so, kills itself in the midst of an epoch, or goes on from the checkpoint."""

import json
import os
import signal
import sys
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader

from lightning_invariant import InvariantCallback
from tests.callback.loops import REPRESENTATION, Classifier, data, trainer


class Killed(pl.Callback):
    """SIGKILL before the fourth epoch's last batch."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == (3, 4):
            os.kill(os.getpid(), signal.SIGKILL)


def main(folder: str, state: str, watched: str) -> None:
    torch.set_num_threads(1)
    pl.seed_everything(0, verbose=False)
    seen = InvariantCallback("encoder", REPRESENTATION, max_overhead=None, figures=None)
    kept = ModelCheckpoint(folder, filename="{epoch}", monitor="val/loss", save_top_k=-1, save_last=True)
    callbacks = [kept, *([seen] if watched == "yes" else []), *([Killed()] if state == "killed" else [])]
    module = Classifier()
    logger = pl.loggers.CSVLogger(folder, name="log", version=state)
    run = trainer(callbacks, folder, max_epochs=6, enable_checkpointing=True, logger=logger, log_every_n_steps=1)
    run.fit(
        module,
        DataLoader(data(), 16, shuffle=True),
        DataLoader(data(64, seed=1), 16),
        ckpt_path=Path(folder) / "last.ckpt" if state == "resumed" else None,
    )
    weights = {name: value.double().sum().item() for name, value in module.state_dict().items()}
    (Path(folder) / "weights.json").write_text(json.dumps(weights))


if __name__ == "__main__":
    main(*sys.argv[1:])
