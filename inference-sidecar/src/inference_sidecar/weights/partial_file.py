"""A partial download, under a name that nothing loads."""

from __future__ import annotations

import hashlib
import json
from io import FileIO
from pathlib import Path
from typing import Any, cast

from inference_sidecar.weights.volume import publish, write_whole

_BLOCK = 1 << 22


class PartialFile:
    """`<name>.part`, and `<name>.part.json`, which records the version of the file.

    A part of another version, or one without that record, is discarded and not resumed.
    """

    def __init__(self, path: Path, identity: str) -> None:
        self._target = path
        self.path = path.with_name(f"{path.name}.part")
        self._record = path.with_name(f"{path.name}.part.json")
        self._identity = identity
        self._file: FileIO | None = None
        self._digest = hashlib.sha256()
        self.size = 0
        self.etag: str | None = None
        if self._is_resumable():
            self._read()
        else:
            self.discard()

    @property
    def sha256(self) -> str:
        """SHA-256 of the bytes so far."""
        return self._digest.hexdigest()

    def restart(self, etag: str | None) -> None:
        """Discards the bytes so far and starts a part of this version."""
        self.discard()
        self.etag = etag
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self._record, json.dumps({"of": self._identity, "etag": etag}).encode())
        self.path.touch()

    def append(self, data: bytes) -> None:
        """Appends bytes."""
        if self._file is None:
            self._file = self.path.open("ab", buffering=0)
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]
        self._digest.update(data)
        self.size += len(data)

    def close(self) -> None:
        """Closes the file; the bytes stay on the disk."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def discard(self) -> None:
        """Deletes the part and its record."""
        self.close()
        self.path.unlink(missing_ok=True)
        self._record.unlink(missing_ok=True)
        self._digest = hashlib.sha256()
        self.size = 0
        self.etag = None

    def finish(self) -> None:
        """Gives it the name of the file. The caller has verified the content."""
        self.close()
        publish(self.path, self._target)
        self._record.unlink(missing_ok=True)

    def _is_resumable(self) -> bool:
        try:
            record = cast("dict[str, Any]", json.loads(self._record.read_bytes()))
            self.etag = cast("str | None", record["etag"])
            return record["of"] == self._identity and self.path.is_file()
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def _read(self) -> None:
        with self.path.open("rb") as file:
            while block := file.read(_BLOCK):
                self._digest.update(block)
                self.size += len(block)
