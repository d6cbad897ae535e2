"""Whether this process has run out of what every render needs: memory, threads, open files."""

from __future__ import annotations

import errno
import mmap
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_ERRNOS: Final = frozenset({errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EAGAIN})
_NEEDED_BYTES: Final = 64 << 20
"""Less than any render takes: a process that cannot get it fails each job."""


def is_exhausted(error: BaseException) -> bool:
    """Whether a failed render leaves a process in which the next one would fail as well.

    Looks at the error and its causes. Libraries hide the shortage behind errors of their own, and
    ffmpeg inherits our limits, so the process also tries to get a little of everything.
    """
    return any(_is_shortage(each) for each in _with_causes(error)) or not _gets_what_it_needs()


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    following: BaseException | None = error
    while following is not None:
        yield following
        following = following.__cause__ or following.__context__


def _is_shortage(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _ERRNOS)


def _gets_what_it_needs() -> bool:
    try:
        with Path(os.devnull).open("rb"), mmap.mmap(-1, _NEEDED_BYTES):
            threading.Thread(target=int).start()
    except (OSError, MemoryError, RuntimeError):
        return False
    return True
