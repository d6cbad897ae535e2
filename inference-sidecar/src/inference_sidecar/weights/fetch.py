"""Brings what is missing of the model's files and finds out whether what is there is right."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TextIO

from inference_sidecar.foundation.errors import WeightsError
from inference_sidecar.weights.download import Delivery, Download, Pace, Stopped, with_retries
from inference_sidecar.weights.hub import Hub, Stated
from inference_sidecar.weights.manifest import WeightFile
from inference_sidecar.weights.pins import Pin, Pins, refuse_contradiction
from inference_sidecar.weights.progress import Progress
from inference_sidecar.weights.volume import explained, locked, require_space, require_volume

_BLOCK: Final = 1 << 22


@dataclass(frozen=True)
class FetchOptions:
    """How a fetch goes about it. parallel: files at a time."""

    parallel: int = 4
    pace: Pace = field(default_factory=Pace)


@dataclass(frozen=True)
class Fetched:
    """What a fetch found and did."""

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
    """Makes every file lie below the folder with the content that is pinned.

    What is there and right stays; what is there and wrong is deleted and brought anew. Raises
    `WeightsError`; whatever had arrived by then is kept for the next time.
    """
    folder = require_volume(folder)

    def say(line: str) -> None:
        output.write(f"{line}\n")
        output.flush()

    with locked(folder, lambda: say(f"Another process works on {folder}; waiting for it.")):
        return _Fetch(folder, files, hub, options, output).run()


def sha256_of(path: Path) -> str:
    """Of a whole file."""
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
        self._stop = threading.Event()
        self._recording = threading.Lock()

    def run(self) -> Fetched:
        pinned = self._pin_all()
        with explained(self._folder):
            missing = [(file, pin) for file, pin in pinned if not self._is_in_place(file, pin)]
        arrived = {file.local: self._arrived(file) for file, _ in missing}
        to_come = sum(pin.size - min(arrived[file.local], pin.size) for file, pin in missing)
        if missing:
            require_space(self._folder, to_come)
            self._download_all(missing)
        size = sum(pin.size for _, pin in pinned)
        return Fetched(len(pinned) - len(missing), len(missing), size)

    def _pin_all(self) -> list[tuple[WeightFile, Pin]]:
        """What each file must be; the hub is asked only about those that nobody knows yet."""
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

    def _list(self, repository: str, revision: str) -> Mapping[str, Stated]:
        delivery = self._delivery(None)
        return with_retries(
            lambda: self._hub.list_files(repository, revision), f"list of {repository}", delivery
        )

    def _stated(self, file: WeightFile, listing: Mapping[str, Stated]) -> Pin:
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
        self._say(f"{file.local}: is there, but is not what was pinned; it is brought anew")
        path.unlink()
        return False

    def _arrived(self, file: WeightFile) -> int:
        path = self._folder / f"{file.local}.part"
        return path.stat().st_size if path.is_file() else 0

    def _download_all(self, missing: Sequence[tuple[WeightFile, Pin]]) -> None:
        progress = Progress("Fetching", sum(pin.size for _, pin in missing), self._output)
        delivery = self._delivery(progress)
        with ThreadPoolExecutor(self._options.parallel) as pool:
            running = [
                pool.submit(self._download, file, pin, delivery)
                # The largest first: alone at the end, it would leave the line half used.
                for file, pin in sorted(missing, key=lambda each: -each[1].size)
            ]
            try:
                wait(running, return_when=FIRST_EXCEPTION)
            except KeyboardInterrupt:
                self._stop.set()
                raise
        progress.close()
        errors = [error for one in running if (error := one.exception())]
        for error in sorted(errors, key=lambda each: isinstance(each, Stopped)):
            raise error

    def _download(self, file: WeightFile, pin: Pin, delivery: Delivery) -> None:
        if self._stop.is_set():
            raise Stopped
        path = self._folder / file.local
        try:
            sha256 = Download(self._hub, file, pin, path, delivery).run()
            with self._recording, explained(self._folder):
                self._pins.record(file, pin.seen(path, sha256))
        except BaseException:
            # From here: by the time that the main thread hears of it, the next one has begun.
            self._stop.set()
            raise

    def _delivery(self, progress: Progress | None) -> Delivery:
        def ignore(_: int) -> None:
            pass

        return Delivery(
            pace=self._options.pace,
            stop=self._stop,
            on_present=progress.start_at if progress else ignore,
            on_bytes=progress.add if progress else ignore,
            on_retry=progress.say if progress else self._say,
        )

    def _say(self, line: str) -> None:
        self._output.write(f"{line}\n")
        self._output.flush()


def _git_sha1(path: Path) -> str:
    content = path.read_bytes()
    digest = hashlib.sha1(f"blob {len(content)}\0".encode(), usedforsecurity=False)
    digest.update(content)
    return digest.hexdigest()
