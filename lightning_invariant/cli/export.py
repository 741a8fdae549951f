"""The command `export`: an encoder out of a Lightning checkpoint."""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_invariant.errors import ArtifactError, InvariantError

if TYPE_CHECKING:
    import argparse

    from torch import Tensor, nn

    from lightning_invariant.callback.export.from_checkpoint import Recipe


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the `export` command."""
    parser = subparsers.add_parser(
        "export",
        help="export the encoder of a Lightning checkpoint",
        description="Export the encoder and the invariant projection of a checkpoint as a folder that anybody can "
        "load. The class of the network is imported by the name that you give, never by a name in the file. If the "
        "checkpoint was written with an InvariantCallback, the layer, the representation, the shape of the inputs and "
        "the measured numbers are read from it.",
        epilog="Example: lightning-invariant export runs/last.ckpt --model my_project.model.Classifier -o runs/hub",
    )
    parser.add_argument("checkpoint", metavar="CKPT", help="a checkpoint with all weights in one file")
    parser.add_argument("--model", metavar="CLASS", help="import path of the LightningModule, such as my_project.Model")
    parser.add_argument(
        "-o", "--output", metavar="DIR", help="folder to write (default: the path of the checkpoint without its suffix)"
    )
    parser.add_argument(
        "--init", metavar="JSON", help="arguments of the class, which override the hyperparameters of the checkpoint"
    )
    parser.add_argument("--layer", help="layer whose output is the latent")
    parser.add_argument("--representation", help="how the group acts on the latent, such as 'C4: 16 regular'")
    parser.add_argument("--pool", choices=["mean", "max"], help="how to pool the positions of a feature map")
    parser.add_argument("--input", metavar="SHAPE", help="shape of one input, such as 3,32,32")
    parser.add_argument(
        "--example", metavar="FILE", help=".npz, .npy or .safetensors file with a few inputs, instead of --input"
    )
    parser.add_argument("--name", help="name of the model on its card (default: the name of the folder)")
    parser.add_argument("--onnx", action="store_true", help="also write model.onnx (needs the extra onnx)")
    parser.add_argument("--license", help="licence on the card, such as apache-2.0")
    parser.add_argument(
        "--trust-checkpoint",
        action="store_true",
        help="unpickle the checkpoint, which can execute any code: only for files that you wrote yourself",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; the exit status is 0 if the folder was written."""
    from lightning_invariant.artifact.card import Card
    from lightning_invariant.callback.export.checkpoints import read_checkpoint
    from lightning_invariant.callback.export.from_checkpoint import build_module, export_from
    from lightning_invariant.encoder.export import ExportOptions
    from lightning_invariant.encoder.progress import progress_bar

    path = Path(args.checkpoint)
    if not path.exists():
        raise ArtifactError(f"Expected a checkpoint but there is no {path}.")
    folder = Path(args.output) if args.output else path.with_suffix("")
    with progress_bar("Exporting: checkpoint, network, graph", 3) as done:
        saved = read_checkpoint(str(path), trusted=args.trust_checkpoint)
        done(1)
        kind = _model_class(args.model, saved.hyperparameters)
        recipe = _recipe(args, saved)
        module = build_module(kind, saved, _arguments(args.init))
        done(1)
        card, options = Card(name=args.name, license=args.license), ExportOptions(onnx=args.onnx)
        encoder = export_from(saved, module, recipe, folder, card=card, options=options)
        done(1)
    result = {
        "folder": str(folder),
        "layer": recipe.layer,
        "representation": str(recipe.projection.representation),
        "projection": type(recipe.projection).__name__,
        "guarantee": str(encoder.guarantee),
        "features": encoder.projection.out_features,
        "epoch": saved.epoch,
        "step": saved.step,
    }
    if args.json:
        print(json.dumps(result, indent=2))
    else:
        print(f"exported {recipe.projection.representation} -> {result['features']} features, {encoder.guarantee}")
        print(f'load it: InvariantEncoder.from_pretrained("{folder}")')
        print(f"share it: lightning-invariant push {folder} user/name")
    return 0


def _model_class(name: str | None, hyperparameters: Any) -> type[nn.Module]:
    from torch import nn

    if name is None:
        hint = hyperparameters.get("_class_path")
        told = f" It says that it was made by {hint}: give --model {hint} if that is so." if hint else ""
        raise ArtifactError(
            f"Expected --model, the import path of the LightningModule; a checkpoint holds weights, not code.{told}"
        )
    place, _, attribute = name.rpartition(".")
    sys.path.insert(0, os.getcwd())
    try:
        kind = getattr(import_module(place), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ArtifactError(
            f"Expected an import path such as my_project.model.Classifier but got {name!r}: {error}; run the command "
            "where that can be imported."
        ) from error
    finally:
        sys.path.remove(os.getcwd())
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise ArtifactError(f"Expected {name} to be a class of modules but it is {type(kind).__name__}.")
    return kind


def _recipe(args: argparse.Namespace, saved: Any) -> Recipe:
    import torch

    from lightning_invariant.callback.export.from_checkpoint import Recipe, callback_notes
    from lightning_invariant.projections import Projection, choose

    notes = {} if args.layer and args.representation else callback_notes(saved)
    if "reason" in notes:
        raise InvariantError(
            f"Expected a checkpoint from which the latents can be reached but {notes['reason']}; export while "
            "training, with InvariantCallback(..., export=FOLDER)."
        )
    layer = args.layer or notes.get("layer")
    if layer is None or (args.representation is None and "projection" not in notes):
        raise InvariantError(
            "Expected --layer and --representation, since no InvariantCallback left them in the checkpoint, such as "
            "--layer encoder --representation 'C4: 16 regular'."
        )
    if args.representation is None:
        projection = Projection.from_config(notes["projection"])
        projection.load_state_dict(notes["tensors"])
    else:
        projection = choose(args.representation)
    example: tuple[Tensor, ...] = (_example(args, notes),)
    if notes.get("masked"):
        example = (*example, torch.ones(len(example[0]), int(getattr(projection, "n", 0)), dtype=torch.bool))
    return Recipe(layer, projection, example, notes.get("pick"), args.pool or notes.get("pool"), notes)


def _example(args: argparse.Namespace, notes: dict[str, Any]) -> Tensor:
    import torch

    from lightning_invariant.callback.export.from_checkpoint import example_of

    if args.example:
        from lightning_invariant.encoder.input_files import read_inputs

        return read_inputs(Path(args.example))[0][0][:16]
    if args.input:
        try:
            shape = [int(size) for size in args.input.split(",")]
        except ValueError:
            raise InvariantError(f"Expected --input as sizes, such as 3,32,32, but got {args.input!r}.") from None
        return torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    if (found := example_of(notes)) is None:
        raise InvariantError(
            "Expected the shape of one input, such as --input 3,32,32, or some of them: --example FILE."
        )
    return found


def _arguments(text: str | None) -> dict[str, Any]:
    try:
        found = json.loads(text) if text else {}
    except ValueError as error:
        raise InvariantError(
            f"Expected --init as JSON, such as '{{\"width\": 16}}', but got {text!r}: {error}."
        ) from None
    if not isinstance(found, dict):
        raise InvariantError(f"Expected --init as a JSON object, but got {text!r}.")
    return found
