"""What a render process and its libraries print, read through a pipe and told as lines."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections import deque
from typing import Any, Final, NamedTuple, cast

from inference_sidecar.foundation.log import Log, scrub_secrets

_LINES_PER_SECOND: Final = 20
_LINE_CHARACTERS: Final = 2_000
_TAIL_LINES: Final = 20
_READ_BYTES: Final = 1 << 16
_ENDS: Final = re.compile(rb"[\r\n]+")
"""A progress bar ends its lines with a carriage return."""


class _OwnLine(NamedTuple):
    """A line of the log that the process wrote by our own logger."""

    level: str
    text: str
    keys: dict[str, object]


class Said:
    """Reads for as long as the process, or anything that it started, may print.

    It always reads on, so that nobody who prints ever waits; what is too much is only counted.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._tail: deque[bytes] = deque(maxlen=_TAIL_LINES)
        self._told = self._kept_back = 0
        self._second: asyncio.TimerHandle | None = None
        self._reading: asyncio.Task[None] | None = None

    async def open(self) -> int:
        """The end of the pipe to print to, which the caller closes once the process has it."""
        ours, theirs = os.pipe()
        reader = asyncio.StreamReader()
        try:
            transport, _ = await asyncio.get_running_loop().connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(ours, "rb", buffering=0)
            )
        except BaseException:
            os.close(theirs)
            raise
        self._reading = asyncio.create_task(self._read(reader, transport))
        return theirs

    async def ended(self, within_seconds: float) -> None:
        """Returns when everything is read that was printed. Of what lives on, no more is read."""
        if self._reading is None:
            return
        await asyncio.wait({self._reading}, timeout=within_seconds)
        self._reading.cancel()
        await asyncio.wait({self._reading})

    def tail(self) -> str:
        """The last lines."""
        return "\n".join(_in_short(line) for line in self._tail)

    async def _read(self, reader: asyncio.StreamReader, transport: asyncio.ReadTransport) -> None:
        rest = b""
        try:
            while block := await reader.read(_READ_BYTES):
                *lines, rest = _ENDS.split(rest + block)
                for line in lines:
                    self._hear(line)
                if len(rest) > _READ_BYTES:
                    # It does not intend to end this line.
                    self._hear(rest)
                    rest = b""
        finally:
            self._hear(rest)
            transport.close()
            self._end_second()

    def _hear(self, line: bytes) -> None:
        if not line.strip():
            return
        self._tail.append(line)
        if self._second is None:
            self._second = asyncio.get_running_loop().call_later(1, self._end_second)
        if self._told < _LINES_PER_SECOND:
            self._told += 1
            self._tell(line)
        else:
            self._kept_back += 1

    def _tell(self, line: bytes) -> None:
        own = _own_line(line)
        if own is None:
            self._log.info("render process said", text=_told(line))
            return
        tell = {"warn": Log.warning, "error": Log.error, "fatal": Log.error}
        tell.get(own.level, Log.info)(self._log, "render process said", text=own.text, **own.keys)

    def _end_second(self) -> None:
        if self._second is not None:
            self._second.cancel()
            self._second = None
        if self._kept_back:
            self._log.info("render process said more than is told", lines=self._kept_back)
        self._told = self._kept_back = 0


def _own_line(line: bytes) -> _OwnLine | None:
    if not line.startswith(b"{"):
        return None
    try:
        fields: object = json.loads(line)
    except ValueError:
        return None
    if not isinstance(fields, dict) or not {"level", "msg"} <= fields.keys():
        return None
    said = cast("dict[str, Any]", fields)
    keys = {key: said[key] for key in ("err", "logger", "origin") if key in said}
    return _OwnLine(str(said["level"]), str(said.get("text", said["msg"])), keys)


def _in_short(line: bytes) -> str:
    own = _own_line(line)
    error = None if own is None else own.keys.get("err")
    if own is None or not isinstance(error, dict):
        return _told(line)
    told = cast("dict[str, object]", error)
    return _told(f"{own.text}: {told.get('type')}: {told.get('message')}".encode())


def _told(line: bytes) -> str:
    # Cut afterwards: half a secret would not be recognised.
    return scrub_secrets(line.decode(errors="replace").strip())[:_LINE_CHARACTERS]
