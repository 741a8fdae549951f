"""Trains in two processes; each writes what it logged. Run by test_distributed."""

import json
import os
import sys
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, DistributedSampler, IterableDataset

from lightning_invariant import HubExport, InvariantCallback
from lightning_invariant.callback.support.gather import process_count, process_rank
from lightning_invariant.errors import HubError
from tests.callback.loops import REPRESENTATION, Classifier, data, loaders, trainer

SMALL = {"bank_size": 40, "sample_size": 21, "max_overhead": None, "figures": None}
"""Samples that are smaller than the data, so that the choice of rows shows."""


class Still(Classifier):
    """Learns nothing, batch statistics included, so its latents are those of one process."""

    def training_step(self, batch, batch_idx):
        return sum(parameter.sum() for parameter in self.parameters()) * 0.0


class Stream(IterableDataset):
    """Rows without a length, dealt out among the processes."""

    def __iter__(self):
        rank, count = process_rank(), process_count()
        rows = data(67, seed=7)
        return iter([rows[i] for i in range(len(rows))][rank::count])


def train(folder: str, watched: bool, **settings):
    pl.seed_everything(0, verbose=False)
    seen = InvariantCallback("encoder", REPRESENTATION, max_overhead=None, export=Path(folder) / "hub")
    callbacks = [seen] if watched else []
    module, run = Classifier(), trainer(callbacks, folder, max_epochs=1, **settings)
    run.fit(module, *loaders())
    return {
        "logged": logged(run),
        "weights": {name: value.double().sum().item() for name, value in module.state_dict().items()},
    }


def still(folder: str, **settings):
    """Training data in the same order in one process and in two; odd numbers of rows, so that samplers repeat some."""
    pl.seed_everything(0, verbose=False)
    callback = InvariantCallback("encoder", REPRESENTATION, **SMALL)
    run = trainer([callback], folder, max_epochs=2, **settings)
    batch, count, rank = 16 // run.world_size, run.world_size, int(os.environ.get("LOCAL_RANK", 0))
    # Lightning's own sampler shuffles training data in distributed runs.
    sampler = DistributedSampler(data(97), count, rank, shuffle=False)
    training = DataLoader(data(97), batch, sampler=sampler)
    run.fit(Still(), training, [DataLoader(data(65, 1), batch), DataLoader(data(7, 2), batch)])
    return {"logged": logged(run), "samples": dict(callback.report.samples)}


def stream(folder: str, **settings):
    pl.seed_everything(0, verbose=False)
    callback = InvariantCallback("encoder", REPRESENTATION, **SMALL)
    run = trainer([callback], folder, max_epochs=1, limit_train_batches=2, **settings)
    run.fit(Still(), DataLoader(Stream(), 8 // run.world_size), DataLoader(Stream(), 8 // run.world_size))
    return {"logged": logged(run)}


def validate(folder: str, **settings):
    pl.seed_everything(0, verbose=False)
    run = trainer([InvariantCallback("encoder", REPRESENTATION, **SMALL)], folder, **settings)
    run.validate(Still(), DataLoader(data(33, 1), 8), verbose=False)
    return {"logged": logged(run)}


def one_process_fails(folder: str, **settings):
    """What goes wrong on one process only must hang none."""
    pl.seed_everything(0, verbose=False)
    seen = InvariantCallback("encoder", REPRESENTATION, max_overhead=None, figures=None)
    if os.environ.get("LOCAL_RANK") == "1":
        seen._reporter.assembler._encode = lambda *args: 1 / 0
    run = trainer([seen], folder, max_epochs=1, num_sanity_val_steps=0, **settings)
    run.fit(Still(), *loaders())
    return {"logged": logged(run), "said": list(seen._findings._said.values())}


def published(folder: str, **settings):
    """The best checkpoint goes to the Hub of the environment, from one of the processes."""
    pl.seed_everything(0, verbose=False)
    seen = InvariantCallback(
        "encoder", REPRESENTATION, export=HubExport("tester/digits", monitor="val/loss"), figures=None
    )
    kept = ModelCheckpoint(Path(folder) / "checkpoints", monitor="val/loss")
    run = trainer([seen, kept], folder, max_epochs=1, enable_checkpointing=True, **settings)
    run.fit(module := Classifier(), *loaders())
    return {"steps": module.steps, "problems": [text for text in seen._findings._said if "hub" in text]}


def refused(folder: str, **settings):
    """What the Hub refuses is refused on every process, before the first step."""
    seen = InvariantCallback("encoder", REPRESENTATION, export=HubExport("stranger/digits"))
    module, said = Classifier(), ""
    try:
        trainer([seen], folder, max_epochs=1, **settings).fit(module, *loaders())
    except HubError as error:
        said = str(error)
    return {"steps": module.steps, "said": said}


def logged(run: pl.Trainer) -> dict[str, float]:
    return {name: float(value) for name, value in run.callback_metrics.items()}


PARTS = {
    "watched": lambda folder, **settings: train(folder, True, **settings),
    "bare": lambda folder, **settings: train(folder, False, **settings),
    "still": still,
    "stream": stream,
    "validate": validate,
    "one_process_fails": one_process_fails,
    "published": published,
    "refused": refused,
}


def main(folder: str, *names: str) -> None:
    torch.set_num_threads(1)
    ddp = {"strategy": "ddp_find_unused_parameters_true", "devices": 2}
    results = {name: PARTS[name](folder, **ddp) for name in names}
    (Path(folder) / f"rank{os.environ.get('LOCAL_RANK', '0')}.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main(*sys.argv[1:])
