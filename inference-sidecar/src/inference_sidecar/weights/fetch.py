"""Downloads missing files of the model, and checks those that are present."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, TextIO

from inference_sidecar.foundation.errors import WeightsError
from inference_sidecar.weights.download import Backoff, Download, Retrying, Stopped
from inference_sidecar.weights.hub import Hub, HubFile
from inference_sidecar.weights.manifest import WeightFile
from inference_sidecar.weights.pins import Pin, Pins, refuse_contradiction
from inference_sidecar.weights.progress import Progress
from inference_sidecar.weights.volume import explained, locked, require_space, require_volume

_BLOCK: Final = 1 << 22


@dataclass(frozen=True)
class FetchOptions:
    """Options of `fetch`. parallel: files at a time."""

    parallel: int = 4
    backoff: Backoff = field(default_factory=Backoff)


@dataclass(frozen=True)
class Fetched:
    """The number of files already present and newly downloaded, and the size of all in bytes."""

    present: int
    downloaded: int
    size: int


def fetch(
    folder: Path,
    files: Sequence[WeightFile],
    hub: Hub,
    options: FetchOptions,
    output: TextIO,
) -> Fetched:
    """Makes sure that every file is below the folder with its pinned content.

    Keeps correct files, and downloads wrong ones again. Raises `WeightsError`; partial downloads
    are kept for the next run.
    """
    folder = require_volume(folder)

    def say(line: str) -> None:
        output.write(f"{line}\n")
        output.flush()

    with locked(folder, lambda: say(f"Another process uses {folder}; waiting for it.")):
        return _Fetch(folder, files, hub, options, output).run()


def sha256_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Fetch:
    def __init__(
        self,
        folder: Path,
        files: Sequence[WeightFile],
        hub: Hub,
        options: FetchOptions,
        output: TextIO,
    ) -> None:
        self._folder = folder
        self._files = files
        self._hub = hub
        self._options = options
        self._output = output
        self._pins = Pins(folder)
        self._retrying = Retrying(options.backoff, threading.Event(), self._say)
        self._recording = threading.Lock()

    def run(self) -> Fetched:
        pinned = self._pin_all()
        with explained(self._folder):
            missing = [(file, pin) for file, pin in pinned if not self._is_in_place(file, pin)]
        to_come = sum(max(0, pin.size - self._arrived(file)) for file, pin in missing)
        if missing:
            require_space(self._folder, to_come)
            self._download_all(missing)
        size = sum(pin.size for _, pin in pinned)
        return Fetched(len(pinned) - len(missing), len(missing), size)

    def _pin_all(self) -> list[tuple[WeightFile, Pin]]:
        """The pin of each file. Asks the hub only about files that are not pinned yet."""
        pins = {file.local: self._pins.find(file) for file in self._files}
        unknown = [file for file in self._files if pins[file.local] is None]
        for repository, revision in dict.fromkeys((f.repository, f.revision) for f in unknown):
            listing = self._list(repository, revision)
            for file in unknown:
                if (file.repository, file.revision) == (repository, revision):
                    pin = self._stated(file, listing)
                    with explained(self._folder):
                        self._pins.record(file, pin)
                    pins[file.local] = pin
        return [(file, pin) for file in self._files if (pin := pins[file.local]) is not None]

    def _list(self, repository: str, revision: str) -> Mapping[str, HubFile]:
        return self._retrying.run(
            lambda: self._hub.list_files(repository, revision), f"list of {repository}"
        )

    def _stated(self, file: WeightFile, listing: Mapping[str, HubFile]) -> Pin:
        stated = listing.get(file.path)
        if stated is None:
            raise WeightsError(
                f"{self._hub.name} has no {file.path} in {file.repository} at {file.revision}:"
                " check the manifest."
            )
        refuse_contradiction(file, stated.size, stated.sha256, f"{self._hub.name} states")
        return Pin(
            repository=file.repository,
            revision=file.revision,
            path=file.path,
            size=stated.size,
            sha256=file.sha256 or stated.sha256,
            git_sha1=stated.git_sha1,
        )

    def _is_in_place(self, file: WeightFile, pin: Pin) -> bool:
        path = self._folder / file.local
        if not path.is_file():
            return False
        if pin.is_seen(path):
            return True
        if path.stat().st_size == pin.size:
            self._say(f"{file.local}: is there; reading it")
            sha256 = sha256_of(path)
            if sha256 == pin.sha256 or (pin.sha256 is None and _git_sha1(path) == pin.git_sha1):
                self._pins.record(file, pin.seen(path, sha256))
                return True
        self._say(f"{file.local}: is there, but is not what was pinned; downloading it again")
        path.unlink()
        return False

    def _arrived(self, file: WeightFile) -> int:
        path = self._folder / f"{file.local}.part"
        return path.stat().st_size if path.is_file() else 0

    def _download_all(self, missing: Sequence[tuple[WeightFile, Pin]]) -> None:
        progress = Progress("Fetching", sum(pin.size for _, pin in missing), self._output)
        self._retrying = replace(self._retrying, say=progress.say)
        with ThreadPoolExecutor(self._options.parallel) as pool:
            running = [
                pool.submit(self._download, file, pin, progress)
                # The largest first: downloaded last and alone, it would not use the whole
                # bandwidth.
                for file, pin in sorted(missing, key=lambda each: -each[1].size)
            ]
            try:
                wait(running, return_when=FIRST_EXCEPTION)
            except KeyboardInterrupt:
                self._retrying.stop.set()
                raise
        progress.close()
        errors = [error for one in running if (error := one.exception())]
        for error in sorted(errors, key=lambda each: isinstance(each, Stopped)):
            raise error

    def _download(self, file: WeightFile, pin: Pin, progress: Progress) -> None:
        if self._retrying.stop.is_set():
            raise Stopped
        path = self._folder / file.local
        try:
            sha256 = Download(self._hub, file, pin, path, self._retrying, progress).run()
            with self._recording, explained(self._folder):
                self._pins.record(file, pin.seen(path, sha256))
        except BaseException:
            # Set here, because by the time the main thread notices, the next download has started.
            self._retrying.stop.set()
            raise

    def _say(self, line: str) -> None:
        self._output.write(f"{line}\n")
        self._output.flush()


def _git_sha1(path: Path) -> str:
    content = path.read_bytes()
    digest = hashlib.sha1(f"blob {len(content)}\0".encode(), usedforsecurity=False)
    digest.update(content)
    return digest.hexdigest()
