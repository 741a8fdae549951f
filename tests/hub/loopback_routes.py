"""The endpoints of the loopback Hub, as the genuine client calls them."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote

import yaml

from tests.hub.loopback_repository import RefusalError, Repository, is_large, object_name, tree_entry

if TYPE_CHECKING:
    from tests.hub.loopback import Hub

USER, ORGANISATION = "tester", "lab"
ACCOUNTS = {
    "hf_loopback": (USER, "write", [ORGANISATION]),
    "hf_reader": (USER, "read", [ORGANISATION]),
    "hf_stranger": ("stranger", "write", []),
}
"""User, role and organisations of each token that this Hub knows."""


@dataclass(frozen=True)
class Request:
    """One request.

    Args:
        hub: Whose state it reads and changes.
        query: Of the address.
        body: As sent.
        token: Of the Authorization header, or "".
    """

    hub: Hub
    query: dict[str, str]
    body: bytes
    token: str

    def data(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body or b"{}")

    def account(self) -> tuple[str, str, list[str]]:
        """Who asks."""
        if self.token not in ACCOUNTS:
            raise RefusalError(401, "", "Invalid username or password.")
        return ACCOUNTS[self.token]

    def writer_of(self, namespace: str) -> None:
        """Refuse whoever may not write there."""
        user, role, organisations = self.account()
        if role != "write" or namespace not in (user, *organisations):
            raise RefusalError(403, "", f"You don't have the rights to write under the namespace {namespace}")

    def repository(self, name: str, *, write: bool = False) -> Repository:
        """The repository, if the asker may see it."""
        namespace = name.split("/")[0]
        found = self.hub.repositories.get(name)
        visible = found is not None and not found.private
        if not visible and found is not None and self.token in ACCOUNTS:
            user, _, organisations = ACCOUNTS[self.token]
            visible = namespace in (user, *organisations)
        if found is None or not visible:
            status = 404 if self.token in ACCOUNTS else 401
            raise RefusalError(status, "RepoNotFound", "Repository not found")
        if write:
            self.writer_of(namespace)
        return found

    def large(self, path: str) -> bool:
        """Whether a file goes the LFS way in this Hub's profile."""
        return self.hub.profile == "lfs" and is_large(path)


@dataclass(frozen=True)
class Answer:
    """A body, and headers beside it."""

    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})


def _json(data: Any) -> Answer:
    return Answer(json.dumps(data).encode())


def _whoami(request: Request) -> Answer:
    user, role, organisations = request.account()
    return _json(
        {
            "type": "user",
            "name": user,
            "orgs": [{"type": "org", "name": name, "roleInOrg": role} for name in organisations],
            "auth": {"type": "access_token", "accessToken": {"displayName": "test", "role": role}},
        }
    )


def _validate(request: Request) -> Answer:
    content = request.data()["content"]
    found = re.match(r"---\s*\n(.*?)\n---\s*(\n|$)", content, re.DOTALL)
    try:
        metadata = yaml.safe_load(found[1]) if found else {}
    except yaml.YAMLError as error:
        raise RefusalError(400, "", "Invalid metadata", errors=[{"message": str(error)}], warnings=[]) from None
    if metadata is not None and not isinstance(metadata, dict):
        raise RefusalError(400, "", "Invalid metadata", errors=[{"message": "no mapping"}], warnings=[])
    return _json({"errors": [], "warnings": []})


def _create(request: Request) -> Answer:
    data = request.data()
    namespace = data.get("organization") or request.account()[0]
    request.writer_of(namespace)
    name = f"{namespace}/{data['name']}"
    if name in request.hub.repositories:
        raise RefusalError(409, "", "You already created this model repo", url=f"{request.hub.endpoint}/{name}")
    private = bool(data.get("private")) or data.get("visibility") == "private"
    request.hub.repositories[name] = Repository(private)
    request.hub.repositories[name].commit({".gitattributes": b"*.safetensors filter=lfs\n"})
    return _json({"url": f"{request.hub.endpoint}/{name}", "name": name, "id": name})


