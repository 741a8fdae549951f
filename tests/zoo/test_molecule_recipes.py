"""The recipes as LightningCLI runs them, on made-up data in the files of the real one."""

import pytest
import torch
import yaml

from lightning_invariant import InvariantEncoder
from lightning_invariant.cli.recipes import lightning_cli, recipe_path
from lightning_invariant.metrics import invariance_error
from lightning_invariant.zoo.molecule_action import AtomAction, GraphAction
from tests.zoo.molecules import write_qm7, write_qm9


def fitted(name, data_dir, folder):
    config = yaml.safe_load(recipe_path(name).read_text(encoding="utf-8"))
    config["model"]["init_args"] |= {"width": 8, "layers": 1}
    config["data"]["init_args"] |= {"data_dir": str(data_dir)}
    config["trainer"] |= {"max_epochs": 1, "logger": False, "enable_progress_bar": False}
    config["trainer"] |= {"default_root_dir": str(folder)}
    config["trainer"]["callbacks"][0]["init_args"]["export"]["init_args"]["folder"] = str(folder / "hub")
    cli = lightning_cli(config, run=False)
    cli.trainer.fit(cli.model, datamodule=cli.datamodule)
    return cli, InvariantEncoder.from_pretrained(folder / "hub")


def moved_errors(encoder, x, action):
    moved = action.transform(x, action.group.sample(len(x), torch.Generator().manual_seed(0)))
    with torch.no_grad():
        return [invariance_error(f(moved), f(x)) for f in (encoder, encoder.latent)]


def test_molecules_o3_trains_and_exports_invariant_features(tmp_path):
    cli, encoder = fitted("molecules-o3", write_qm7(tmp_path), tmp_path)
    x = cli.datamodule.validation.tensors[0]
    projected, raw = moved_errors(encoder, x, AtomAction())
    assert projected < 1e-4 < 0.1 < raw
    assert str(encoder.projection.representation) == cli.model.encoder.representation


@pytest.mark.parametrize("name", ["molecules-permutation-vae", "molecules-permutation-vae-8"])
def test_molecules_permutation_vae_trains_and_exports_invariant_features(name, tmp_path):
    pytest.importorskip("rdkit", reason="RDKit reads SMILES; install lightning-invariant[molecules]")
    cli, encoder = fitted(name, write_qm9(tmp_path), tmp_path)
    x = cli.datamodule.validation.tensors[0]
    projected, raw = moved_errors(encoder, x, GraphAction())
    assert projected < 1e-4 < 0.1 < raw
    with torch.no_grad():
        if name == "molecules-permutation-vae":
            assert torch.allclose(encoder(x), encoder.latent(x).sort(dim=1).values)
