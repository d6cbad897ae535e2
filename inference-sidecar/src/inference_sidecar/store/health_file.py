"""`SPOOL_DIR/health.json`: whether the sidecar is alive and ready, written by each heartbeat.

`python -m inference_sidecar.health` reads it, so nothing heavy is imported here.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Final

_NAME: Final = "health.json"


class HealthFile:
    """The file in this folder; its modification time is that of the last heartbeat."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / _NAME

    def write(self, obstacle: str | None, stale_after_seconds: float) -> None:
        """Replaces the file. obstacle: why the sidecar is not ready for jobs; None when it is.

        On a full disk the earlier statement stays and only its time changes: restarting the
        sidecar would make no room.
        """
        statement = {"notReady": obstacle, "staleAfterSeconds": stale_after_seconds}
        partial = self._path.with_suffix(".part")
        try:
            partial.write_text(json.dumps(statement))
            partial.replace(self._path)
        except OSError:
            with contextlib.suppress(OSError):
                os.utime(self._path)

    def leave(self, reason: str) -> None:
        """Says why the sidecar ended before its first heartbeat; a later one replaces this."""
        with contextlib.suppress(OSError):
            self._path.write_text(json.dumps({"ended": reason}))

    def remove(self) -> None:
        """The sidecar has ended, or has not begun."""
        self._path.unlink(missing_ok=True)

    def find_problem(self, *, is_live_enough: bool) -> str | None:
        """Why the sidecar is not alive or, unless that is enough, not ready; None when it is."""
        try:
            # A file from the future is as old as one from the past: the clock was set back.
            age_seconds = abs(time.time() - self._path.stat().st_mtime)
            statement = json.loads(self._path.read_bytes())
        except (OSError, ValueError) as error:
            return f"There is no heartbeat in {self._path}: {type(error).__name__}."
        if "ended" in statement:
            return f"The sidecar could not start: {statement['ended']}"
        if age_seconds > statement["staleAfterSeconds"]:
            return f"The last heartbeat is {age_seconds:.0f} s old."
        if is_live_enough or statement["notReady"] is None:
            return None
        return f"The sidecar is not ready: {statement['notReady']}."
