"""A local hub of model files that misbehaves on request, and a volume to fetch to."""

from __future__ import annotations

import hashlib
import io
import json
import re
import threading
from collections import defaultdict
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from inference_sidecar.weights.fetch import Fetched, fetch
from inference_sidecar.weights.hub import Hub
from inference_sidecar.weights.manifest import read_manifest

REPOSITORY = "maker/model"
REVISION = "a" * 40
SHA256_FROM_BYTES = 10_000
"""The size from which the hub states a SHA-256."""


def content_of(size: int, seed: int = 0) -> bytes:
    """Bytes without repetition, so that a misplaced part is noticed."""
    blocks = (hashlib.sha256(f"{seed}/{i}".encode()).digest() for i in range(size // 32 + 1))
    return b"".join(blocks)[:size]


LARGE = content_of(300_000)
SMALL = b'{"a": 1}'
OTHER = content_of(300_000, seed=1)
"""As long as the large file, with other content."""
LARGE_SHA256 = hashlib.sha256(LARGE).hexdigest()


@dataclass
class Asked:
    """A received request."""

    path: str
    headers: dict[str, str]


class Answer:
    """The response to a request for a file, which a fault can distort."""

    def __init__(self, handler: _Handler, content: bytes, start: int) -> None:
        self.handler = handler
        self.content = content
        self.start = start

    def status(self, code: int, **headers: str) -> None:
        self.handler.send_response(code)
        for name, value in headers.items():
            self.handler.send_header(name.replace("_", "-"), value)
        self.handler.send_header("Content-Length", "0")
        self.handler.end_headers()

    def send(
        self,
        *,
        content: bytes | None = None,
        etag: str | None = None,
        announced: int | None = None,
        sent: int | None = None,
        is_whole: bool = False,
    ) -> None:
        """Sends the body, possibly distorted, and closes the connection."""
        content = self.content if content is None else content
        start = 0 if is_whole else self.start
        body = content[start:]
        self.handler.send_response(206 if start else 200)
        self.handler.send_header("ETag", etag or f'"{hashlib.sha256(content).hexdigest()}"')
        if start:
            last = len(content) - 1
            self.handler.send_header("Content-Range", f"bytes {start}-{last}/{len(content)}")
        self.handler.send_header(
            "Content-Length", str(len(body) if announced is None else announced)
        )
        self.handler.end_headers()
        self.handler.wfile.write(body if sent is None else body[:sent])
        self.handler.close_connection = True


Fault = Callable[[Answer], None]


def cut_after(sent: int) -> Fault:
    return lambda answer: answer.send(sent=sent)


def says(code: int, **headers: str) -> Fault:
    return lambda answer: answer.status(code, **headers)


@dataclass
class FakeHub:
    """Files by path, faults by path (each used once, in order), and all received requests."""

    files: dict[str, bytes] = field(default_factory=dict[str, bytes])
    faults: dict[str, list[Fault]] = field(default_factory=lambda: defaultdict(list))
    asked: list[Asked] = field(default_factory=list[Asked])
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def requests_for(self, path: str) -> list[Asked]:
        return [one for one in self.asked if one.path.endswith(f"/{path}")]

    def ranges_of(self, path: str) -> list[str | None]:
        """The `Range` header of each request for the file."""
        return [one.headers.get("Range") for one in self.requests_for(path)]

    def listing(self) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = [{"type": "directory", "oid": "0" * 40, "path": "folder"}]
        for path, content in self.files.items():
            git = hashlib.sha1(f"blob {len(content)}\0".encode() + content, usedforsecurity=False)
            entry: dict[str, Any] = {"type": "file", "path": path, "size": len(content)}
            entry["oid"] = git.hexdigest()
            if len(content) >= SHA256_FROM_BYTES:
                entry["oid"] = "0" * 40
                sha256 = hashlib.sha256(content).hexdigest()
                entry["lfs"] = {"oid": sha256, "size": len(content), "pointerSize": 134}
            entries.append(entry)
        return entries


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: FakeHub

    def do_GET(self) -> None:
        self.hub.asked.append(Asked(self.path, dict(self.headers.items())))
        if self.path.startswith("/api/"):
            self._list()
            return
        match = re.fullmatch(rf"/{REPOSITORY}/resolve/{REVISION}/(.*)", self.path)
        path = match[1] if match else self.path.lstrip("/")
        content = self.hub.files.get(path)
        if content is None:
            self.send_error(404)
            return
        begin = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        condition = self.headers.get("If-Range", etag)
        answer = Answer(self, content, int(begin[1]) if begin and condition == etag else 0)
        with self.hub.lock:
            fault = self.hub.faults[path].pop(0) if self.hub.faults[path] else None
        if fault:
            fault(answer)
        elif answer.start >= len(content):
            answer.status(416)
        else:
            answer.send()

    def _list(self) -> None:
        with self.hub.lock:
            fault = self.hub.faults["list"].pop(0) if self.hub.faults["list"] else None
        if fault:
            fault(Answer(self, b"", 0))
            return
        # One entry per page; the real hub has a thousand.
        entries = self.hub.listing()
        page = int(self.path.partition("page=")[2] or 0)
        body = json.dumps(entries[page : page + 1]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        if page + 1 < len(entries):
            target = f"{self.hub.url}/api/models/{REPOSITORY}/tree/{REVISION}?page={page + 1}"
            self.send_header("Link", f'<{target}>; rel="next"')
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@contextmanager
def serving(hub: FakeHub) -> Generator[FakeHub]:
    handler = type("Handler", (_Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        hub.url = f"http://127.0.0.1:{server.server_address[1]}"
        yield hub
        server.shutdown()
        thread.join()


@dataclass
class World:
    """A volume, a manifest of the hub's files, and the command."""

    volume: Path
    manifest: Path
    hub: FakeHub
    said: io.StringIO = field(default_factory=io.StringIO)

    def write_manifest(self, *entries: str, revision: str = REVISION) -> None:
        head = f'[[repository]]\nid = "{REPOSITORY}"\nrevision = "{revision}"\nfolder = "model"\n'
        self.manifest.write_text(head + "".join(f"[[repository.file]]\n{e}\n" for e in entries))

    def fetch(self, token: str | None = None, **options: Any) -> Fetched:
        with Hub(self.hub.url, token) as connection:
            return fetch(
                self.volume,
                read_manifest(self.manifest),
                connection,
                self.said,
                **{"parallel": 2, "first_pause_seconds": 0.01, **options},
            )

    def read(self, name: str) -> bytes:
        return (self.volume / "model" / name).read_bytes()

    def leftovers(self) -> list[str]:
        return sorted(p.name for p in self.volume.rglob("*") if ".part" in p.name)
