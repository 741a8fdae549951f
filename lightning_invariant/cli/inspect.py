"""The command `inspect`: card and certificate of an encoder, without building its network."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from lightning_invariant.cli.source import add_source, where
from lightning_invariant.cli.terminal import harmless, show_markdown, show_table

if TYPE_CHECKING:
    import argparse

CARD_LIMIT = 2**20
"""Largest card that is shown, in bytes."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the `inspect` command."""
    parser = subparsers.add_parser(
        "inspect",
        help="card and certificate of an encoder, without building it",
        description="Show what an encoder is and what was measured. Weights and graph are not downloaded.",
    )
    add_source(parser, computes=False)
    parser.add_argument("--card", action="store_true", help="show the whole card too")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from lightning_invariant.hub.artifact import CARD, CERTIFICATE, CONFIG
    from lightning_invariant.hub.json_file import read_bytes
    from lightning_invariant.hub.reader import read_certificate, read_config
    from lightning_invariant.hub.transport import local_folder

    folder = local_folder(args.repo, files=(CONFIG, CERTIFICATE, CARD), **where(args))
    config = read_config(folder)
    certificate = read_certificate(folder, config)
    card = read_bytes(folder / CARD, CARD_LIMIT).decode("utf-8", "replace") if (folder / CARD).is_file() else ""
    if args.json:
        print(json.dumps({"config": config, "certificate": certificate, "card": card}, indent=2))
        return 0
    show_table(("", ""), [*described(config), *_provenance(certificate)])
    print()
    _show_measured(config, certificate)
    if args.card:
        print()
        show_markdown(_without_metadata(card))
    return 0


def described(config: dict[str, Any]) -> list[tuple[str, str]]:
    """What a configuration that passed the schema says, in words."""
    marks = [", the mask" * (i == config.get("mask")) for i in range(len(config["inputs"]))]
    inputs = "; ".join(
        f"{spec['dtype']} {_shape(spec)}{mark}" for spec, mark in zip(config["inputs"], marks, strict=True)
    )
    network = config["network"]
    head = config["head"]
    rows = [
        ("format", f"{config['format']} {config['format_version']}, written by {config['library']}"),
        ("torch", config["torch"]),
        ("network", "a graph, loads without its class" if network["kind"] == "graph" else f"needs {network['class']}"),
        ("input", inputs),
        ("latent", f"{config['latent_size']} numbers, {config['representation']}"),
        ("projection", f"{config['projection'].get('name')}: {config['features']} features"),
        ("guarantee", _guarantee(config["guarantee"])),
        ("source", config["guarantee"].get("source") or "-"),
    ]
    if head is not None:
        rows.append(("head", f"{head['kind']}: {', '.join(head['labels'][:10])}{' ...' * (len(head['labels']) > 10)}"))
    if config["preprocessing"] is not None:
        rows.append(("preprocessing", ", ".join(f"{k} {v}" for k, v in config["preprocessing"].items())))
    return rows


def _show_measured(config: dict[str, Any], certificate: dict[str, Any]) -> None:
    from lightning_invariant.hub.artifact import weights_digest

    measured = certificate.get("measured")
    rows = sorted(measured.items()) if isinstance(measured, dict) else []
    if not rows:
        print("Nothing was measured before this export.")
        return
    show_table(("measured", "value"), [(name, _number(value)) for name, value in rows])
    if config["certified"] != weights_digest(config["files"]):
        print("\nThe weights were changed after this was measured: the numbers are those of the old weights.")


def _provenance(certificate: dict[str, Any]) -> list[tuple[str, str]]:
    found = {name: certificate.get(name) for name in ("samples", "versions")}
    return [
        (name, ", ".join(f"{key} {value}" for key, value in entries.items()))
        for name, entries in found.items()
        if isinstance(entries, dict) and entries
    ]


def _guarantee(data: dict[str, Any]) -> str:
    from lightning_invariant.guarantee import Guarantee

    try:
        return str(Guarantee.from_dict(data))
    except ValueError:
        return "cannot be read"


def _shape(spec: dict[str, Any]) -> str:
    return f"({', '.join(map(str, spec['shape']))})"


def _number(value: Any) -> str:
    return f"{value:.4g}" if type(value) in (int, float) else harmless(value)[:40]


def _without_metadata(card: str) -> str:
    if not card.startswith("---\n"):
        return card
    return card.partition("\n---\n")[2] or card
