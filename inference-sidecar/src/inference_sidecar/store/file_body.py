"""A file as the body of a request."""

from __future__ import annotations

import asyncio
import os
from typing import BinaryIO, Final

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload

_BLOCK_BYTES: Final = 1 << 20
_AT_ONCE_BYTES: Final = 1 << 16
"""So much is read sooner than a thread wakes up."""


class FileBody(Payload):
    """Sent once, with its length: the client does not repeat by itself what it has begun to send.

    unreadable: why the file could not be read, which the client takes for trouble with the network.
    """

    def __init__(self, file: BinaryIO, stall_seconds: float) -> None:
        """stall_seconds: the other side may take nothing for so long."""
        super().__init__(file)
        self._file = file
        self._stall_seconds = stall_seconds
        # Without a length the client would use chunked encoding, which no S3 server accepts.
        self._size = self._length = os.fstat(file.fileno()).st_size
        self.unreadable: OSError | None = None

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        """Raises `SocketTimeoutError` if nothing is taken, and `OSError` if the file is shorter."""
        self._consumed = True
        left = self._length if content_length is None else content_length
        while left > 0:
            block = await self._read(min(left, _BLOCK_BYTES))
            left -= len(block)
            try:
                async with asyncio.timeout(self._stall_seconds):
                    await writer.write(block)
                    # The client waits for the last block with no limit.
                    await writer.drain()
            except TimeoutError:
                raise aiohttp.SocketTimeoutError from None

    async def write(self, writer: AbstractStreamWriter) -> None:
        """All of the file."""
        await self.write_with_length(writer, None)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:  # noqa: ARG002 - its own
        """Only logs of clients would need it."""
        raise TypeError("A file is not decoded.")

    async def _read(self, size: int) -> bytes:
        try:
            if size > _AT_ONCE_BYTES:
                block = await asyncio.to_thread(self._file.read, size)
            else:
                block = self._file.read(size)
            _require(block)
        except OSError as error:
            self.unreadable = error
            raise
        return block


def _require(block: bytes) -> None:
    if not block:
        raise OSError("The file is shorter than it was.")
