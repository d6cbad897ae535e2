"""The folder that holds the weights: there, writable, large enough, and used by one at a time."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from inference_sidecar.foundation.errors import WeightsError

RESERVE_BYTES: Final = 1_000_000_000
"""Left free on the volume: a full one breaks whatever else lives there."""

_LOCK: Final = ".weights.lock"


def require_volume(folder: Path) -> Path:
    """The folder, absolute. It is never made: an absent one is a volume that was not mounted."""
    try:
        mode = folder.stat().st_mode
    except FileNotFoundError as cause:
        raise WeightsError(
            f"{folder} does not exist: mount the volume for the weights there, or make the folder."
        ) from cause
    except OSError as cause:
        raise WeightsError(
            f"{folder} cannot be reached ({cause.strerror}): check the mount."
        ) from cause
    if not stat.S_ISDIR(mode):
        raise WeightsError(f"{folder} is no folder: MODEL_STORAGE_PATH names one.")
    return folder.absolute()


def require_space(folder: Path, needed_bytes: int) -> None:
    """Raises unless so much fits, with the reserve."""
    free = shutil.disk_usage(folder).free
    if free >= needed_bytes + RESERVE_BYTES:
        return
    raise WeightsError(
        f"{folder} has {free / 1e9:.1f} GB free and {needed_bytes / 1e9:.1f} GB are still needed"
        f" (with {RESERVE_BYTES / 1e9:.0f} GB in reserve): make room, or use a larger volume."
    )


@contextmanager
def explained(folder: Path) -> Generator[None]:
    """Turns what a disk can answer to a write into a sentence."""
    try:
        yield
    except OSError as cause:
        if cause.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise WeightsError(
                f"The disk of {folder} is full: make room and run the same command again; what has"
                " arrived is kept."
            ) from cause
        if cause.errno in {errno.EROFS, errno.EACCES, errno.EPERM}:
            raise WeightsError(
                f"{folder} cannot be written to ({cause.strerror}): check how it is mounted and"
                " who owns it."
            ) from cause
        if cause.errno in {errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ENODEV}:
            raise WeightsError(
                f"The volume of {folder} failed ({cause.strerror}): check the mount, then run the"
                " same command again."
            ) from cause
        raise


@contextmanager
def locked(folder: Path, on_wait: Callable[[], None]) -> Generator[None]:
    """Keeps others out for as long as the block runs; they wait. Ends with the process."""
    with explained(folder):
        handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def publish(draft: Path, path: Path) -> None:
    """Gives a finished file its name: on the disk first, so that no crash leaves half of it."""
    with draft.open("rb") as file:
        os.fsync(file.fileno())
    draft.replace(path)
    sync_folder(path.parent)


def write_whole(path: Path, content: bytes) -> None:
    """Replaces a small file at once."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    draft.write_bytes(content)
    publish(draft, path)


def sync_folder(folder: Path) -> None:
    """Makes a new name in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
