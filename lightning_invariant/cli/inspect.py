"""The command `inspect`: card and certificate of an encoder, without building its network."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from lightning_invariant.cli.source import add_source
from lightning_invariant.cli.terminal import show_markdown, show_table

if TYPE_CHECKING:
    import argparse

    from lightning_invariant.projections import Projection


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the `inspect` command."""
    parser = subparsers.add_parser(
        "inspect",
        help="show the card and the certificate of an encoder without building it",
        description="Show what an encoder is and what its author measured. Weights and graph are not downloaded. What "
        "the projection guarantees is known to the library; use `verify` to measure the rest.",
    )
    add_source(parser, computes=False)
    parser.add_argument("--card", action="store_true", help="also show the whole card")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from lightning_invariant.artifact.config import CARD, CERTIFICATE
    from lightning_invariant.artifact.files import read_bytes
    from lightning_invariant.artifact.folder import read_certificate, read_config
    from lightning_invariant.encoder.description import rebuild_projection
    from lightning_invariant.hub.download import CARD_LIMIT, Source, local_folder

    source = Source(args.repo, args.revision, args.subfolder)
    folder = local_folder(source, wanted=lambda config: [CERTIFICATE, CARD], local_files_only=args.offline)
    config = read_config(folder)
    certificate = read_certificate(folder, config)
    projection = rebuild_projection(config, None, certificate)
    card = read_bytes(folder / CARD, CARD_LIMIT).decode("utf-8", "replace") if (folder / CARD).is_file() else ""
    if args.json:
        said = {"config": config, "certificate": certificate, "card": card}
        held = projection.guarantee.to_dict()
        print(json.dumps({**said, "verified": {"guarantee": held, "files": [CERTIFICATE]}}, indent=2))
        return 0
    show_table(("", ""), [*described(config, projection), *_provenance(certificate)])
    print()
    _show_measured(config, certificate)
    if args.card:
        print()
        show_markdown(_without_metadata(card))
    return 0


def described(config: dict[str, Any], projection: Projection) -> list[tuple[str, str]]:
    """Describe a configuration that passed the schema in words; the guarantee is that of the library."""
    marks = [", the mask" * (i == config.get("mask")) for i in range(len(config["inputs"]))]
    inputs = "; ".join(
        f"{spec['dtype']} {_shape(spec)}{mark}" for spec, mark in zip(config["inputs"], marks, strict=True)
    )
    network, head = config["network"], config["head"]
    kinds = {
        "graph": "a graph, loads without its class (not looked at)",
        "none": f"none: a projection for latents of {config.get('base_model') or 'a network that lives elsewhere'}",
        "class": f"needs {network.get('class')}",
    }
    rows = [
        ("format", f"{config['format']} {config['format_version']}, written by {config['library']}"),
        ("torch", config["torch"]),
        ("network", kinds[network["kind"]]),
        ("input", inputs),
        ("latent", f"{config['latent_size']} numbers, {config['representation']}"),
        ("projection", f"{type(projection).__name__}: {config['features']} features"),
        ("guarantee", str(projection.guarantee)),
        ("source", projection.guarantee.source or "-"),
    ]
    if head is not None:
        rows.append(("head", f"{head['kind']}: {', '.join(head['labels'][:10])}{' ...' * (len(head['labels']) > 10)}"))
    if config["preprocessing"] is not None:
        rows.append(("preprocessing", ", ".join(f"{k} {v}" for k, v in config["preprocessing"].items())))
    return rows


def _show_measured(config: dict[str, Any], certificate: dict[str, Any]) -> None:
    from lightning_invariant.artifact.config import weights_digest

    rows = sorted(certificate["measured"].items())
    if not rows:
        print("Nothing was measured before this export.")
        return
    show_table(("measured, as its author says", "value"), [(name, _number(value)) for name, value in rows])
    print("\nThese numbers were not measured here: run `lightning-invariant verify` with inputs of your own.")
    if config["certified"] != weights_digest(config["files"]):
        print("The weights were changed after this was measured: the numbers are those of the old weights.")


def _provenance(certificate: dict[str, Any]) -> list[tuple[str, str]]:
    found = {name: certificate.get(name) for name in ("samples", "versions")}
    return [
        (name, ", ".join(f"{key} {value}" for key, value in entries.items()))
        for name, entries in found.items()
        if isinstance(entries, dict) and entries
    ]


def _shape(spec: dict[str, Any]) -> str:
    return f"({', '.join(map(str, spec['shape']))})"


def _number(value: Any) -> str:
    return "not measured" if value is None else f"{value:.4g}"


def _without_metadata(card: str) -> str:
    if not card.startswith("---\n"):
        return card
    return card.partition("\n---\n")[2] or card
