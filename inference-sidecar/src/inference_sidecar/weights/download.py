"""Brings one file, over as many connections as it takes, and gives it its name once it is right."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final, TypeVar

import httpx

from inference_sidecar.foundation.errors import WeightsError
from inference_sidecar.weights.hub import Hub, Transient
from inference_sidecar.weights.manifest import WeightFile
from inference_sidecar.weights.part_file import PartFile
from inference_sidecar.weights.pins import Pin
from inference_sidecar.weights.volume import explained

RETRIES: Final = 3
_PROGRESS_BYTES: Final = 64 << 20
"""A connection that brought so much was a good one: the retries after it are counted anew."""
_LONGEST_PAUSE_SECONDS: Final = 60.0
_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


_Result = TypeVar("_Result")


class Stopped(Exception):
    """Another file failed, or the user had enough."""


@dataclass(frozen=True)
class Pace:
    """How long to wait before the first retry; each later one waits twice as long."""

    first_pause_seconds: float = 1.0

    def pause(self, retry: int, asked_for_seconds: float = 0) -> float:
        """Seconds before retry 1, 2, …; a server that asks for more gets it, within bounds."""
        own = self.first_pause_seconds * 2 ** (retry - 1)
        return max(own, min(asked_for_seconds, _LONGEST_PAUSE_SECONDS))


@dataclass(frozen=True)
class Delivery:
    """What a download reports to and listens to.

    on_present: bytes that an earlier run has left. on_bytes: what came, negative where it was
    thrown away.
    """

    pace: Pace
    stop: threading.Event
    on_present: Callable[[int], None]
    on_bytes: Callable[[int], None]
    on_retry: Callable[[str], None]


def with_retries(attempt: Callable[[], _Result], what: str, delivery: Delivery) -> _Result:
    """Runs something until it succeeds, fails for good, or has failed too often in a row."""
    for retry in range(1, RETRIES + 1):
        try:
            return attempt()
        except Transient as trouble:
            pause = delivery.pace.pause(retry, trouble.retry_after_seconds)
            delivery.on_retry(f"{what}: {trouble}; retry {retry} of {RETRIES} in {pause:g} s")
            if delivery.stop.wait(pause):
                raise Stopped from trouble
    try:
        return attempt()
    except Transient as trouble:
        raise WeightsError(
            f"{what}: {trouble}, also after {RETRIES} retries. Check the network and run the same"
            " command again; what has arrived is kept."
        ) from trouble


class Download:
    """One file on its way."""

    def __init__(
        self, hub: Hub, file: WeightFile, pin: Pin, path: Path, delivery: Delivery
    ) -> None:
        self._hub = hub
        self._file = file
        self._pin = pin
        self._path = path
        self._delivery = delivery

    def run(self) -> str:
        """Makes the file appear under its name; its SHA-256. Raises `WeightsError`, `Stopped`."""
        with explained(self._path.parent):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            identity = f"{self._file.repository}@{self._file.revision}/{self._file.path}"
            part = PartFile(self._path, identity)
            with closing(part):
                return self._bring(part)

    def _bring(self, part: PartFile) -> str:
        self._delivery.on_present(part.size)
        if self._pin.size == 0:
            part.restart(None)
        was_begun_before = part.size > 0
        self._complete(part)
        if was_begun_before and not self._is_right(part):
            # Its beginning may be of other content, or have suffered on the disk.
            self._forget(part)
            self._complete(part)
        if not self._is_right(part):
            sha256 = part.sha256
            self._forget(part)
            raise WeightsError(
                f"{self._file.local} is not what was pinned (its sha256 is {sha256}, pinned is"
                f" {self._pin.sha256 or self._pin.git_sha1}): it was deleted. Run the same"
                " command again; if that does not help, do not use this source."
            )
        part.finish()
        return part.sha256

    def _complete(self, part: PartFile) -> None:
        while part.size != self._pin.size:
            before = part.size
            try:
                with_retries(lambda: self._attempt(part), self._file.local, self._delivery)
            except WeightsError:
                if part.size - before < _PROGRESS_BYTES:
                    raise

    def _attempt(self, part: PartFile) -> None:
        if part.size > self._pin.size:
            self._forget(part)
        if part.size == self._pin.size:
            return
        headers: dict[str, str] = {}
        if part.size:
            headers["Range"] = f"bytes={part.size}-"
            # A weak tag may not be used to glue bytes together.
            if part.etag and not part.etag.startswith("W/"):
                headers["If-Range"] = part.etag
        with self._hub.open(self._file, headers) as response:
            self._accept(response, part)
            # Without a chunk size: a cut connection would take what was gathered for one with it.
            for chunk in response.iter_raw():
                if self._delivery.stop.is_set():
                    raise Stopped
                if part.size + len(chunk) > self._pin.size:
                    self._forget(part)
                    raise Transient("more bytes came than the file has")
                part.append(chunk)
                self._delivery.on_bytes(len(chunk))
        if part.size < self._pin.size:
            raise Transient("the answer ended too early")

    def _accept(self, response: httpx.Response, part: PartFile) -> None:
        """Decides where the body belongs; begins anew where it does not go on with ours."""
        etag = response.headers.get("ETag")
        if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            self._forget(part)
            raise Transient("the server does not know the rest of the file")
        if response.status_code == HTTPStatus.OK:
            self._require_length(response, self._pin.size)
            # No part was asked for, or the server cannot give one, or the file is another by now.
            self._forget(part)
            part.restart(etag)
            return
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        fits = match is not None and int(match[1]) == part.size
        is_same_size = match is not None and match[2] in {"*", str(self._pin.size)}
        if not fits or not is_same_size or (part.etag and etag and etag != part.etag):
            self._forget(part)
            raise Transient("the server went on with another file")
        self._require_length(response, self._pin.size - part.size)

    def _require_length(self, response: httpx.Response, expected: int) -> None:
        length = response.headers.get("Content-Length")
        if length is not None and length != str(expected):
            raise Transient(f"the server announced {length} bytes instead of {expected}")

    def _is_right(self, part: PartFile) -> bool:
        if self._pin.sha256 is not None:
            return part.sha256 == self._pin.sha256
        return part.git_sha1() == self._pin.git_sha1

    def _forget(self, part: PartFile) -> None:
        self._delivery.on_bytes(-part.size)
        part.discard()
