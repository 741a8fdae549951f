"""A README with two authors: ours stands between two markers, everything around them is the user's and stays."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from lightning_invariant.artifact.files import require_inside

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

BEGIN, END = "<!-- lightning-invariant:begin -->", "<!-- lightning-invariant:end -->"
"""Around the part of a card that is written anew at every export."""
MEASURED_ON = "validation data of the training run, transformed at random"
"""Name of the data set of our entries in a card's model-index; entries of other names are the author's."""
_OURS = (MEASURED_ON, "validation data of the training run, moved at random")
_BLOCK = re.compile(rf"{re.escape(BEGIN)}(?:(?!{re.escape(BEGIN)}).)*?{re.escape(END)}", re.DOTALL)
_FRONT_MATTER = re.compile(r"\A\s*---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_SNIPPET = re.compile(r'(InvariantEncoder\.from_pretrained\()"[^"\n]*"')


class _Parts(NamedTuple):
    metadata: dict[str, Any]
    before: str
    block: str
    after: str


def merged(card: str, existing: str | None) -> str:
    """A card, with what the author wrote into an earlier one or into a README of their own.

    Text outside the markers is kept: that of `card` if it has any, else that of `existing`; a README without markers
    is kept whole, ours comes below it. Of the metadata, keys that only the earlier one has are kept, tags are joined,
    and results on other data sets stay. Metadata that cannot be read stay as text.
    """
    if existing is None or not existing.strip():
        return card
    new, old = _split(card), _split(existing)
    before, after = (new.before, new.after) if (new.before + new.after).strip() else (old.before, old.after)
    metadata = _joined(new.metadata, old.metadata)
    body = "".join((before, new.block, after))
    if new.block and before and not old.block and not (new.before + new.after).strip():
        body = f"{before.rstrip()}\n\n{new.block}\n"
    return f"{front_matter(metadata)}{body}"


def for_repository(card: str, repo_id: str) -> str:
    """The card with a loading snippet that names a repository; text of the author is not touched."""
    return _BLOCK.sub(lambda found: _SNIPPET.sub(rf'\g<1>"{repo_id}"', found[0]), card)


def read_card(folder: str | os.PathLike[str]) -> str | None:
    """The README.md of a folder; None if there is none."""
    path = require_inside(Path(folder) / "README.md")
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None


def _split(text: str) -> _Parts:
    metadata, body = {}, text
    if found := _FRONT_MATTER.match(text):
        try:
            read = yaml.safe_load(found[1])
        except Exception:  # an author's metadata can be broken in any way; nothing of it may be lost
            read = None
        if isinstance(read, dict):
            metadata, body = read, text[found.end() :]
    blocks = list(_BLOCK.finditer(body))
    if not blocks:
        return _Parts(metadata, body.lstrip("\r\n"), "", "")
    block = blocks[-1]
    return _Parts(metadata, body[: block.start()].lstrip("\r\n"), block[0], body[block.end() :])


def front_matter(metadata: Mapping[str, Any]) -> str:
    """Metadata as they stand at the top of a README that the Hub reads."""
    text = yaml.safe_dump(dict(metadata), sort_keys=False, allow_unicode=True).strip()
    return f"---\n{text}\n---\n\n" if metadata else ""


def _joined(new: Mapping[str, Any], old: Mapping[str, Any]) -> dict[str, Any]:
    joined = {**old, **new}
    tags = [*_listed(new.get("tags")), *_listed(old.get("tags"))]
    joined["tags"] = list(dict.fromkeys(tag for tag in tags if isinstance(tag, str)))
    index = _index(new.get("model-index"), old.get("model-index"))
    return {key: value for key, value in (joined | {"model-index": index}).items() if value not in (None, [])}


def _index(new: Any, old: Any) -> list[Any]:
    """Entries of models, ours first; of the old ones only results on data sets of the author."""
    entries = [dict(entry) for entry in _listed(new)]
    for entry in _listed(old):
        if not isinstance(entry, dict) or not isinstance(entry.get("results"), list):
            continue
        theirs = [result for result in entry["results"] if not _is_ours(result)]
        same = next((known for known in entries if known.get("name") == entry.get("name")), None)
        if same is not None:
            known = same.get("results", [])
            same["results"] = [*known, *(result for result in theirs if result not in known)]
        elif theirs:
            entries.append({**entry, "results": theirs})
    return entries


def _is_ours(result: Any) -> bool:
    dataset = result.get("dataset") if isinstance(result, dict) else None
    return isinstance(dataset, dict) and dataset.get("name") in _OURS


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