def _delete(request: Request) -> Answer:
    data = request.data()
    name = f"{data.get('organization') or request.account()[0]}/{data['name']}"
    request.repository(name, write=True)
    del request.hub.repositories[name]
    return _json({})


def _access(request: Request, name: str, write: str | None) -> Answer:
    request.repository(name, write=write is not None)
    return _json({})


def _info(request: Request, name: str, revision: str | None) -> Answer:
    repository = request.repository(name)
    sha = repository.find(revision or "main")
    files: list[dict[str, Any]] = [{"rfilename": path} for path in repository.commits[sha]]
    if request.query.get("blobs"):
        for file in files:
            entry = tree_entry(path := file["rfilename"], repository.commits[sha][path], large=request.large(path))
            file |= {"size": entry["size"], "blobId": entry["oid"], **({"lfs": entry["lfs"]} if "lfs" in entry else {})}
    return _json({"id": name, "sha": sha, "private": repository.private, "tags": [], "siblings": files})


def _tree(request: Request, name: str, revision: str) -> Answer:
    repository = request.repository(name)
    files = repository.commits[repository.find(revision)]
    return _json([tree_entry(path, content, large=request.large(path)) for path, content in files.items()])


def _paths(request: Request, name: str, revision: str) -> Answer:
    repository = request.repository(name)
    files = repository.commits[repository.find(unquote(revision))]
    asked = parse_qs(request.body.decode())["paths"]
    return _json([tree_entry(path, files[path], large=request.large(path)) for path in asked if path in files])


def _refs(request: Request, name: str) -> Answer:
    return _json(request.repository(name).refs())


def _commits(request: Request, name: str, revision: str) -> Answer:
    repository = request.repository(name)
    sha = repository.find(revision)
    author = {"user": USER}
    commit = {"id": sha, "title": "", "message": "", "authors": [author], "date": "2020-01-01T00:00:00.000Z"}
    return _json([commit])


def _branch(request: Request, name: str, branch: str) -> Answer:
    repository = request.repository(name, write=True)
    if branch in repository.branches:
        raise RefusalError(409, "", f"Reference already exists: {branch}")
    repository.branches[branch] = repository.find(request.data().get("startingPoint") or "main")
    return _json({})


def _tag(request: Request, name: str, revision: str) -> Answer:
    repository, tag = request.repository(name, write=True), request.data()["tag"]
    if tag in repository.tags:
        raise RefusalError(409, "", f"Tag reference exists already: {tag}")
    repository.tags[tag] = repository.find(revision)
    return _json({})


