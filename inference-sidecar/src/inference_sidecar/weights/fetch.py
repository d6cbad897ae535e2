"""Downloads missing files of the model, and checks those that are present."""

from __future__ import annotations

import functools
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TextIO

from inference_sidecar.foundation.errors import WeightsError
from inference_sidecar.weights.download import Download, Retrying, Stopped
from inference_sidecar.weights.hashes import git_sha1_of, sha256_of
from inference_sidecar.weights.hub import Hub, HubFile
from inference_sidecar.weights.manifest import WeightFile
from inference_sidecar.weights.pins import Pin, Pins, refuse_contradiction
from inference_sidecar.weights.progress import Progress
from inference_sidecar.weights.volume import explained, locked, require_space, require_volume


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
    output: TextIO,
    *,
    parallel: int = 4,
    first_pause_seconds: float = 1.0,
) -> Fetched:
    """Makes sure that every file is below the folder with its pinned content.

    parallel: files at a time. first_pause_seconds: before the first retry of a request. Keeps
    correct files, and downloads wrong ones again. Raises `WeightsError`; partial downloads are kept
    for the next run.
    """
    folder = require_volume(folder)

    def say(line: str) -> None:
        output.write(f"{line}\n")
        output.flush()

    with locked(folder, lambda: say(f"Another process uses {folder}; waiting for it.")):
        retrying = Retrying(first_pause_seconds, threading.Event(), say)
        return _Fetch(folder, files, hub, parallel, output, retrying, Pins(folder)).run()


@dataclass(frozen=True)
class _Fetch:
    folder: Path
    files: Sequence[WeightFile]
    hub: Hub
    parallel: int
    output: TextIO
    retrying: Retrying
    pins: Pins
    recording: threading.Lock = field(default_factory=threading.Lock)

    def run(self) -> Fetched:
        pinned = self._pin_all()
        with explained(self.folder):
            missing = [(file, pin) for file, pin in pinned if not self._is_in_place(file, pin)]
        to_come = sum(max(0, pin.size - self._arrived(file)) for file, pin in missing)
        if missing:
            require_space(self.folder, to_come)
            self._download_all(missing)
        size = sum(pin.size for _, pin in pinned)
        return Fetched(len(pinned) - len(missing), len(missing), size)

    def _pin_all(self) -> list[tuple[WeightFile, Pin]]:
        """The pin of each file. Asks the hub only about files that are not pinned yet."""
        pins = {file.local: self.pins.find(file) for file in self.files}
        list_once = functools.cache(self._list)
        for file in self.files:
            if pins[file.local] is None:
                pin = self._stated(file, list_once(file.repository, file.revision))
                with explained(self.folder):
                    self.pins.record(file, pin)
                pins[file.local] = pin
        return [(file, pin) for file in self.files if (pin := pins[file.local]) is not None]

    def _list(self, repository: str, revision: str) -> Mapping[str, HubFile]:
        return self.retrying.run(
            lambda: self.hub.list_files(repository, revision), f"list of {repository}"
        )

    def _stated(self, file: WeightFile, listing: Mapping[str, HubFile]) -> Pin:
        stated = listing.get(file.path)
        if stated is None:
            raise WeightsError(
                f"{self.hub.name} has no {file.path} in {file.repository} at {file.revision}:"
                " check the manifest."
            )
        refuse_contradiction(file, stated.size, stated.sha256, f"{self.hub.name} states")
        return Pin.of(file, stated.size, file.sha256 or stated.sha256, stated.git_sha1)

    def _is_in_place(self, file: WeightFile, pin: Pin) -> bool:
        path, say = self.folder / file.local, self.retrying.say
        if not path.is_file():
            return False
        if pin.is_seen(path):
            return True
        if path.stat().st_size == pin.size:
            say(f"{file.local}: is there; reading it")
            sha256 = sha256_of(path)
            if sha256 == pin.sha256 or (pin.sha256 is None and git_sha1_of(path) == pin.git_sha1):
                self.pins.record(file, pin.seen(path, sha256))
                return True
        self.retrying.say(
            f"{file.local}: is there, but is not what was pinned; downloading it again"
        )
        path.unlink()
        return False

    def _arrived(self, file: WeightFile) -> int:
        path = self.folder / f"{file.local}.part"
        return path.stat().st_size if path.is_file() else 0

    def _download_all(self, missing: Sequence[tuple[WeightFile, Pin]]) -> None:
        progress = Progress("Fetching", sum(pin.size for _, pin in missing), self.output)
        retrying = replace(self.retrying, say=progress.say)
        with ThreadPoolExecutor(self.parallel) as pool:
            running = [
                pool.submit(self._download, file, pin, retrying, progress)
                # The largest first: downloaded last and alone, it would not use the whole
                # bandwidth.
                for file, pin in sorted(missing, key=lambda each: -each[1].size)
            ]
            try:
                wait(running, return_when=FIRST_EXCEPTION)
            except KeyboardInterrupt:
                self.retrying.stop.set()
                raise
        progress.close()
        errors = [error for one in running if (error := one.exception())]
        for error in sorted(errors, key=lambda each: isinstance(each, Stopped)):
            raise error

    def _download(self, file: WeightFile, pin: Pin, retrying: Retrying, progress: Progress) -> None:
        if self.retrying.stop.is_set():
            raise Stopped
        path = self.folder / file.local
        try:
            sha256 = Download(self.hub, file, pin, path, retrying, progress).run()
            with self.recording, explained(self.folder):
                self.pins.record(file, pin.seen(path, sha256))
        except BaseException:
            # Set here, because by the time the main thread notices, the next download has started.
            self.retrying.stop.set()
            raise
