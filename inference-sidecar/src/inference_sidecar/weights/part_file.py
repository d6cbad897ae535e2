"""What has arrived of a file so far, under a name that nobody loads."""

from __future__ import annotations

import hashlib
import json
from io import FileIO
from pathlib import Path
from typing import Any, cast

from inference_sidecar.weights.volume import publish, write_whole

_BLOCK = 1 << 22


class PartFile:
    """`<name>.part`, and `<name>.part.json` with the version of the file that it is a part of.

    A part of another file, or one without its note, is not gone on with.
    """

    def __init__(self, path: Path, identity: str) -> None:
        self._target = path
        self._path = path.with_name(f"{path.name}.part")
        self._note = path.with_name(f"{path.name}.part.json")
        self._identity = identity
        self._file: FileIO | None = None
        self._digest = hashlib.sha256()
        self.size = 0
        self.etag: str | None = None
        if self._is_ours():
            self._read()
        else:
            self.discard()

    @property
    def sha256(self) -> str:
        """Of what has arrived."""
        return self._digest.hexdigest()

    def restart(self, etag: str | None) -> None:
        """Forgets what has arrived and begins a file of this version."""
        self.discard()
        self.etag = etag
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self._note, json.dumps({"of": self._identity, "etag": etag}).encode())
        self._path.touch()

    def append(self, data: bytes) -> None:
        """Adds what came next."""
        if self._file is None:
            self._file = self._path.open("ab", buffering=0)
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]
        self._digest.update(data)
        self.size += len(data)

    def close(self) -> None:
        """Lets go of the file on the disk; what has arrived stays there."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def discard(self) -> None:
        """Removes it."""
        self.close()
        self._path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)
        self._digest = hashlib.sha256()
        self.size = 0
        self.etag = None

    def git_sha1(self) -> str:
        """Git's name for the content."""
        digest = hashlib.sha1(f"blob {self.size}\0".encode(), usedforsecurity=False)
        digest.update(self._path.read_bytes())
        return digest.hexdigest()

    def finish(self) -> None:
        """Gives it the file's name. Whoever calls has checked the content."""
        self.close()
        publish(self._path, self._target)
        self._note.unlink(missing_ok=True)

    def _is_ours(self) -> bool:
        try:
            note = cast("dict[str, Any]", json.loads(self._note.read_bytes()))
            self.etag = cast("str | None", note["etag"])
            return note["of"] == self._identity and self._path.is_file()
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def _read(self) -> None:
        with self._path.open("rb") as file:
            while block := file.read(_BLOCK):
                self._digest.update(block)
                self.size += len(block)
