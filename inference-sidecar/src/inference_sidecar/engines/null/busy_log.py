"""The `null` engine's own count of its busy time, beside that of the worker which uses it."""

from __future__ import annotations

import os
import time


class BusyLog:
    """Adds the seconds since the last line as a line of their own, so that a kill loses but one.

    path: a file that several processes may add to; without one nothing is written.
    """

    def __init__(self, path: str | None) -> None:
        self._file: int | None = None
        if path is not None:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._since = time.monotonic()

    def begin(self) -> None:
        """The time before was idle."""
        self._since = time.monotonic()

    def add(self) -> None:
        """The time since the last line was busy."""
        if self._file is None:
            return
        now = time.monotonic()
        os.write(self._file, f"{now - self._since:.6f}\n".encode())
        self._since = now
