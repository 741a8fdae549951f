"""A small Hugging Face Hub on 127.0.0.1 that the genuine client talks to, with faults on demand.

`Hub` is the server; `loopback_routes` answers, `loopback_repository` remembers, `loopback_faults` spoils.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.hub.loopback_faults import CODES, STATUSES, Fault, Faults
from tests.hub.loopback_repository import RefusalError, Repository
from tests.hub.loopback_routes import ROUTES, USER, Answer, Request

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

__all__ = ["USER", "Fault", "Hub", "RefusalError", "Repository"]

SLOW = 2.0
"""Seconds that a slow answer takes."""


class Hub(ThreadingHTTPServer):
    """The server; use it in a `with` block, which stops it.

    Args:
        before: Called with method and path before each answer, in the thread of the request.
        profile: "lfs" takes large files by LFS, for clients without xet; "regular" takes every file in the commit,
            for clients with it.
    """

    daemon_threads = True

    def __init__(
        self, before: Callable[[str, str], None] | None = None, *, profile: Literal["lfs", "regular"] = "lfs"
    ) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.before, self.profile = before, profile
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.steps: list[str] = []
        self.faults = Faults()
        self.slow = SLOW
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

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that went away."""

    def environment(self, home: Path, token: str = "hf_loopback") -> dict[str, str]:
        """Settings of a process whose Hub this is, with a cache of its own."""
        settings = {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(home),
            "HF_TOKEN": token,
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_XET": "1" if self.profile == "lfs" else "0",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "NO_PROXY": "127.0.0.1",
        }
        return settings if token else settings | {"HF_TOKEN": "", "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}

    def serve(self, monkeypatch: pytest.MonkeyPatch, home: Path, token: str = "hf_loopback") -> None:
        """Be the Hub of this very process until the test ends."""
        from huggingface_hub import constants

        for name, value in self.environment(home, token).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", self.profile == "lfs")

    def python(self, code: str, home: Path, *arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a program whose Hub this is, with a cache of its own."""
        command = [sys.executable, "-c", code, *map(str, arguments)]
        environment = os.environ | self.environment(home)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0 or not check, done.stderr
        return done


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        asked = f"{self.command} {path}"
        found = [(step, route, match) for step, pattern, route in ROUTES if (match := pattern.fullmatch(asked))]
        step, route, match = found[0] if found else ("", None, None)
        self.server.requests.append((self.command, path))
        self.server.steps.append(step)
        if self.server.before is not None:
            self.server.before(self.command, path)
        fault = self.server.faults.next(step)
        kind = fault.kind if fault else ""
        if kind == "drop" or (kind == "cut" and self.command in ("PUT", "POST")):
            self._hang_up(read=kind == "cut")
            return
        body = self._body()
        if kind == "slow":
            time.sleep(self.server.slow)
        if fault is not None and kind in STATUSES:
            self._refuse(RefusalError(int(kind), CODES[kind], f"fault {kind}"), fault)
            return
        if kind in ("wrong hash", "short") and self.command in ("PUT", "POST"):
            self._refuse(RefusalError(400, "", "Content does not match the hash"))
            return
        try:
            if route is None or match is None:
                raise RefusalError(404, "", f"no such route: {asked}")
            answer = route(self._request(body), *match.groups())
        except RefusalError as refusal:
            self._refuse(refusal)
            return
        if kind == "drop after":
            self._hang_up()
            return
        self._send(200, answer, kind)

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815  (names of the standard library)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def _request(self, body: bytes) -> Request:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        return Request(self.server, dict(parse_qsl(urlsplit(self.path).query)), body, token)

    def _refuse(self, refusal: RefusalError, fault: Fault | None = None) -> None:
        headers = {"X-Error-Code": refusal.code, "X-Error-Message": refusal.message}
        if fault is not None and fault.kind in ("429", "503") and fault.retry_after is not None:
            headers["Retry-After"] = str(fault.retry_after)
        content = json.dumps({"error": refusal.message, **refusal.body}).encode()
        self._send(refusal.status, Answer(content, {k: v for k, v in headers.items() if v}))

    def _send(self, status: int, answer: Answer, kind: str = "") -> None:
        content, length = answer.body, len(answer.body)
        if kind == "wrong hash" and content:
            content = bytes([content[0] ^ 1]) + content[1:]
        elif kind in ("short", "cut"):
            content = content[: length // 2]
            length = len(content) if kind == "short" else length
        self.send_response(status)
        for name, value in {"Content-Length": str(length), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
        if kind == "cut":
            self._hang_up()

    def _hang_up(self, *, read: bool = False) -> None:
        if read:
            self.rfile.read(min(1, int(self.headers.get("Content-Length", 0))))
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)
