"""Trains the network of a recipe as LightningCLI does, once: a second call loads what the first one kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import yaml
from safetensors.torch import load_model, save_model

from lightning_invariant.cli.recipes import lightning_cli, recipe_path
from lightning_invariant.hub.download import EXPORT

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pytorch_lightning as pl
    from torch import Tensor, nn


class Fitted(NamedTuple):
    """A trained network, in eval mode, and its data, set up."""

    network: pl.LightningModule
    data: Any


WEIGHTS = "network.safetensors"
"""The file of a network's weights, where it has no other name."""


def fitted(recipe: str, folder: Path, seed: int, changes: Mapping[str, Any], *, name: str = "network") -> Fitted:
    """The network of a recipe, trained with one seed.

    Args:
        recipe: Name of a folder in hub_configs.
        folder: Keeps `NAME.safetensors`, and the exported encoder if the recipe's callbacks are kept.
        seed: Of the weights, the choice and the order of the data.
        changes: Dotted keys of the configuration to other values, such as "model.group" or "trainer.max_epochs";
            "trainer.callbacks" to an empty list trains without the export.
        name: Of the weights' file.
    """
    config = configuration(recipe, folder, seed, changes)
    cli, weights = lightning_cli(config, run=False), folder / f"{name}.safetensors"
    if not weights.is_file():
        cli.trainer.fit(cli.model, datamodule=cli.datamodule)
        _keep(cli.model, weights)
    load_model(cli.model, weights)
    cli.datamodule.setup("fit")
    return Fitted(cli.model.eval(), cli.datamodule)


def export_trained(recipe: str, folder: Path, seed: int, changes: Mapping[str, Any]) -> None:
    """Measure and export a network that was trained elsewhere, from the weights that lie in a folder.

    The recipe is run for one step at rate 0, which changes nothing, so that its callback sees what it always sees.

    Args:
        recipe: Name of a folder in hub_configs.
        folder: Holds `network.safetensors`.
        seed: Of the split of the data.
        changes: As in `fitted`.
    """
    still = {"model.lr": 0.0, "trainer.max_epochs": 1, "trainer.limit_train_batches": 1}
    cli = lightning_cli(configuration(recipe, folder, seed, {**changes, **still}), run=False)
    load_model(cli.model, folder / WEIGHTS)
    cli.trainer.fit(cli.model, datamodule=cli.datamodule)


def _keep(network: pl.LightningModule, weights: Path) -> None:
    """Write the weights, whole or not at all."""
    weights.parent.mkdir(parents=True, exist_ok=True)
    part = weights.with_suffix(".part")
    save_model(network, str(part))
    part.replace(weights)


def configuration(recipe: str, folder: Path, seed: int, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe's configuration, with its output in `folder` and no logger."""
    config = yaml.safe_load(recipe_path(recipe).read_text(encoding="utf-8"))
    config["seed_everything"] = seed
    config["data"].setdefault("init_args", {})["seed"] = seed
    config["trainer"] |= {"logger": False, "default_root_dir": str(folder)}
    for callback in config["trainer"].get("callbacks", []):
        callback["init_args"]["export"]["init_args"]["folder"] = str(folder / EXPORT)
    for key, value in changes.items():
        part, _, last = key.rpartition(".")
        section = config[part]
        (section if part == "trainer" else section.setdefault("init_args", {}))[last] = value
    return config


def encoded(network: nn.Module, x: Tensor) -> Tensor:
    """Flat latents or scores, on the CPU; computed on a GPU where there is one."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network.to(device)
    # TensorFloat-32 would add errors of 1e-3 to what is equivariant to rounding.
    with torch.no_grad(), torch.backends.cudnn.flags(allow_tf32=False):
        found = torch.cat([network(part.to(device)).flatten(1).cpu() for part in x.split(256)])
    network.to("cpu")
    return found
