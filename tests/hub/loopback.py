"""A small Hugging Face Hub on 127.0.0.1 that the genuine client talks to: repositories, commits, LFS, downloads."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

USER = "tester"
LFS_SUFFIXES = (".safetensors", ".png")


class RefusalError(Exception):
    """An answer that is not 200, with the code that drives the client's exception."""

    def __init__(self, status: int, code: str = "", message: str = "", **body: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.body = status, code, message, body


@dataclass
class Repository:
    """Commits as whole trees, and branches that point at them."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def commit(self, tree: dict[str, bytes], branch: str = "main") -> str:
        """Append a tree to a branch; returns its commit."""
        seed = json.dumps([len(self.commits), branch, sorted(tree)])
        sha = hashlib.sha1(seed.encode()).hexdigest()
        self.commits[sha] = tree
        self.branches[branch] = sha
        return sha

    def find(self, revision: str) -> str:
        """The commit that a branch or commit names."""
        sha = self.branches.get(revision, revision)
        if sha not in self.commits:
            raise RefusalError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return sha


class Hub(ThreadingHTTPServer):
    """The server; use it in a `with` block, which stops it.

    Args:
        before: Called with method and path before each answer, in the thread of the request.
    """

    daemon_threads = True

    def __init__(self, before: Callable[[str, str], None] | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.before = before
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05})

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> Hub:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def python(self, code: str, home: Path, *arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a program whose Hub this is, with a cache of its own."""
        settings = {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(home),
            "HF_TOKEN": "hf_loopback",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "NO_PROXY": "127.0.0.1",
        }
        command = [sys.executable, "-c", code, *map(str, arguments)]
        done = subprocess.run(
            command, env=os.environ | settings, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0 or not check, done.stderr
        return done


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815  (names of the standard library)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def _answer(self) -> None:
        path, body = unquote(urlsplit(self.path).path), self._body()
        self.server.requests.append((self.command, path))
        if self.server.before is not None:
            self.server.before(self.command, path)
        status, headers, content = 200, {}, b""
        try:
            for pattern, route in ROUTES:
                if found := pattern.fullmatch(f"{self.command} {path}"):
                    headers, content = route(self.server, *found.groups(), body)
                    break
            else:
                raise RefusalError(404, "", f"no such route: {self.command} {path}")
        except RefusalError as refusal:
            status, content = refusal.status, json.dumps({"error": refusal.message, **refusal.body}).encode()
            headers = {"X-Error-Code": refusal.code, "X-Error-Message": refusal.message}
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)


def _repository(hub: Hub, name: str) -> Repository:
    if name not in hub.repositories:
        raise RefusalError(404, "RepoNotFound", "Repository not found")
    return hub.repositories[name]


def _json(data: Any) -> tuple[dict[str, str], bytes]:
    return {"Content-Type": "application/json"}, json.dumps(data).encode()


def _entry(path: str, content: bytes) -> dict[str, Any]:
    oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    entry = {"type": "file", "path": path, "oid": oid, "size": len(content)}
    if path.endswith(LFS_SUFFIXES):
        entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
    return entry


def _create(hub: Hub, body: bytes) -> tuple[dict[str, str], bytes]:
    request = json.loads(body)
    name = f"{request.get('organization') or USER}/{request['name']}"
    if name in hub.repositories:
        raise RefusalError(409, "", "You already created this model repo", url=f"{hub.endpoint}/{name}")
    hub.repositories[name] = Repository()
    hub.repositories[name].commit({".gitattributes": b"*.safetensors filter=lfs\n"})
    return _json({"url": f"{hub.endpoint}/{name}", "name": name})


def _info(hub: Hub, name: str, revision: str | None, body: bytes) -> tuple[dict[str, str], bytes]:
    repository = _repository(hub, name)
    sha = repository.find(revision or "main")
    files = [{"rfilename": path} for path in repository.commits[sha]]
    return _json({"id": name, "sha": sha, "private": False, "tags": [], "siblings": files})


def _tree(hub: Hub, name: str, revision: str, body: bytes) -> tuple[dict[str, str], bytes]:
    repository = _repository(hub, name)
    return _json([_entry(*item) for item in repository.commits[repository.find(revision)].items()])


def _preupload(hub: Hub, name: str, revision: str, body: bytes) -> tuple[dict[str, str], bytes]:
    modes = {True: "lfs", False: "regular"}
    files = [
        {"path": f["path"], "uploadMode": modes[f["path"].endswith(LFS_SUFFIXES)], "shouldIgnore": False}
        for f in json.loads(body)["files"]
    ]
    return _json({"files": files})


def _batch(hub: Hub, name: str, body: bytes) -> tuple[dict[str, str], bytes]:
    objects = [
        {**o, "actions": {"upload": {"href": f"{hub.endpoint}/objects/{o['oid']}"}}}
        for o in json.loads(body)["objects"]
    ]
    return {"Content-Type": "application/vnd.git-lfs+json"}, json.dumps(
        {"transfer": "basic", "objects": objects}
    ).encode()


def _store(hub: Hub, oid: str, body: bytes) -> tuple[dict[str, str], bytes]:
    if hashlib.sha256(body).hexdigest() != oid:
        raise RefusalError(400, "", "Content does not match the hash")
    hub.objects[oid] = body
    return {}, b""


def _commit(hub: Hub, name: str, branch: str, body: bytes) -> tuple[dict[str, str], bytes]:
    repository = _repository(hub, name)
    tree = dict(repository.commits[repository.find(branch)])
    for line in filter(None, body.split(b"\n")):
        entry = json.loads(line)
        value = entry["value"]
        if entry["key"] == "header" and value.get("parentCommit") not in (None, repository.branches[branch]):
            raise RefusalError(412, "", "A commit has happened since")
        if entry["key"] == "file":
            tree[value["path"]] = base64.b64decode(value["content"])
        elif entry["key"] == "lfsFile":
            tree[value["path"]] = hub.objects[value["oid"]]
        elif entry["key"] == "deletedFile":
            del tree[value["path"]]
    sha = repository.commit(tree, branch)
    return _json({"commitUrl": f"{hub.endpoint}/{name}/commit/{sha}", "commitOid": sha, "pullRequestUrl": None})


def _resolve(hub: Hub, name: str, revision: str, path: str, body: bytes) -> tuple[dict[str, str], bytes]:
    repository = _repository(hub, name)
    sha = repository.find(revision)
    if path not in repository.commits[sha]:
        raise RefusalError(404, "EntryNotFound", "Entry not found")
    content = repository.commits[sha][path]
    entry = _entry(path, content)
    headers = {"X-Repo-Commit": sha, "ETag": f'"{entry["oid"]}"', "Content-Type": "application/octet-stream"}
    if "lfs" in entry:
        headers |= {"X-Linked-Etag": f'"{entry["lfs"]["oid"]}"', "X-Linked-Size": str(len(content))}
    return headers, content


ROUTES: list[tuple[re.Pattern[str], Callable[..., tuple[dict[str, str], bytes]]]] = [
    (re.compile(pattern), route)
    for pattern, route in [
        (r"GET /api/whoami-v2", lambda hub, body: _json({"type": "user", "name": USER, "orgs": [], "auth": {}})),
        (r"POST /api/validate-yaml", lambda hub, body: _json({"errors": [], "warnings": []})),
        (r"POST /api/repos/create", _create),
        (r"GET /api/models/([^/]+/[^/]+)(?:/revision/(.+))?", _info),
        (r"GET /api/models/([^/]+/[^/]+)/tree/(.+)", _tree),
        (r"POST /api/models/([^/]+/[^/]+)/preupload/(.+)", _preupload),
        (r"POST /api/models/([^/]+/[^/]+)/commit/(.+)", _commit),
        (r"POST /([^/]+/[^/]+)\.git/info/lfs/objects/batch", _batch),
        (r"PUT /objects/(\w+)", _store),
        (r"(?:GET|HEAD) /([^/]+/[^/]+)/resolve/([^/]+)/(.+)", _resolve),
    ]
]
