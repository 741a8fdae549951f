"""JSON that tricks its reader, and safetensors headers that lie."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

from benchmarks.mutations.edit import rehash

if TYPE_CHECKING:
    import random
    from pathlib import Path

NAMES = ["graph.json", "config.json", "certificate.json"]
DEPTHS = [100, 2_000, 50_000, 500_000]


def json_tricks(folder: Path, chance: random.Random, number: int) -> None:
    """Text that is put into, or in place of, a JSON file."""
    name = NAMES[number % len(NAMES)]
    text = (folder / name).read_text()
    depth = DEPTHS[(number // 3) % len(DEPTHS)]
    first = text[1:].lstrip().partition(":")[0]
    tricks = [
        text.replace("{", '{"extra": ' + "[" * depth + "]" * depth + ", ", 1),
        "[" * depth,
        '{"a":' * depth,
        text.replace("{", "{" + f"{first}: 1, ", 1),
        text.replace("{", '{"nan": NaN, ', 1),
        text.replace("{", '{"inf": -Infinity, "big": 1e999, ', 1),
        text.replace("{", '{"n": ' + "9" * 5_000 + ", ", 1),
        text.replace("{", '{"\\ud800": "\\u0000\\u202e", ', 1),
        text.replace("format", "f\u043ermat", 1),
        text.replace("weight", "w\u0435ight", 1),
        "\ufeff" + text,
        text.encode("utf-16").decode("latin-1"),
        text.replace("{", "{" + '"x": 1,' * 200_000, 1),
        '{"a": [' + "[]," * 1_300_000 + "[]]}",
        '{"a": [' + "{}," * 1_300_000 + "{}]}",
        text + text,
        text.replace(":", ":/**/", 1),
        "null",
        '"' + "a" * 3_000_000 + '"',
        text.replace("{", '{"__class__": {"__init__": {"__globals__": 1}}, "__reduce__": ["os.system", ["x"]], ', 1),
    ]
    (folder / name).write_text(tricks[number % len(tricks)], encoding="utf-8", errors="surrogatepass")
    rehash(folder)


def safetensors_tricks(folder: Path, chance: random.Random, number: int) -> None:
    """Another header length, or entries that lie about types, shapes and places."""
    path = folder / "model.safetensors"
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    if number % 4 == 0:
        lengths = [0, 1, length - 1, length + 1, 2**20, 2**31, 2**63, 2**64 - 1, len(content)]
        path.write_bytes(struct.pack("<Q", lengths[(number // 4) % len(lengths)]) + content[8:])
    else:
        text = _lie(header, chance, number)
        path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    rehash(folder)


def _lie(header: dict[str, Any], chance: random.Random, number: int) -> bytes:
    names = [name for name in header if name != "__metadata__"]
    entry, other = header[chance.choice(names)], header[chance.choice(names)]
    size = chance.choice([0, -1, 2**20, 2**40, 2**62, 2**64])
    way = (number // 4) % 16
    if way == 0:
        entry["shape"] = [size, *entry["shape"]]
    elif way == 1:
        entry["shape"] = [0, 2**62, 2**62]
    elif way == 2:
        entry["dtype"] = chance.choice(["F8_E4M3", "F4", "OBJECT", "I64", "BOOL", "C64", 7, None, "pickle"])
    elif way == 3:
        entry["data_offsets"] = other["data_offsets"]
    elif way == 4:
        entry["data_offsets"] = [size, size + 4]
    elif way == 5:
        entry["data_offsets"] = entry["data_offsets"][::-1]
    elif way == 6:
        header[chance.choice(["../x", "network.__class__", "a" * 10**5, "network.\u202e", "head.weight"])] = dict(entry)
    elif way == 7:
        header.pop(chance.choice(names))
    elif way == 8:
        header["__metadata__"] = {"format": "pickle", "x": "a" * 10**6}
    elif way == 9:
        header["__metadata__"] = {str(i): "y" for i in range(100_000)}
    elif way == 10:
        header |= {f"network.t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(100_000)}
    elif way == 11:
        entry["shape"] = [1] * 100_000
    elif way == 12:
        return json.dumps(header).replace("{", '{"a": NaN, ', 1).encode()
    elif way == 13:
        return json.dumps(header).replace('"F32"', '"F32", "dtype": "F64"', 1).encode()
    elif way == 14:
        return b'{"a":' * 60_000
    else:
        return json.dumps(header).encode() + b" " * 10**6 + b"\0" * 10
    return json.dumps(header).encode()
