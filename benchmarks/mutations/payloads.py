"""What would run if anything of an artefact were executed: each payload makes a folder that the judge looks for."""

from __future__ import annotations

import os
import pickle
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.mutations.edit import edit, hashed_file, rehash
from benchmarks.mutations.judge import CANARY

if TYPE_CHECKING:
    import random
    from pathlib import Path

CODE = f"__import__('os').mkdir({CANARY!r})"
CLASSES = ["os.system", "builtins.eval", "subprocess.Popen", "torch.load", "pickle.loads", "importlib.import_module"]
BOMB = "".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9) if i else 'x'}]\n" for i in range(12))
CARDS = [
    f"---\n{BOMB}---\n# bomb\n",
    f"---\nlicense: !!python/object/apply:os.mkdir ['{CANARY}']\n---\n# tag\n",
    f"---\ntags: !!python/name:os.system\nx: !!python/object/new:os.system [mkdir {CANARY}]\n---\n",
    "---\n" + "[" * 5_000 + "\n---\n",
    "---\n" + "a: " * 5_000 + "\n---\n",
    "---\n? " * 3_000 + "\n---\n",
    "\x1b]0;owned\x07\x1b[2J" * 100,
    "---\nmodel-index: [{name: x, results: 7}]\n---\n",
    "---\ntags: {a: 1}\nmodel-index: nothing\nlicense: [1, 2]\n---\n",
    "<!-- lightning-invariant:begin -->" * 5_000,
    "---\n" + "&a " * 2_000 + "x: 1\n---\n",
    "\ud7ff\u202e\u0000",
    "---\nx: 1e999\ny: .nan\nz: 0o7777777777777777777777\nd: 9999-99-99\n---\n",
]


class _Payload:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (CANARY,)


def pickle_file(folder: Path, chance: random.Random, number: int) -> None:
    """A pickle, or a file of torch.save, in place of or behind a file."""
    path = hashed_file(folder, chance) if number % 4 else folder / "config.json"
    content = path.read_bytes()
    if number % 3 == 0:
        path.write_bytes(pickle.dumps(_Payload()))
    elif number % 3 == 1:
        torch.save({"x": _Payload()}, path)
    else:
        path.write_bytes(pickle.dumps(_Payload(), protocol=0) + content)
    rehash(folder)


def exported_program(folder: Path, chance: random.Random, number: int) -> None:
    """A weight marked as a pickle, sympy text, sample inputs, guards, a class in a pytree: as they would look here."""
    way = number % 5
    if way == 0:
        edit(folder, "graph.json", lambda g: next(iter(g["tensors"].values())).update(use_pickle=True))
        edit(folder, "config.json", lambda c: c.update(use_pickle=True, payload_meta={"use_pickle": True}))
        (folder / "data.pkl").write_bytes(pickle.dumps(_Payload()))
    elif way == 1:
        places = [
            lambda g: g["dims"].update(batch=CODE),
            lambda g: g["dims"].update({CODE: 2}),
            lambda g: g["inputs"][0]["shape"].__setitem__(0, {"as_expr": {"expr_str": CODE}}),
            lambda g: g["nodes"][0]["args"].append({"as_sym_int": {"expr_str": CODE}}),
        ]
        edit(folder, "graph.json", places[(number // 5) % len(places)])
    elif way == 2:
        (folder / "data" / "sample_inputs").mkdir(parents=True)
        torch.save(_Payload(), folder / "data" / "sample_inputs" / "model.pt")
        torch.save(_Payload(), folder / "model.pt2")
        edit(folder, "graph.json", lambda g: g.update(example_inputs="data/sample_inputs/model.pt"))
    elif way == 3:
        edit(folder, "graph.json", lambda g: g.update(guards_code=[CODE], module_call_graph=[CODE]))
        edit(folder, "config.json", lambda c: c.update(guards_code=[CODE], auto_map={"AutoModel": "model.py--X"}))
        (folder / "model.py").write_text(f"{CODE}\nclass X: pass\n")
    else:
        enum = {"type": "builtins.Enum", "context": {"__enum__": True, "fqn": "os:system", "name": CODE}}
        edit(folder, "graph.json", lambda g: g["output"].update(value=enum) if number % 2 else g.update(spec=enum))


def class_path(folder: Path, chance: random.Random, number: int) -> None:
    """A network to be imported, and flags that a repository has no say in."""

    def change(config: dict[str, Any]) -> None:
        path = CLASSES[number % len(CLASSES)]
        arguments = {"command": f"mkdir {CANARY}", "source": CODE}
        if number % 2:
            config["network"] = {"kind": "class", "class": path, "arguments": arguments}
        config["network"]["trust_remote_code"] = config["trust_remote_code"] = True

    edit(folder, "config.json", change)
    (folder / "network.py").write_text(CODE)


def card(folder: Path, chance: random.Random, number: int) -> None:
    """A README that bites whoever parses it."""
    (folder / "README.md").write_text(CARDS[number % len(CARDS)], encoding="utf-8", errors="replace")
