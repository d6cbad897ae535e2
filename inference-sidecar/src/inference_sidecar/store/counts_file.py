"""`SPOOL_DIR/counts.json`: what the sidecar has done, left for whoever started it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from inference_sidecar.foundation.contracts import WorkerCounts

_NAME: Final = "counts.json"


class CountsFile:
    """The file in this folder. Nothing depends on it, so a full disk is nobody's failure."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / _NAME

    def write(self, counts: WorkerCounts) -> None:
        """Replaces the file."""
        with contextlib.suppress(OSError):
            self._path.write_bytes(counts.to_json())

    def take(self) -> WorkerCounts | None:
        """Reads and removes the file. None if the sidecar has left none."""
        try:
            content = self._path.read_bytes()
            self._path.unlink()
            return WorkerCounts.model_validate_json(content)
        except (OSError, ValidationError):
            return None
