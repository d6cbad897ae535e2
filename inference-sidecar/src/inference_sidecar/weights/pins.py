"""Pins: the content that each file must have, recorded beside the files.

`weights-lock.json` records for each file what the hub stated at the first fetch (size, SHA-256),
and its size and modification time when the content was last verified. `fetch` does not read a file
again if these are unchanged; `verify` reads everything.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from inference_sidecar.foundation.errors import WeightsError
from inference_sidecar.weights.manifest import WeightFile
from inference_sidecar.weights.volume import write_whole

_NAME: Final = "weights-lock.json"


class Pin(BaseModel):
    """The record of one file.

    size, sha256: what it must have. git_sha1: the git blob SHA-1 of a small file, for which the hub
    states no SHA-256. seen_size, seen_mtime_ns: of the file when its content was last verified.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    repository: str
    revision: str
    path: str
    size: int
    sha256: str | None = None
    git_sha1: str | None = None
    seen_size: int | None = None
    seen_mtime_ns: int | None = None

    @classmethod
    def of(cls, file: WeightFile, size: int, sha256: str | None, git_sha1: str | None) -> Pin:
        """The pin of a file, with the content that it must have."""
        return cls(
            repository=file.repository,
            revision=file.revision,
            path=file.path,
            size=size,
            sha256=sha256,
            git_sha1=git_sha1,
        )

    def is_of(self, file: WeightFile) -> bool:
        """Whether it was recorded for this file at this revision."""
        return (self.repository, self.revision, self.path) == (
            file.repository,
            file.revision,
            file.path,
        )

    def is_seen(self, path: Path) -> bool:
        """Whether the file is unchanged since its content was verified."""
        try:
            state = path.stat()
        except OSError:
            return False
        return (state.st_size, state.st_mtime_ns) == (self.seen_size, self.seen_mtime_ns)

    def seen(self, path: Path, sha256: str) -> Pin:
        """The same pin, marked as verified now."""
        state = path.stat()
        now = {"sha256": sha256, "seen_size": state.st_size, "seen_mtime_ns": state.st_mtime_ns}
        return self.model_copy(update=now)


class ResidentPin(BaseModel):
    """The record of a file that `prepare` made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int
    sha256: str


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid")

    version: Literal[1] = 1
    files: dict[str, Pin] = Field(default_factory=dict[str, Pin])
    resident: dict[str, ResidentPin] = Field(default_factory=dict[str, ResidentPin])


class Pins:
    """The pins of one folder of weights."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / _NAME
        self._record = _read(self._path)

    def find(self, file: WeightFile) -> Pin | None:
        """The pin from the manifest, or else from the record; None if neither has one.

        Raises `WeightsError` if the two contradict each other.
        """
        pin = self._record.files.get(file.local)
        if pin is not None and not pin.is_of(file):
            pin = None
        if file.size is None or file.sha256 is None:
            return pin
        if pin is None:
            return Pin.of(file, file.size, file.sha256, None)
        refuse_contradiction(file, pin.size, pin.sha256, f"{self._path.name} records")
        return pin.model_copy(update={"sha256": file.sha256})

    def record(self, file: WeightFile, pin: Pin) -> None:
        """Records a pin, on disk at once."""
        self._record.files[file.local] = pin
        self._write()

    def known_sha256(self, path: Path) -> str | None:
        """The SHA-256 of a file that is unchanged since it was verified; None for any other."""
        if not path.is_relative_to(self._folder):
            return None
        pin = self._record.files.get(path.relative_to(self._folder).as_posix())
        return pin.sha256 if pin is not None and pin.is_seen(path) else None

    @property
    def resident(self) -> Mapping[str, ResidentPin]:
        """The files that `prepare` made, by path below the folder."""
        return self._record.resident

    def record_resident(self, path: Path, sha256: str) -> None:
        """Records a file that `prepare` made, on disk at once."""
        name = path.relative_to(self._folder).as_posix()
        self._record.resident[name] = ResidentPin(size=path.stat().st_size, sha256=sha256)
        self._write()

    def _write(self) -> None:
        self._record.files = dict(sorted(self._record.files.items()))
        self._record.resident = dict(sorted(self._record.resident.items()))
        content = self._record.model_dump_json(indent=2, exclude_none=True)
        write_whole(self._path, f"{content}\n".encode())


def refuse_contradiction(file: WeightFile, size: int, sha256: str | None, source: str) -> None:
    """Raises `WeightsError` if a source states other content for a file than the manifest."""
    is_same_size = file.size is None or file.size == size
    is_same_hash = file.sha256 is None or sha256 is None or file.sha256 == sha256
    if is_same_size and is_same_hash:
        return
    raise WeightsError(
        f"{source} other content for {file.local} ({size} bytes, sha256 {sha256 or 'unknown'})"
        f" than the manifest ({file.size} bytes, sha256 {file.sha256}): nothing was taken. Find out"
        " which is right, and correct the manifest if it is not."
    )


def _read(path: Path) -> _Record:
    try:
        return _Record.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return _Record()
    except ValidationError as cause:
        raise WeightsError(
            f"{path} cannot be read. Restore it, or delete it: then the next fetch asks the hub"
            " again and reads every file."
        ) from cause
