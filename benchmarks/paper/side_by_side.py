"""Trains the auto-encoders of molecules, of both sizes and several seeds, side by side on one CUDA device.

Run: python -m benchmarks.paper.side_by_side --data-dir FOLDER [--seconds 400] [--seeds 0 1 2 3 4]

Their networks are so small that launching kernels takes longer than running them. So each one's training step is
captured as a CUDA graph on a stream of its own, and the molecules stay on the device. The loss and the schedule are
those of the recipes; how far the schedule is follows the clock. `python -m benchmarks.paper` finds the weights.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_model

from benchmarks.paper import molecules_permutation, molecules_permutation_8
from benchmarks.paper.graph_latents import TRAINED
from benchmarks.paper.recipes import WEIGHTS, configuration, export_trained
from benchmarks.paper.store import Store
from lightning_invariant.artifact.config import CARD
from lightning_invariant.cli.recipes import lightning_cli
from lightning_invariant.hub.download import EXPORT
from lightning_invariant.zoo.graph_vae import GraphVae, is_rebuilt

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

RECIPES = (molecules_permutation.RECIPE, molecules_permutation_8.RECIPE)
SCHEDULE, WARM, TOGETHER = 2000, 5, 20
"""Steps in which the schedule is kept, training steps before a capture, rounds between two looks at the clock."""


class ClockedVae(GraphVae):
    """The auto-encoder, told by a number on the device how far its training is."""

    clock: Tensor

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.register_buffer("clock", torch.zeros(()), persistent=False)

    def progress(self) -> Tensor:
        """Share of the time that is gone."""
        return self.clock


class Training:
    """One network, its captured step and its place in the data.

    Args:
        settings: Arguments of the network.
        x: Graphs to train on, on the device.
        batch: Graphs a step.
        seed: Of weights, order and noise.
    """

    def __init__(self, settings: dict[str, Any], x: Float[Tensor, "N n n C"], batch: int, seed: int) -> None:
        torch.manual_seed(seed)
        self.x, self.batch, self.steps, self.epochs = x, batch, 0, 0
        self.network = ClockedVae(**settings).to(x.device).train()
        self.stream, self.graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
        rate = torch.tensor(self.network.lr, device=x.device)
        settings = {"betas": (0.9, 0.99), "weight_decay": 1e-4, "capturable": True}
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=rate, **settings)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, self.network.lr, total_steps=SCHEDULE + 2, pct_start=0.1, cycle_momentum=False
        )
        self.index = torch.arange(batch, device=x.device)
        self.order, self.place = self.index, batch
        self._capture()

    def _step(self) -> None:
        loss = self.network.training_step((self.x[self.index],), 0)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()

    def _capture(self) -> None:
        """Record one step; what the steps before it have done is taken back."""
        state = {name: value.clone() for name, value in self.network.state_dict().items()}
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            for _ in range(WARM):
                self._step()
        torch.cuda.synchronize()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.cuda.graph(self.graph, stream=self.stream):
            self._step()
        torch.cuda.synchronize()
        self.network.load_state_dict(state)
        for moments in self.optimizer.state.values():
            for value in moments.values():
                value.zero_()

    def advance(self) -> None:
        """Queue one step on the network's own stream."""
        with torch.cuda.stream(self.stream):
            if self.place + self.batch > len(self.order):
                self.order, self.place = torch.randperm(len(self.x), device=self.x.device), 0
                self.epochs += 1
            self.index.copy_(self.order[self.place : self.place + self.batch])
            self.place += self.batch
            self.graph.replay()
        self.steps += 1

    def set_progress(self, share: float) -> None:
        """Move the schedule to a share of the training."""
        with torch.cuda.stream(self.stream):
            self.network.clock.fill_(share)
            while self.schedule.last_epoch < min(int(share * SCHEDULE), SCHEDULE):
                self.schedule.step()


def main() -> None:
    """Train, and keep weights, exported encoders and what is known of the training."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", metavar="FOLDER", help="folder with the data; downloaded if left out")
    parser.add_argument("--seconds", type=float, default=400.0, help="of training (default: %(default)s)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4], metavar="N")
    parser.add_argument("--work", type=Path, default=Path("runs/paper"), help="where benchmarks.paper keeps its things")
    options = parser.parse_args()
    store, runs = Store(options.work, quick=False), {}
    for recipe in RECIPES:
        for seed in options.seeds:
            folder = store.folder(recipe, seed)
            config = configuration(recipe, folder, seed, {"data.data_dir": options.data_dir, "trainer.callbacks": []})
            cli = lightning_cli(config, run=False)
            cli.datamodule.setup("fit")
            x, held = (part.tensors[0].cuda() for part in (cli.datamodule.training, cli.datamodule.validation))
            settings = config["model"]["init_args"]
            runs[recipe, seed] = Training(settings, x, cli.datamodule.batch_size, seed), held, folder
    train([run for run, *_ in runs.values()], options.seconds)
    for (recipe, seed), (run, held, folder) in runs.items():
        keep(run, held, folder, options.seconds)
        export_trained(recipe, folder, seed, {"data.data_dir": options.data_dir})
        say_trained(folder)


def train(runs: list[Training], seconds: float) -> None:
    """Step all networks in turn until the time is up."""
    begun, share, rounds = time.perf_counter(), 0.0, 0
    while share < 1:
        for run in runs:
            run.advance()
        rounds += 1
        if rounds % TOGETHER == 0:
            torch.cuda.synchronize()
            share = min((time.perf_counter() - begun) / seconds, 1.0)
            for run in runs:
                run.set_progress(share)
    torch.cuda.synchronize()


def keep(run: Training, held: Float[Tensor, "M n n C"], folder: Path, seconds: float) -> None:
    """Write the weights, and beside them how they came about."""
    network = run.network.eval()
    about = {
        "device": torch.cuda.get_device_name(),
        "epochs": run.epochs,
        "steps": run.steps,
        "batch": run.batch,
        "seconds": seconds,
        "rebuilt of training": rebuilt(network, run.x[: len(held)]),
        "rebuilt of validation": rebuilt(network, held),
    }
    save_model(network, str(folder / WEIGHTS))
    (folder / TRAINED).write_text(json.dumps(about, indent=1), encoding="utf-8")
    print(folder, about, flush=True)


def say_trained(folder: Path) -> None:
    """Put on the exported encoder's card how long it was trained; the export itself saw a single step at rate 0."""
    card, about = folder / EXPORT / CARD, json.loads((folder / TRAINED).read_text(encoding="utf-8"))
    place = f"epoch {about['epochs']}, step {about['steps']}, on {about['device']}"
    text = card.read_text(encoding="utf-8").replace("those the training ended with, epoch 1, step 1", place)
    card.write_text(text.replace("| at step 1 |", f"| at step {about['steps']} |"), encoding="utf-8")


def rebuilt(network: GraphVae, x: Float[Tensor, "M n n C"]) -> float:
    """Share of graphs that come back without a single error from the mean latent."""
    with torch.no_grad():
        return torch.cat([is_rebuilt(part, *network(part)) for part in x.split(1024)]).double().mean().item()


if __name__ == "__main__":
    main()
