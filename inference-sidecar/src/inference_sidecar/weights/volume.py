"""The weights folder: exists, is writable, has room, and is used by one process at a time."""

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
from inference_sidecar.foundation.sync import sync

RESERVE_BYTES: Final = 1_000_000_000
"""Always left free on the volume, for other users of it."""

_LOCK: Final = ".weights.lock"


def require_volume(folder: Path) -> Path:
    """The absolute path. Never creates the folder: a missing one is a volume that is not
    mounted."""
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
        raise WeightsError(f"{folder} is no folder: MODEL_STORAGE_PATH must name one.")
    return folder.absolute()


def require_space(folder: Path, needed_bytes: int) -> None:
    """Raises `WeightsError` if this much does not fit, including the reserve."""
    free = shutil.disk_usage(folder).free
    if free >= needed_bytes + RESERVE_BYTES:
        return
    raise WeightsError(
        f"{folder} has {free / 1e9:.1f} GB free and {needed_bytes / 1e9:.1f} GB are still needed"
        f" (with {RESERVE_BYTES / 1e9:.0f} GB in reserve): make room, or use a larger volume."
    )


@contextmanager
def explained(folder: Path) -> Generator[None]:
    """Turns the errors of a disk into a `WeightsError` that says what to do."""
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
    """Holds the lock of the folder while the block runs; others wait. Released if the process
    dies."""
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
    """Syncs a finished file to disk and renames it, so that no crash leaves half a file."""
    sync(draft)
    draft.replace(path)
    sync(path.parent)


def write_whole(path: Path, content: bytes) -> None:
    """Replaces a small file atomically."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    draft.write_bytes(content)
    publish(draft, path)


def not_fetched(path: Path) -> WeightsError:
    """The error for a file, or a folder, that `fetch` should have brought."""
    return WeightsError(f"{path} is missing: run `python -m inference_sidecar.weights fetch`.")
