"""What the loopback Hub keeps: repositories with whole trees as commits, branches, tags, pull requests."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

LFS_SUFFIXES = (".safetensors", ".png", ".onnx")


class RefusalError(Exception):
    """An answer that is not 200, with the code that drives the client's exception."""

    def __init__(self, status: int, code: str = "", message: str = "", **body: Any) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.body = status, code, message, body


@dataclass
class Repository:
    """Commits as whole trees, and names that point at them."""

    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    pulls: dict[str, str] = field(default_factory=dict)
    messages: list[tuple[str, str]] = field(default_factory=list)

    def commit(self, tree: dict[str, bytes], branch: str = "main", message: str = "") -> str:
        """Append a tree to a branch, or to a pull request by its name refs/pr/N; returns its commit."""
        seed = json.dumps([len(self.commits), branch, sorted(tree)])
        sha = hashlib.sha1(seed.encode()).hexdigest()
        self.commits[sha] = tree
        (self.pulls if branch.startswith("refs/pr/") else self.branches)[branch] = sha
        self.messages.append((branch, message))
        return sha

    def find(self, revision: str) -> str:
        """The commit that a branch, tag, pull request or commit names."""
        names = self.branches | self.tags | self.pulls
        sha = names.get(revision, revision)
        if sha not in self.commits:
            raise RefusalError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return sha

    def refs(self) -> dict[str, Any]:
        """As the Hub lists them."""
        kinds = {"branches": (self.branches, "refs/heads/"), "tags": (self.tags, "refs/tags/")}
        listed: dict[str, Any] = {
            kind: [{"name": name, "ref": f"{prefix}{name}", "targetCommit": sha} for name, sha in names.items()]
            for kind, (names, prefix) in kinds.items()
        }
        pulls = [{"name": name, "ref": name, "targetCommit": sha} for name, sha in self.pulls.items()]
        return listed | {"converts": [], "pullRequests": pulls}


def is_large(path: str) -> bool:
    """Whether the LFS profile takes a file as a large one."""
    return path.endswith(LFS_SUFFIXES)


def object_name(path: str, content: bytes, *, large: bool) -> str:
    """The name under which the Hub's client compares a file with its own."""
    if large:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def tree_entry(path: str, content: bytes, *, large: bool) -> dict[str, Any]:
    """As the Hub lists a file."""
    oid = object_name(path, content, large=False)
    entry: dict[str, Any] = {"type": "file", "path": path, "oid": oid, "size": len(content)}
    if large:
        entry["lfs"] = {"oid": object_name(path, content, large=True), "size": len(content), "pointerSize": 130}
    return entry
