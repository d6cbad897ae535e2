"""Shows the progress of a long operation: one line rewritten on a terminal, else occasional
lines."""

from __future__ import annotations

import threading
import time
from typing import Final, TextIO

_SECONDS_BETWEEN_LINES: Final = 10.0
_SECONDS_BETWEEN_CHANGES: Final = 0.5


class Progress:
    """Counts bytes of a known total. Thread-safe."""

    def __init__(self, what: str, total: int, stream: TextIO) -> None:
        self._what = what
        self._total = total
        self._stream = stream
        self._is_live = stream.isatty()
        self._done = 0
        self._fresh = 0
        self._began = time.monotonic()
        self._shown = 0.0
        self._lock = threading.Lock()

    def start_at(self, done: int) -> None:
        """Adds bytes that were done before, which do not count for the speed."""
        with self._lock:
            self._done += done

    def add(self, count: int) -> None:
        """Adds bytes, or subtracts discarded ones."""
        with self._lock:
            self._done += count
            self._fresh += count
            between = _SECONDS_BETWEEN_CHANGES if self._is_live else _SECONDS_BETWEEN_LINES
            if time.monotonic() - self._shown >= between:
                self._show()

    def say(self, line: str) -> None:
        """Writes a permanent line."""
        with self._lock:
            self._stream.write(f"\r\x1b[K{line}\n" if self._is_live else f"{line}\n")
            self._stream.flush()

    def close(self) -> None:
        """Shows the final state."""
        with self._lock:
            self._show()
            if self._is_live:
                self._stream.write("\n")
                self._stream.flush()

    def _show(self) -> None:
        self._shown = time.monotonic()
        rate = max(self._fresh, 0) / max(self._shown - self._began, 1e-6)
        percent = 100 * self._done / self._total if self._total else 100
        left = f", {(self._total - self._done) / rate:.0f} s left" if rate > 1 else ""
        line = (
            f"{self._what}: {self._done / 1e9:.2f} of {self._total / 1e9:.2f} GB ({percent:.0f} %),"
            f" {rate / 1e6:.0f} MB/s{left}"
        )
        self._stream.write(f"\r\x1b[K{line}" if self._is_live else f"{line}\n")
        self._stream.flush()
