"""One render process and the lines exchanged with it, as the parent sees them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from inference_sidecar.engines.engine import RenderRequest
from inference_sidecar.foundation.contracts import WireModel
from inference_sidecar.foundation.errors import RenderProcessDied, SidecarError
from inference_sidecar.foundation.log import Log
from inference_sidecar.rendering.render_protocol import (
    CHILD_LINES,
    MAX_LINE_BYTES,
    ChildLine,
    FailedLine,
    LoadingLine,
    NotLoadedLine,
    OrderLine,
    ReadyLine,
    RenderOrderLine,
    StageBegunLine,
    StageLine,
    StopLine,
)
from inference_sidecar.rendering.said import Said
from inference_sidecar.rendering.worker_start import WorkerStart

_NOT_FOR_CHILDREN: Final = ("NATS_", "R2_", "S3_")
"""Credentials that may stand in our own environment; no child needs them."""

_LAST_WORDS_SECONDS: Final = 1.0
"""How long what a dead process has printed is still read."""


class ReportedFailure(SidecarError):
    """A failure that the render process reported, with the code that it gave."""

    def __init__(self, line: FailedLine) -> None:
        super().__init__(line.message, context=line.context)
        self.code = line.code


class OpenOrder:
    """An order that was sent, and the lines that the render process sends about it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._lines: asyncio.Queue[OrderLine | None] = asyncio.Queue()
        self._last_words: dict[str, object] = {}

    def receive(self, line: OrderLine) -> None:
        """Takes the next line."""
        self._lines.put_nowait(line)

    def end(self, last_words: dict[str, object]) -> None:
        """The process is gone."""
        self._last_words = last_words
        self._lines.put_nowait(None)

    async def next(self) -> OrderLine:
        """The next line. Raises `ReportedFailure`, and `RenderProcessDied` when none can come."""
        line = await self._lines.get()
        if line is None:
            raise RenderProcessDied("The render process died.", context=self._last_words)
        if isinstance(line, FailedLine):
            raise ReportedFailure(line)
        return line


@dataclass(eq=False)
class ChildLink:
    """A render process and its end of the socket pair; made by `start`."""

    _process: asyncio.subprocess.Process
    _reader: asyncio.StreamReader
    _writer: asyncio.StreamWriter
    _said: Said
    _orders: dict[int, OpenOrder] = field(default_factory=dict[int, OpenOrder])
    _numbers: int = 0

    @classmethod
    async def start(cls, engine: str, ffmpeg: str | None, log: Log) -> ChildLink:
        """Starts a render process. It dies with us, and its own children with it."""
        said = Said(log)
        printing = await said.open()
        ours, theirs = socket.socketpair()
        environment = {k: v for k, v in os.environ.items() if not k.startswith(_NOT_FOR_CHILDREN)}
        # One that is killed loses what it has not yet written; one that crashes says where.
        environment |= {"PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1"}
        if ffmpeg is not None:
            environment["FFMPEG_PATH"] = ffmpeg
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "inference_sidecar.rendering.render_child"),
                *(engine, str(theirs.fileno()), str(os.getpid())),
                stdin=asyncio.subprocess.DEVNULL,
                # Libraries print, and on our standard output there are log lines alone.
                stdout=printing,
                stderr=printing,
                env=environment,
                pass_fds=(theirs.fileno(),),
                process_group=0,
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
            os.close(printing)
        reader, writer = await asyncio.open_connection(sock=ours, limit=MAX_LINE_BYTES)
        return cls(process, reader, writer, said)

    @property
    def pid(self) -> int:
        """Process id of the render process."""
        return self._process.pid

    @property
    def was_used(self) -> bool:
        """Whether it has ever received an order."""
        return self._numbers > 0

    def last_words(self) -> dict[str, object]:
        """The end of what it printed, as a key of a line or of an error."""
        words = self._said.tail()
        return {"text": words} if words else {}

    async def ready(
        self, within_seconds: float, start: WorkerStart, on_loading: Callable[[], None]
    ) -> ReadyLine:
        """Waits until the engine is loaded, and notes the stages of its start.

        on_loading: called whenever more of the engine is read.

        Raises `RenderProcessDied`, with the reason.
        """
        line, reason = None, {}
        try:
            async with asyncio.timeout(within_seconds):
                while isinstance(
                    line := await self._receive(), LoadingLine | StageBegunLine | StageLine
                ):
                    if isinstance(line, LoadingLine):
                        start.loading = line.loading
                        on_loading()
                    elif isinstance(line, StageBegunLine):
                        start.begin(line.name, line.start_ns)
                    else:
                        start.end(line.name, line.end_ns, line.error)
        except TimeoutError:
            reason = {"reason": f"It did not load within {within_seconds:g} s."}
        if isinstance(line, ReadyLine):
            return line
        self.kill()
        context: dict[str, object] = {"exitStatus": await self._process.wait(), **reason}
        await self._said.ended(_LAST_WORDS_SECONDS)
        if isinstance(line, NotLoadedLine):
            context = {"reason": line.message, **line.context}
        else:
            context |= self.last_words()
        raise RenderProcessDied("The render process ended while loading.", context=context)

    async def begin(
        self,
        request: RenderRequest,
        output: Path,
        started_at_ms: int | None,
        *,
        are_stages_wanted: bool,
    ) -> OpenOrder:
        """Orders a render into a file. Raises `RenderProcessDied`.

        started_at_ms: when an earlier process began this render.
        """
        self._numbers += 1
        order = OpenOrder(self._numbers)
        self._orders[order.number] = order
        await self._send(
            RenderOrderLine(
                order=order.number,
                request=request,
                output=output,
                started_at_ms=started_at_ms,
                are_stages_wanted=are_stages_wanted,
            )
        )
        return order

    async def stop(self, order: OpenOrder) -> None:
        """Asks the process to end an order within one forward pass."""
        await self._send(StopLine(order=order.number))

    def forget(self, order: OpenOrder) -> None:
        """Drops whatever the process still sends about this order."""
        self._orders.pop(order.number, None)

    async def dispatch(self) -> int:
        """Hands each line to its order until the process ends; returns its exit status."""
        try:
            while (line := await self._receive()) is not None:
                if isinstance(line, LoadingLine | ReadyLine | NotLoadedLine):
                    continue
                if line.order is None:
                    continue
                if (order := self._orders.get(line.order)) is not None:
                    order.receive(line)
            # Its end of the socket pair is closed, so it can take no more orders.
            self.kill()
            status = await self._process.wait()
            await self._said.ended(_LAST_WORDS_SECONDS)
            return status
        finally:
            self.kill()
            self._writer.close()
            for order in self._orders.values():
                order.end(self.last_words())

    async def wait(self) -> None:
        """Returns when the process is gone, and what it printed is told."""
        await self._process.wait()
        await self._said.ended(_LAST_WORDS_SECONDS)

    def kill(self) -> None:
        """Ends the process and whatever it started, at once. Twice is fine."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def _send(self, line: WireModel) -> None:
        try:
            self._writer.write(line.to_json() + b"\n")
            await self._writer.drain()
        except OSError as error:
            raise RenderProcessDied("The render process died.") from error

    async def _receive(self) -> ChildLine | None:
        try:
            line = await self._reader.readline()
            return CHILD_LINES.validate_json(line) if line else None
        except (OSError, ValueError, ValidationError):
            # A line that cannot be parsed is the end too: this is not the process we expect.
            return None