def _preupload(request: Request, name: str, revision: str) -> Answer:
    repository = request.repository(name, write=True)
    tree, answers = repository.commits[repository.find(revision)], []
    for file in request.data()["files"]:
        path = file["path"]
        large = request.large(path)
        answer: dict[str, Any] = {"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}
        if path in tree:
            answer["oid"] = object_name(path, tree[path], large=large)
        answers.append(answer)
    return _json({"files": answers})


def _batch(request: Request, name: str) -> Answer:
    request.repository(name, write=True)
    objects = [
        {**item, "actions": {"upload": {"href": f"{request.hub.endpoint}/objects/{item['oid']}"}}}
        if item["oid"] not in request.hub.objects
        else item
        for item in request.data()["objects"]
    ]
    body = json.dumps({"transfer": "basic", "objects": objects}).encode()
    return Answer(body, {"Content-Type": "application/vnd.git-lfs+json"})


def _store(request: Request, oid: str) -> Answer:
    if hashlib.sha256(request.body).hexdigest() != oid:
        raise RefusalError(400, "", "Content does not match the hash")
    request.hub.objects[oid] = request.body
    return Answer(b"")


def _commit(request: Request, name: str, branch: str) -> Answer:
    repository = request.repository(name, write=True)
    if branch not in repository.branches | repository.pulls:
        raise RefusalError(404, "RevisionNotFound", f"Invalid rev id: {branch}")
    sha = repository.find(branch)
    tree, message = dict(repository.commits[sha]), ""
    pull = f"refs/pr/{len(repository.pulls) + 1}" if request.query.get("create_pr") else None
    for line in filter(None, request.body.split(b"\n")):
        entry = json.loads(line)
        key, value = entry["key"], entry["value"]
        if key == "header":
            message = value["summary"]
            if value.get("parentCommit") not in (None, sha) and pull is None:
                raise RefusalError(412, "", "A commit has happened since. Please refresh and try again.")
        elif key == "file":
            tree[value["path"]] = base64.b64decode(value["content"], validate=True)
        elif key == "lfsFile":
            if value["oid"] not in request.hub.objects:
                raise RefusalError(400, "", f"LFS object {value['oid']} was not uploaded")
            tree[value["path"]] = request.hub.objects[value["oid"]]
        elif key == "deletedFile":
            if value["path"] not in tree:
                raise RefusalError(404, "EntryNotFound", "A file with this name doesn't exist")
            del tree[value["path"]]
        else:
            raise RefusalError(400, "", f"Unknown operation {key}")
    sha = repository.commit(tree, pull or branch, message)
    address = f"{request.hub.endpoint}/{name}"
    return _json(
        {
            "commitUrl": f"{address}/commit/{sha}",
            "commitOid": sha,
            "pullRequestUrl": f"{address}/discussions/{pull.split('/')[-1]}" if pull else None,
        }
    )


def _resolve(request: Request, name: str, revision: str, path: str) -> Answer:
    repository = request.repository(name)
    sha = repository.find(revision)
    if path not in repository.commits[sha]:
        raise RefusalError(404, "EntryNotFound", "Entry not found")
    content = repository.commits[sha][path]
    entry = tree_entry(path, content, large=request.large(path))
    headers = {"X-Repo-Commit": sha, "ETag": f'"{entry["oid"]}"', "Content-Type": "application/octet-stream"}
    if "lfs" in entry:
        headers |= {"X-Linked-Etag": f'"{entry["lfs"]["oid"]}"', "X-Linked-Size": str(len(content))}
    return Answer(content, headers)


_REPOSITORY = r"([^/]+/[^/]+)"
ROUTES: list[tuple[str, re.Pattern[str], Callable[..., Answer]]] = [
    (step, re.compile(pattern), route)
    for step, pattern, route in [
        ("whoami", r"GET /api/whoami-v2", _whoami),
        ("validate", r"POST /api/validate-yaml", _validate),
        ("create", r"POST /api/repos/create", _create),
        ("delete", r"DELETE /api/repos/delete", _delete),
        ("access", rf"GET /api/models/{_REPOSITORY}/auth-check(/write)?", _access),
        ("refs", rf"GET /api/models/{_REPOSITORY}/refs", _refs),
        ("tree", rf"GET /api/models/{_REPOSITORY}/tree/(.+)", _tree),
        ("paths", rf"POST /api/models/{_REPOSITORY}/paths-info/(.+)", _paths),
        ("commits", rf"GET /api/models/{_REPOSITORY}/commits/(.+)", _commits),
        ("branch", rf"POST /api/models/{_REPOSITORY}/branch/(.+)", _branch),
        ("tag", rf"POST /api/models/{_REPOSITORY}/tag/(.+)", _tag),
        ("preupload", rf"POST /api/models/{_REPOSITORY}/preupload/(.+)", _preupload),
        ("commit", rf"POST /api/models/{_REPOSITORY}/commit/(.+)", _commit),
        ("info", rf"GET /api/models/{_REPOSITORY}(?:/revision/(.+))?", _info),
        ("batch", rf"POST /{_REPOSITORY}\.git/info/lfs/objects/batch", _batch),
        ("store", r"PUT /objects/(\w+)", _store),
        ("head", rf"HEAD /{_REPOSITORY}/resolve/(refs/pr/\d+|[^/]+)/(.+)", _resolve),
        ("get", rf"GET /{_REPOSITORY}/resolve/(refs/pr/\d+|[^/]+)/(.+)", _resolve),
    ]
]
STEPS = tuple(step for step, _, _ in ROUTES)
