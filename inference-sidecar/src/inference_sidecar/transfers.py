"""Bytes between the object store and our disk, by presigned URLs; no credentials live here."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Final

import httpx

from inference_sidecar.contracts import PresignedInput
from inference_sidecar.errors import InputGone, StoreError

_TIMEOUT: Final = httpx.Timeout(30, connect=3)
_READ_BYTES: Final = 1 << 20


class Transfers:
    """Fetches inputs and stores outputs. Errors never contain a URL: its query is a credential."""

    def __init__(self) -> None:
        self._client = httpx.AsyncClient(timeout=_TIMEOUT, trust_env=False)

    async def fetch(self, source: PresignedInput, path: Path) -> None:
        """Copies one input to disk and checks it.

        Raises `InputGone` when there is no such object, `StoreError` for everything else.
        """
        digest = hashlib.sha256()
        try:
            async with self._client.stream("GET", source.url) as response:
                if response.status_code in {404, 410}:
                    raise InputGone("an input is no longer stored")
                if response.status_code != HTTPStatus.OK:
                    raise StoreError(f"the store answered {response.status_code} to a GET")
                with path.open("wb") as file:
                    async for block in response.aiter_bytes(_READ_BYTES):
                        digest.update(block)
                        await asyncio.to_thread(file.write, block)
        except httpx.HTTPError as error:
            raise StoreError(f"the store did not answer a GET: {type(error).__name__}") from None
        if digest.hexdigest() != source.sha256:
            raise StoreError("an input arrived damaged")

    async def store(self, path: Path, url: str, headers: Mapping[str, str]) -> None:
        """Uploads a file with exactly the granted headers.

        An object that is already there counts as stored: only this attempt can have written it, and
        the storage stage verifies it. Raises `StoreError`.
        """
        try:
            response = await self._client.put(url, headers=dict(headers), content=_blocks(path))
        except httpx.HTTPError as error:
            raise StoreError(f"the store did not answer a PUT: {type(error).__name__}") from None
        if response.status_code not in {HTTPStatus.OK, HTTPStatus.PRECONDITION_FAILED}:
            raise StoreError(f"the store answered {response.status_code} to a PUT")

    async def close(self) -> None:
        """Ends open connections."""
        await self._client.aclose()


async def _blocks(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while block := await asyncio.to_thread(file.read, _READ_BYTES):
            yield block
