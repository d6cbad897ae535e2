"""Transfers between the object store and our disk, by presigned URLs and without credentials."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Final

import httpx

from inference_sidecar.foundation.contracts import PresignedInput
from inference_sidecar.foundation.errors import InputGone, StoreError

_CONNECT_SECONDS: Final = 3.0
_BLOCK_BYTES: Final = 1 << 20
_ERROR_BYTES: Final = 4096
"""How much of an error's body is read."""


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
        timeout = httpx.Timeout(stall_seconds, connect=min(_CONNECT_SECONDS, stall_seconds))
        self._client = httpx.AsyncClient(timeout=timeout, trust_env=False)

    async def fetch(self, source: PresignedInput, path: Path) -> None:
        """Copies one input to disk and checks its length and checksum.

        Raises `InputGone` when there is no such object, `StoreAway`, `StoreRefused`, `InputDamaged`
        and `StoreError`; `OSError` when our own disk fails.
        """
        digest = hashlib.sha256()
        bytes_read = 0
        try:
            async with self._client.stream("GET", source.url) as response:
                await _check_get(response)
                with path.open("wb") as file:
                    async for block in response.aiter_bytes(_BLOCK_BYTES):
                        bytes_read += len(block)
                        if bytes_read > source.bytes:
                            break
                        digest.update(block)
                        await asyncio.to_thread(file.write, block)
        except httpx.HTTPError as error:
            raise StoreAway(f"The store did not answer a GET: {type(error).__name__}.") from None
        if bytes_read != source.bytes or digest.hexdigest() != source.sha256:
            raise InputDamaged("An input arrived damaged.", context={"bytes": bytes_read})

    async def store(self, path: Path, url: str, headers: Mapping[str, str]) -> int:
        """Uploads a file with exactly the granted headers, and returns the HTTP status.

        An object that already exists counts as stored: only this attempt can have written it, and
        the storage stage verifies it. Raises `StoreAway`, `StoreRefused` and `StoreError`, and
        `OSError` when the file cannot be read.
        """
        # Without a length httpx would use chunked encoding, which no S3 server accepts.
        size = {"content-length": str((await asyncio.to_thread(path.stat)).st_size)}
        try:
            response = await self._client.put(
                url, headers={**size, **headers}, content=_blocks(path)
            )
        except httpx.HTTPError as error:
            raise StoreAway(f"The store did not answer a PUT: {type(error).__name__}.") from None
        if response.status_code != HTTPStatus.PRECONDITION_FAILED:
            _check(response.status_code, "PUT")
        return response.status_code

    async def close(self) -> None:
        """Ends open connections."""
        await self._client.aclose()


async def _check_get(response: httpx.Response) -> None:
    """Tells a missing input from a missing bucket, which says nothing about the input."""
    if response.status_code == HTTPStatus.NOT_FOUND:
        async for block in response.aiter_bytes(_ERROR_BYTES):
            if b"<Code>NoSuchBucket</Code>" in block:
                raise StoreError("The store does not know the bucket.")
            break
    if response.status_code in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
        raise InputGone("An input is no longer stored.")
    _check(response.status_code, "GET")


def _check(status: int, method: str) -> None:
    """Turns an HTTP status of the store into one of our errors."""
    if status < HTTPStatus.MULTIPLE_CHOICES:
        return
    message, context = f"The store answered {status} to a {method}.", {"status": status}
    if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
        raise StoreRefused(message, context=context)
    raise StoreError(message, context=context)


async def _blocks(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while block := await asyncio.to_thread(file.read, _BLOCK_BYTES):
            yield block
