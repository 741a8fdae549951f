"""Show the main job on real digits: train, monitor, export, load in a fresh process, compare."""

from __future__ import annotations

import base64
import json
import logging
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_invariant.cli.recipes import lightning_cli, recipe_path
from lightning_invariant.errors import ArtifactError, InvariantError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

RECIPE = "digits-c4"
EPOCHS = 12
"""Epochs of the recipe; the progress bar has one part for each, and one for loading the export."""
RESULTS = "results.json"
OWNER = "lightning-invariant demo"
TITLE = "Probes that know upright digits, asked about digits rotated at random"
HEADINGS = ("", "raw latents", "projected")
CHATTY = ("pytorch_lightning", "lightning_fabric", "lightning.pytorch", "lightning.fabric")
"""Loggers whose remarks on hardware and other products are of no use in a demo."""


@dataclass(frozen=True)
class Demo:
    """What the demo measured, shown as a table with its figure by a notebook.

    Args:
        results: Name to number, as in results.json.
        folder: Folder that holds everything the demo wrote.
    """

    results: dict[str, Any]
    folder: Path

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """Name, value of raw latents and value of projected latents, for each row of the table."""
        names = (("kNN accuracy", "knn", ".3f"), ("linear probe accuracy", "linear", ".3f"))
        rows = [
            (text, f"{self.results[f'{name}_raw']:{form}}", f"{self.results[f'{name}_projected']:{form}}")
            for text, name, form in names
        ]
        errors = (f"{self.results[name]:.2g}" for name in ("invariance_error_raw", "invariance_error"))
        return [*rows, ("invariance error", *errors)]

    @property
    def figure(self) -> Path:
        """The figure of raw beside projected latents."""
        return self.folder / "hub" / "embeddings.png"

    def _repr_html_(self) -> str:
        """Return the table and the figure for a notebook."""
        lines = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in self.rows)
        heads = "".join(f"<th>{cell}</th>" for cell in HEADINGS)
        image = base64.b64encode(self.figure.read_bytes()).decode()
        return (
            f"<table><caption>{TITLE}</caption><tr>{heads}</tr>{lines}</table>"
            f'<img alt="raw and projected latents" width="900" src="data:image/png;base64,{image}">'
        )


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the `demo` command."""
    parser = subparsers.add_parser("demo", help="train on real digits, monitor, export, pull: about a minute")
    parser.add_argument("--output", default="runs/demo", help="folder for everything (default: %(default)s)")
    parser.add_argument("--open", action="store_true", help="start TensorBoard afterwards and open its page")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the demo; the exit status says whether it showed what it should."""
    _show(demo(args.output))
    if args.open:
        _serve(args.output)
    return 0


def demo(output: str | Path = "runs/demo") -> Demo:
    """Train a small network on real digits, monitor it, export it, and load the export in a fresh process.

    Args:
        output: Folder for event files, figures and the exported encoder; a new one, or that of an earlier demo.

    Returns:
        The numbers of raw and projected latents. As the last line of a notebook's cell it shows a table and a figure.

    Raises:
        ArtifactError: The folder holds something else, or cannot be written.
        InvariantError: The run gave no report or no export.
    """
    started = time.perf_counter()
    output = Path(output)
    _claim(output)
    with _progress() as advance:
        report, images = _train(output, advance)
        advance(EPOCHS, "loading the export in a fresh process")
        pulled = _pull(output / "hub", images)
        advance(EPOCHS + 1, "done")
    results = {
        "command": OWNER,
        "knn_raw": report["invariance/knn_raw"],
        "knn_projected": report["invariance/knn"],
        "linear_raw": report["invariance/linear_raw"],
        "linear_projected": report["invariance/linear"],
        "invariance_error": pulled["invariance_error"],
        "invariance_error_raw": pulled["raw_error"],
        "knn_upright": report["invariance_details/knn_upright_raw"],
        "equivariance_error": report["invariance/equivariance_error"],
        "features": pulled["features"],
        "seconds": round(time.perf_counter() - started, 1),
    }
    scores = {name: f"{results[f'knn_{name}']:.3f}" for name in ("raw", "projected")}
    results["headline"] = [{"asked": "accuracy of 5 nearest upright digits on turned ones", **scores}]
    (output / RESULTS).write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return Demo(results, output)


def _claim(output: Path) -> None:
    """Make the folder ours; only what an earlier demo wrote is removed."""
    results = output / RESULTS
    if output.exists() and (not output.is_dir() or any(output.iterdir())) and not _is_ours(results):
        raise ArtifactError(
            f"Expected a new folder or an earlier demo's but {output} holds something else; give --output."
        )
    try:
        output.mkdir(parents=True, exist_ok=True)
        results.write_text(json.dumps({"command": OWNER, "state": "running"}) + "\n", encoding="utf-8")
    except OSError as error:
        raise ArtifactError(f"Expected a folder that can be written but got {output}: {error.strerror}.") from error
    for events in output.glob("events.out.tfevents.*"):
        events.unlink()


