"""Transfers between the object store and our disk, by presigned URLs and without credentials."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Final

import aiohttp
import certifi
from yarl import URL

from inference_sidecar.foundation.contracts import PresignedInput
from inference_sidecar.foundation.errors import InputGone, StoreError
from inference_sidecar.store.file_body import FileBody

_CONNECT_SECONDS: Final = 3.0
_KEPT_OPEN_SECONDS: Final = 5.0
"""An idle connection is closed by us, not by the store at the moment of the next request."""
_BLOCK_BYTES: Final = 1 << 20
_AT_ONCE_BYTES: Final = 1 << 16
"""A block as small as this is on its way to the disk sooner than a thread wakes up."""
_ANSWER_BYTES: Final = 4096
"""How much is read of an answer that is no input."""
_AS_STORED: Final = {"Accept-Encoding": "identity"}


class StoreAway(StoreError):
    """Nothing answered, or the answer broke off: the store cannot be reached."""


class StoreRefused(StoreError):
    """The store rejected the request: the URL has expired, or was signed for another body."""


class InputDamaged(StoreError):
    """What arrived is not what was stored."""


class Transfers:
    """Fetches inputs and stores outputs. Errors never contain a URL: its query is a credential."""

    def __init__(self, stall_seconds: float) -> None:
        """stall_seconds: a transfer that moves no byte for this long is given up."""
        self._stall_seconds = stall_seconds
        self._client = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                ssl=ssl.create_default_context(cafile=certifi.where()),
                keepalive_timeout=_KEPT_OPEN_SECONDS,
                # As everything else here resolves names, whatever else is installed.
                resolver=aiohttp.ThreadedResolver(),
            ),
            timeout=aiohttp.ClientTimeout(
                connect=stall_seconds,
                sock_connect=min(_CONNECT_SECONDS, stall_seconds),
                # Between two arrivals, and from the end of a request to its answer.
                sock_read=stall_seconds,
            ),
            read_bufsize=_BLOCK_BYTES,
            # What is counted and hashed is what is stored.
            headers=_AS_STORED,
            auto_decompress=False,
            # A store that was sent a header more may refuse the signature.
            skip_auto_headers={"Content-Type"},
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def fetch(self, source: PresignedInput, path: Path) -> None:
        """Copies one input to disk and checks its length and checksum.

        Raises `InputGone` when there is no such object, `StoreAway`, `StoreRefused`, `InputDamaged`
        and `StoreError`; `OSError` when our own disk fails.
        """
        digest = hashlib.sha256()
        bytes_read = 0
        try:
            async with self._client.get(_as_signed(source.url), allow_redirects=False) as response:
                await _check_get(response)
                with path.open("wb") as file:
                    async for block in response.content.iter_chunked(_BLOCK_BYTES):
                        bytes_read += len(block)
                        if bytes_read > source.bytes:
                            break
                        digest.update(block)
                        if len(block) > _AT_ONCE_BYTES:
                            await asyncio.to_thread(file.write, block)
                        else:
                            file.write(block)
        except aiohttp.ClientError as error:
            raise StoreAway(f"The store did not answer a GET: {type(error).__name__}.") from None
        if bytes_read != source.bytes or digest.hexdigest() != source.sha256:
            raise InputDamaged("An input arrived damaged.", context={"bytes": bytes_read})

    async def store(self, path: Path, url: str, headers: Mapping[str, str]) -> int:
        """Uploads a file with exactly the granted headers, and returns the HTTP status.

        An object that already exists counts as stored: only this attempt can have written it, and
        the storage stage verifies it. Raises `StoreAway`, `StoreRefused` and `StoreError`, and
        `OSError` when the file cannot be read.
        """
        with path.open("rb") as file:
            body = FileBody(file, self._stall_seconds)
            try:
                async with self._client.put(
                    _as_signed(url), headers=headers, data=body, allow_redirects=False
                ) as response:
                    status = response.status
                    # One that breaks off says nothing: the store may have died before it was done.
                    await _beginning_of(response)
            except aiohttp.ClientError as error:
                if body.unreadable is not None:
                    raise body.unreadable from None
                name = type(error).__name__
                raise StoreAway(f"The store did not answer a PUT: {name}.") from None
        if status != HTTPStatus.PRECONDITION_FAILED:
            _check(status, "PUT")
        return status

    async def close(self) -> None:
        """Ends open connections."""
        await self._client.close()


def _as_signed(url: str) -> URL:
    """Left as it is: a character that is quoted anew is another one to the signature."""
    return URL(url, encoded=True)


async def _check_get(response: aiohttp.ClientResponse) -> None:
    """Tells a missing input from a missing bucket, which says nothing about the input."""
    is_missing = response.status == HTTPStatus.NOT_FOUND
    if is_missing and b"<Code>NoSuchBucket</Code>" in await _beginning_of(response):
        raise StoreError("The store does not know the bucket.")
    if response.status in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
        raise InputGone("An input is no longer stored.")
    _check(response.status, "GET")


async def _beginning_of(response: aiohttp.ClientResponse) -> bytes:
    """All of a body that is no longer than an error's. Raises `ClientError` if it breaks off."""
    try:
        return await response.content.readexactly(_ANSWER_BYTES)
    except asyncio.IncompleteReadError as error:
        return error.partial


def _check(status: int, method: str) -> None:
    """Turns an HTTP status of the store into one of our errors."""
    if status < HTTPStatus.MULTIPLE_CHOICES:
        return
    message, context = f"The store answered {status} to a {method}.", {"status": status}
    if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
        raise StoreRefused(message, context=context)
    raise StoreError(message, context=context)
