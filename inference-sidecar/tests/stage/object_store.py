"""A store that answers a sidecar as S3 would, and fails in the ways that a test scripts."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections import deque
from dataclasses import dataclass, field
from typing import Literal

from stage.ports import free_port

Fault = int | Literal["stall", "cut"]
"""A status to answer with, no answer at all, or one that breaks off."""


@dataclass
class Put:
    key: str
    status: int
    headers: dict[str, str]


@dataclass
class ObjectStore:
    """faults: each is used up by one request of its method.

    gets_together: answers no GET before this many have arrived. has_bucket: whether there is one.
    """

    objects: dict[str, bytes] = field(default_factory=dict[str, bytes])
    puts: list[Put] = field(default_factory=list[Put])
    gets: list[str] = field(default_factory=list[str])
    faults: dict[str, deque[Fault]] = field(
        default_factory=lambda: {"GET": deque[Fault](), "PUT": deque[Fault]()}
    )
    slow_put_seconds: float = 0.0
    slow_get_seconds: float = 0.0
    gets_together: asyncio.Barrier | None = None
    has_bucket: bool = True
    _server: asyncio.Server | None = None
    _port: int = field(default_factory=free_port)

    def url(self, key: str) -> str:
        return f"http://127.0.0.1:{self._port}/{key}?X-Amz-Signature=very-secret"

    async def start(self) -> None:
        """Starts, after a `stop` on the same port again. Fine when it runs."""
        if self._server is not None:
            return
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            method, target, _ = head[0].split()
            headers = {
                name.lower(): value.strip()
                for name, _, value in (line.partition(":") for line in head[1:] if line)
            }
            key = target.partition("?")[0].lstrip("/")
            faults = self.faults[method]
            fault = faults.popleft() if faults else None
            if fault == "stall":
                self._note(method, key, 0, headers)
                await asyncio.sleep(3600)
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            status, content = self._answer(method, key, headers, body, fault)
            if method == "GET" and self.gets_together is not None:
                await self.gets_together.wait()
            slow = {"PUT": self.slow_put_seconds, "GET": self.slow_get_seconds}
            await asyncio.sleep(slow[method])
            self._note(method, key, status, headers)
            length = len(content)
            if fault == "cut":
                content = content[: length // 2]
            head_out = (
                f"HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
            )
            writer.write(head_out.encode() + content)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    def _note(self, method: str, key: str, status: int, headers: dict[str, str]) -> None:
        if method == "PUT":
            self.puts.append(Put(key, status, headers))
        else:
            self.gets.append(key)

    def _answer(
        self, method: str, key: str, headers: dict[str, str], body: bytes, fault: Fault | None
    ) -> tuple[int, bytes]:
        if isinstance(fault, int):
            return fault, b""
        if not self.has_bucket:
            return 404, b"<?xml version='1.0'?><Error><Code>NoSuchBucket</Code></Error>"
        if method == "GET":
            return (200, self.objects[key]) if key in self.objects else (404, b"")
        if headers.get("if-none-match") == "*" and key in self.objects:
            return 412, b""
        checksum = base64.b64encode(hashlib.sha256(body).digest()).decode()
        if headers.get("x-amz-checksum-sha256") != checksum:
            return 400, b""
        self.objects[key] = body
        return 200, b"" if fault != "cut" else b"x" * 100
