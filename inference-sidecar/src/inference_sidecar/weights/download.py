"""Downloads one file, over as many connections as necessary, and renames it once it is verified."""

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
from inference_sidecar.weights.hashes import git_sha1_of
from inference_sidecar.weights.hub import Hub, Transient
from inference_sidecar.weights.manifest import WeightFile
from inference_sidecar.weights.partial_file import PartialFile
from inference_sidecar.weights.pins import Pin
from inference_sidecar.weights.progress import Progress
from inference_sidecar.weights.volume import explained

RETRIES: Final = 3
_PROGRESS_BYTES: Final = 64 << 20
"""Progress that resets the count of retries."""
_LONGEST_PAUSE_SECONDS: Final = 60.0
_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


_Result = TypeVar("_Result")


class Stopped(Exception):
    """Another download failed, or the user interrupted the command."""


@dataclass(frozen=True)
class Retrying:
    """Repeats requests, after pauses of which each is twice as long as the one before.

    stop: ends every wait. say: takes a line for the user per retry.
    """

    first_pause_seconds: float
    stop: threading.Event
    say: Callable[[str], None]

    def run(self, attempt: Callable[[], _Result], what: str) -> _Result:
        """Repeats `attempt` until it succeeds or has failed too often in a row.

        Raises `WeightsError`, and `Stopped` if stopped while waiting.
        """
        for retry in range(1, RETRIES + 1):
            try:
                return attempt()
            except Transient as failure:
                pause = self._pause(retry, failure.retry_after_seconds)
                self.say(f"{what}: {failure}; retry {retry} of {RETRIES} in {pause:g} s")
                if self.stop.wait(pause):
                    raise Stopped from failure
        try:
            return attempt()
        except Transient as failure:
            raise WeightsError(
                f"{what}: {failure}, also after {RETRIES} retries. Check the network and run the"
                " same command again; what has arrived is kept."
            ) from failure

    def _pause(self, retry: int, requested_seconds: float) -> float:
        """Seconds before retry 1, 2, …; longer if the server asks for it, up to a minute."""
        own = self.first_pause_seconds * 2 ** (retry - 1)
        return max(own, min(requested_seconds, _LONGEST_PAUSE_SECONDS))


@dataclass(frozen=True)
class Download:
    """The download of one file."""

    hub: Hub
    file: WeightFile
    pin: Pin
    path: Path
    retrying: Retrying
    progress: Progress

    def run(self) -> str:
        """Downloads, verifies and renames the file; returns its SHA-256.

        Raises `WeightsError` and `Stopped`.
        """
        with explained(self.path.parent):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            identity = f"{self.file.repository}@{self.file.revision}/{self.file.path}"
            part = PartialFile(self.path, identity)
            with closing(part):
                return self._download(part)

    def _download(self, part: PartialFile) -> str:
        self.progress.start_at(part.size)
        if self.pin.size == 0:
            part.restart(None)
        was_resumed = part.size > 0
        self._complete(part)
        if was_resumed and not self._is_right(part):
            # The part from the earlier run may have other content, or be damaged.
            self._discard(part)
            self._complete(part)
        if not self._is_right(part):
            sha256 = part.sha256
            self._discard(part)
            raise WeightsError(
                f"{self.file.local} is not what was pinned (its sha256 is {sha256}, pinned is"
                f" {self.pin.sha256 or self.pin.git_sha1}): it was deleted. Run the same"
                " command again; if that does not help, do not use this source."
            )
        part.finish()
        return part.sha256

    def _complete(self, part: PartialFile) -> None:
        while part.size != self.pin.size:
            before = part.size
            try:
                self.retrying.run(lambda: self._attempt(part), self.file.local)
            except WeightsError:
                if part.size - before < _PROGRESS_BYTES:
                    raise

    def _attempt(self, part: PartialFile) -> None:
        if part.size > self.pin.size:
            self._discard(part)
        if part.size == self.pin.size:
            return
        headers: dict[str, str] = {}
        if part.size:
            headers["Range"] = f"bytes={part.size}-"
            # If-Range does not allow weak tags.
            if part.etag and not part.etag.startswith("W/"):
                headers["If-Range"] = part.etag
        with self.hub.open(self.file, headers) as response:
            self._accept(response, part)
            # Without a chunk size, so that a cut connection loses nothing that was buffered.
            for chunk in response.iter_raw():
                if self.retrying.stop.is_set():
                    raise Stopped
                if part.size + len(chunk) > self.pin.size:
                    self._discard(part)
                    raise Transient("the server sent more bytes than the file has")
                part.append(chunk)
                self.progress.add(len(chunk))
        if part.size < self.pin.size:
            raise Transient("the response ended too early")

    def _accept(self, response: httpx.Response, part: PartialFile) -> None:
        """Checks that the body continues the part; starts over if it does not."""
        etag = response.headers.get("ETag")
        if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            self._discard(part)
            raise Transient("the server does not have the requested range")
        if response.status_code == HTTPStatus.OK:
            self._require_length(response, self.pin.size)
            # No range was requested, the server does not support ranges, or the file has changed.
            self._discard(part)
            part.restart(etag)
            return
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        fits = match is not None and int(match[1]) == part.size
        is_same_size = match is not None and match[2] in {"*", str(self.pin.size)}
        if not fits or not is_same_size or (part.etag and etag and etag != part.etag):
            self._discard(part)
            raise Transient("the server continued with another file")
        self._require_length(response, self.pin.size - part.size)

    def _require_length(self, response: httpx.Response, expected: int) -> None:
        length = response.headers.get("Content-Length")
        if length is not None and length != str(expected):
            raise Transient(f"the server announced {length} bytes instead of {expected}")

    def _is_right(self, part: PartialFile) -> bool:
        if self.pin.sha256 is not None:
            return part.sha256 == self.pin.sha256
        return git_sha1_of(part.path) == self.pin.git_sha1

    def _discard(self, part: PartialFile) -> None:
        self.progress.add(-part.size)
        part.discard()
