"""The parent's side of the render process: start it, order renders, kill it, start it again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from inference_sidecar.engine import RenderRequest
from inference_sidecar.errors import Cancelled, DeadlineExceeded, RenderProcessDied, SidecarError
from inference_sidecar.log import Log
from inference_sidecar.process_death import die_with_parent
from inference_sidecar.render_protocol import MAX_LINE_BYTES, RenderResult, request_to_json

_OBEY_CANCEL_SECONDS: Final = 3.0
_LOAD_AGAIN_SECONDS: Final = (0.0, 1.0, 2.0, 5.0, 10.0)


class ReportedFailure(SidecarError):  # noqa: N818 - the tree's names carry no "Error"
    """A failure the render process reported; its code is the reported one."""

    def __init__(self, code: str, message: str, context: dict[str, object]) -> None:
        super().__init__(message, context=context)
        self.reported_code = code


class RenderProcess:
    """One render process at a time, replaced whenever it dies."""

    def __init__(self, engine: str, log: Log, on_change: Callable[[], None]) -> None:
        self._engine = engine
        self._log = log
        self._on_change = on_change
        self._child: asyncio.subprocess.Process | None = None
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._ready = asyncio.Event()
        self._closing = False
        self.seconds_per_video_second: float | None = None
        self.is_rendering = False
        self.started_at: float | None = None
        self.ended_at: float | None = None
        self.fraction = 0.0
        self.estimated_seconds = 0.0

    @property
    def is_ready(self) -> bool:
        """Loaded and alive."""
        return self._ready.is_set()

    @property
    def pid(self) -> int | None:
        """Process id of the child, if there is one."""
        return self._child.pid if self._child else None

    def remaining_seconds(self) -> float:
        """How much longer the current render will take, by its own pace; 0 when there is none."""
        if not self.is_rendering or self.started_at is None:
            return 0.0
        elapsed = time.monotonic() - self.started_at
        if self.fraction <= 0:
            return max(0.0, self.estimated_seconds - elapsed)
        return elapsed * (1 - self.fraction) / self.fraction

    async def keep_alive(self) -> None:
        """Starts the process and starts it again whenever it ends, until cancelled."""
        failures = 0
        while not self._closing:
            try:
                await self._start()
                failures = 0
                assert self._child is not None  # noqa: S101 - narrows the type
                await self._child.wait()
            except (OSError, RenderProcessDied) as error:
                failures += 1
                self._log.warning("render process did not load", err=str(error))
            self._ready.clear()
            self._on_change()
            if not self._closing:
                await asyncio.sleep(_LOAD_AGAIN_SECONDS[min(failures, 4)])

    async def _start(self) -> None:
        ours, theirs = socket.socketpair()
        try:
            self._child = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "inference_sidecar.render_child", self._engine, str(theirs.fileno())),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                preexec_fn=die_with_parent(),
                process_group=0,
            )
        finally:
            theirs.close()
        self._reader, self._writer = await asyncio.open_connection(sock=ours, limit=MAX_LINE_BYTES)
        message = await self._receive()
        if message is None or message["kind"] != "ready":
            raise RenderProcessDied("the render process ended while loading")
        self.seconds_per_video_second = max(0.001, message["seconds_per_video_second"])
        self._log.info("engine ready", engine=self._engine, device=message["device"])
        self._ready.set()
        self._on_change()

    async def render(
        self,
        request: RenderRequest,
        output: Path,
        *,
        deadline_seconds: float,
        stop: asyncio.Event,
        on_started: Callable[[], None],
    ) -> RenderResult:
        """Renders one job. One at a time: the caller sees to that.

        Raises `Cancelled` when `stop` was set, `DeadlineExceeded`, `RenderProcessDied`, and
        `ReportedFailure` with the code the process reported.
        """
        await self._ready.wait()
        self.is_rendering, self.fraction = True, 0.0
        self.started_at, self.ended_at = time.monotonic(), None
        ordered = asyncio.ensure_future(self._converse(request, output, on_started))
        stopped = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait(
                {ordered, stopped}, timeout=deadline_seconds, return_when="FIRST_COMPLETED"
            )
            if ordered.done():
                return ordered.result()
            if not stop.is_set():
                self.kill()
                raise DeadlineExceeded(f"not rendered within {deadline_seconds:.0f} s")
            await self._cancel(ordered)
            raise Cancelled
        finally:
            self.ended_at = time.monotonic()
            self.is_rendering = False
            for task in (ordered, stopped):
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError, SidecarError, Cancelled):
                await ordered
            self._on_change()

    async def _converse(
        self, request: RenderRequest, output: Path, on_started: Callable[[], None]
    ) -> RenderResult:
        await self._send({"kind": "render", **request_to_json(request, output)})
        while (message := await self._receive()) is not None:
            match message.pop("kind"):
                case "started":
                    self.started_at = time.monotonic()
                    self.estimated_seconds = message["estimated_seconds"]
                    on_started()
                case "progress":
                    self.fraction = max(self.fraction, message["fraction"])
                    self._on_change()
                case "done":
                    self.fraction = 1.0
                    return RenderResult(**message)
                case "cancelled":
                    raise Cancelled
                case _:
                    raise ReportedFailure(message["code"], message["message"], message["context"])
        self._ready.clear()
        raise RenderProcessDied("the render process died")

    async def _cancel(self, ordered: asyncio.Future[RenderResult]) -> None:
        """Asks for an end within a forward, and enforces it."""
        with contextlib.suppress(OSError):
            await self._send({"kind": "cancel"})
        await asyncio.wait({ordered}, timeout=_OBEY_CANCEL_SECONDS)
        if not ordered.done():
            self._log.warning("render process did not obey, killing it")
            self.kill()

    def kill(self) -> None:
        """Ends the process and whatever it started, at once."""
        self._ready.clear()
        if self._child is not None and self._child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGKILL)

    async def close(self) -> None:
        """Kills the process and starts no other."""
        self._closing = True
        self.kill()
        if self._child is not None:
            await self._child.wait()
        if self._writer is not None:
            self._writer.close()

    async def _send(self, message: dict[str, Any]) -> None:
        assert self._writer is not None  # noqa: S101 - narrows the type; it is ready
        try:
            self._writer.write(json.dumps(message).encode() + b"\n")
            await self._writer.drain()
        except OSError as error:
            raise RenderProcessDied("the render process died") from error

    async def _receive(self) -> dict[str, Any] | None:
        assert self._reader is not None  # noqa: S101 - narrows the type; it was started
        try:
            line = await self._reader.readline()
        except OSError:
            return None
        return json.loads(line) if line else None
