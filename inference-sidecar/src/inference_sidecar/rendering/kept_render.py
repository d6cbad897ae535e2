"""What of an interrupted render is safe on disk, and how to resume it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from inference_sidecar.engines.engine import ResumeState
from inference_sidecar.foundation.errors import ResumeRefused

_FILE: Final = "kept"


@dataclass(frozen=True)
class KeptRender:
    """The chunks before `resume.next_chunk` are encoded, in pieces that lie beside this file.

    size_class, is_degraded: those of the interrupted render.
    """

    size_class: str
    is_degraded: bool
    resume: ResumeState

    def write(self, folder: Path) -> None:
        """Replaces what was kept before. Not synced: it survives the process, not the machine."""
        header = {"sizeClass": self.size_class, "isDegraded": self.is_degraded}
        partial = folder / f"{_FILE}.part"
        partial.write_bytes(json.dumps(header).encode() + b"\n" + self.resume.to_bytes())
        partial.replace(folder / _FILE)

    @classmethod
    def read(cls, folder: Path) -> KeptRender | None:
        """What an earlier process kept; None when nothing of it can be used."""
        try:
            line, _, rest = (folder / _FILE).read_bytes().partition(b"\n")
            header = json.loads(line)
            resume = ResumeState.from_bytes(rest)
            return cls(str(header["sizeClass"]), bool(header["isDegraded"]), resume)
        except (OSError, ValueError, KeyError, TypeError, ResumeRefused):
            return None
