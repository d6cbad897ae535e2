"""The folder of one worker: its id, its unfinished work, its spool, and the room on its disk."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
import socket
from pathlib import Path
from typing import Final

from inference_sidecar.store.spool import Spool

ROOM_BYTES: Final = 32 << 20
"""With less free space than this the disk counts as full, and no job is taken."""


class FolderInUse(Exception):
    """Another sidecar uses this folder; the two would delete each other's work."""


class FolderNotUsable(Exception):
    """The folder cannot be made or written, and only another one, or other rights, would help."""


_LASTING: Final = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG}
)


class Workplace:
    """Prepared at each start: deletes an earlier process' unfinished work, keeps its spool."""

    def __init__(self, directory: Path) -> None:
        """Raises `FolderInUse` and `FolderNotUsable`, and `OSError` when a retry may help."""
        try:
            self._prepare(directory)
        except OSError as error:
            if error.errno not in _LASTING:
                raise
            raise FolderNotUsable(f"SPOOL_DIR: {error}") from error

    def _prepare(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        # Held for the life of the process: the kernel releases it, however the process dies.
        self._lock = os.open(directory / "lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise FolderInUse(f"Another sidecar works in {directory}.") from None
        self._work = directory / "work"
        shutil.rmtree(self._work, ignore_errors=True)
        self._work.mkdir()
        self.spool = Spool(directory / "renders")

    def worker_id(self, configured: str | None) -> str:
        """The configured id, else one that is made once and kept in this folder."""
        if configured is not None:
            return configured
        file = self._directory / "worker-id"
        try:
            return file.read_text().strip()
        except FileNotFoundError:
            host = "".join(c if c.isalnum() or c == "-" else "-" for c in socket.gethostname())[:80]
            name = f"{host}-{secrets.token_hex(4)}"
            partial = file.with_suffix(".part")
            partial.write_text(name)
            partial.replace(file)
            return name

    def begin(self, job_id: str, epoch: int) -> Path:
        """An empty folder for one attempt."""
        folder = self._work / f"{job_id}-{epoch}"
        shutil.rmtree(folder, ignore_errors=True)
        # Somebody may have deleted all of it while we run.
        folder.mkdir(parents=True)
        return folder

    def end(self, folder: Path) -> None:
        """Deletes the folder of an attempt."""
        shutil.rmtree(folder, ignore_errors=True)

    def has_room(self) -> bool:
        """Whether another job can be taken."""
        return shutil.disk_usage(self._directory).free >= ROOM_BYTES

    def free_part(self) -> float | None:
        """How much of the disk is free, 0 to 1; None if it does not tell."""
        try:
            usage = shutil.disk_usage(self._directory)
        except OSError:
            return None
        return round(usage.free / usage.total, 4) if usage.total else None

    def close(self) -> None:
        """Lets another sidecar use the folder."""
        os.close(self._lock)
