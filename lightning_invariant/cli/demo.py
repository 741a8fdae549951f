"""The main job on real digits: train, watch, export, pull in a fresh process, compare."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_invariant.cli.recipes import lightning_cli, recipe_path
from lightning_invariant.errors import ArtifactError, InvariantError

if TYPE_CHECKING:
    import argparse

RECIPE = "digits-c4"
RESULTS = "results.json"
OWNER = "lightning-invariant demo"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the `demo` command."""
    parser = subparsers.add_parser("demo", help="train on real digits, monitor, export, pull: about a minute")
    parser.add_argument("--output", default="runs/demo", help="folder for everything (default: %(default)s)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the demo; the exit status says whether it showed what it should."""
    started = time.perf_counter()
    output = Path(args.output)
    _claim(output)
    report, images = _train(output)
    print("Loading the exported folder in a fresh process that has neither the network's class nor Lightning ...")
    pulled = _pull(output / "hub", images)
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
    (output / RESULTS).write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    _show(results, output)
    return 0


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


def _train(output: Path) -> tuple[dict[str, float], Any]:
    import torch
    import yaml

    from lightning_invariant.callback import InvariantCallback

    # Threads that wait for each other on a busy machine cost far more than they win on so small a network.
    torch.set_num_threads(max(1, torch.get_num_threads() // 2))
    config = yaml.safe_load(recipe_path(RECIPE).read_text(encoding="utf-8"))
    config["trainer"]["logger"]["init_args"]["save_dir"] = str(output)
    config["trainer"]["callbacks"][0]["init_args"]["export"]["init_args"]["folder"] = str(output / "hub")
    cli = lightning_cli(config, run=False)
    cli.trainer.fit(cli.model, datamodule=cli.datamodule)
    callbacks: list[Any] = cli.trainer.callbacks  # type: ignore[attr-defined]  # set by a connector
    callback = next(callback for callback in callbacks if isinstance(callback, InvariantCallback))
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


def _show(results: dict[str, Any], output: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Probes that know upright digits, asked about digits turned at random")
    for heading in ("", "raw latents", "projected"):
        table.add_column(heading, justify="left" if not heading else "right")
    table.add_row("kNN accuracy", f"{results['knn_raw']:.3f}", f"{results['knn_projected']:.3f}")
    table.add_row("linear probe accuracy", f"{results['linear_raw']:.3f}", f"{results['linear_projected']:.3f}")
    table.add_row("invariance error", f"{results['invariance_error_raw']:.2g}", f"{results['invariance_error']:.2g}")
    console = Console()
    console.print(table)
    console.print(
        f"kNN accuracy of raw latents on upright digits: {results['knn_upright']:.3f}. {results['seconds']} s in all."
    )
    for what, path in (("figures", RESULTS), ("exported encoder", "hub"), ("picture", "hub/embeddings.png")):
        console.print(f"{what:17} {output / path}", soft_wrap=True, highlight=False)
    console.print(f"\nWatch it:         tensorboard --logdir {output}", soft_wrap=True, highlight=False)