def _is_ours(results: Path) -> bool:
    try:
        return json.loads(results.read_text(encoding="utf-8"))["command"] == OWNER
    except (OSError, ValueError, KeyError, TypeError):
        return False


@contextmanager
def _progress() -> Iterator[Callable[[float, str], None]]:
    """Show one bar for the whole demo, and keep everything else quiet but warnings of our own."""
    import pytorch_lightning  # noqa: F401  (sets the level of its logger when it is first imported)
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    levels = {name: logging.getLogger(name).level for name in CHATTY}
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
    with warnings.catch_warnings(), Progress(*columns, TimeElapsedColumn()) as bar:
        for module in ("pytorch_lightning", "lightning_fabric", "torch"):
            warnings.filterwarnings("ignore", module=module)
        for name in CHATTY:
            logging.getLogger(name).setLevel(logging.ERROR)
        task = bar.add_task("starting", total=EPOCHS + 1)
        try:
            yield lambda done, what: bar.update(task, completed=done, description=what)
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)


def _train(output: Path, advance: Callable[[float, str], None]) -> tuple[dict[str, float], Any]:
    import torch
    import yaml
    from pytorch_lightning.callbacks import LambdaCallback

    from lightning_invariant.callback import InvariantCallback

    def tell(trainer: Any, *_: Any) -> None:
        done = trainer.fit_loop.epoch_loop.batch_progress.current.completed / trainer.num_training_batches
        advance(trainer.current_epoch + done, f"training, epoch {trainer.current_epoch + 1} of {EPOCHS}")

    config = yaml.safe_load(recipe_path(RECIPE).read_text(encoding="utf-8"))
    config["trainer"]["logger"]["init_args"]["save_dir"] = str(output)
    config["trainer"]["callbacks"][0]["init_args"]["export"]["init_args"]["folder"] = str(output / "hub")
    config["trainer"] |= {"max_epochs": EPOCHS, "enable_progress_bar": False}
    cli = lightning_cli(config, run=False)
    callbacks: list[Any] = cli.trainer.callbacks  # type: ignore[attr-defined]  # set by a connector
    callback = next(callback for callback in callbacks if isinstance(callback, InvariantCallback))
    callbacks.append(LambdaCallback(on_train_batch_end=tell))
    threads = torch.get_num_threads()
    # Threads that wait for each other on a busy machine cost far more than they win on so small a network.
    torch.set_num_threads(max(1, threads // 2))
    try:
        cli.trainer.fit(cli.model, datamodule=cli.datamodule)
    finally:
        torch.set_num_threads(threads)
    if callback.report is None or not (output / "hub" / "config.json").is_file():
        raise InvariantError("Expected a report and an exported folder but the run gave none; its warnings say why.")
    return dict(callback.report.scalars), cli.datamodule.validation.tensors[0]


def _pull(folder: Path, images: Any) -> dict[str, Any]:
    from safetensors.torch import save_file

    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "images.safetensors"
        save_file({"images": images.contiguous()}, path)
        command = [sys.executable, "-m", "lightning_invariant.cli.fresh", str(folder), str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InvariantError(f"Expected the exported folder to load in a fresh process but got:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def _show(found: Demo) -> None:
    from rich.console import Console
    from rich.table import Table

    results, output = found.results, found.folder
    table = Table(title=TITLE)
    for heading in HEADINGS:
        table.add_column(heading, justify="left" if not heading else "right")
    for row in found.rows:
        table.add_row(*row)
    console = Console()
    console.print(table)
    console.print(
        f"kNN accuracy of raw latents on upright digits: {results['knn_upright']:.3f}. {results['seconds']} s in all."
    )
    for what, path in (("numbers", output / RESULTS), ("exported encoder", output / "hub"), ("figure", found.figure)):
        console.print(f"{what:17} {path}", soft_wrap=True, highlight=False)
    console.print(f"\nWatch it:         tensorboard --logdir {output}", soft_wrap=True, highlight=False)


def _serve(output: str) -> None:
    """Start TensorBoard on the first free port from 6006 on, open its page, and serve until interrupted."""
    import threading
    import webbrowser

    from tensorboard.program import TensorBoard

    board = TensorBoard()
    board.configure(argv=["tensorboard", "--logdir", output, "--load_fast", "false"])
    address = board.launch()
    try:
        print(f"TensorBoard serves {output} at {address} (Ctrl-C ends it)", flush=True)
        webbrowser.open(address)
        threading.Event().wait()
    except KeyboardInterrupt:
        print()
