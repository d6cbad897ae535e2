"""Finished renders on disk, waiting to be stored; what lies here is never rendered again."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

from inference_sidecar.contracts import Rendered

_MANIFEST: Final = "render.json"
_VIDEO: Final = "video.mp4"


class SpooledRender(BaseModel):
    """One finished render: whose it is, under which epoch, and what was made."""

    model_config = ConfigDict(frozen=True)

    job_id: str
    owner: str
    epoch: int
    traceparent: str
    rendered: Rendered
    render_started_at_ms: int
    render_ended_at_ms: int


class Spool:
    """A folder with one sub-folder for each job; an entry is there whole or not at all."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory / "renders"
        self._directory.mkdir(parents=True, exist_ok=True)

    def add(self, render: SpooledRender, video: Path) -> None:
        """Moves the video in. The rename of the folder is the moment at which it is spooled."""
        folder = self._folder(render.job_id)
        partial = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        shutil.move(video, partial / _VIDEO)
        manifest = partial / _MANIFEST
        manifest.write_text(render.model_dump_json())
        for path in (partial / _VIDEO, manifest, partial):
            _sync(path)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
        _sync(self._directory)

    def video(self, job_id: str) -> Path:
        """Where the video of a spooled job lies."""
        return self._folder(job_id) / _VIDEO

    def remove(self, job_id: str) -> None:
        """Forgets a render; removing what is not there is fine."""
        shutil.rmtree(self._folder(job_id), ignore_errors=True)

    def read_all(self) -> list[SpooledRender]:
        """Everything an earlier life left behind; half-written entries are deleted."""
        found: list[SpooledRender] = []
        for folder in sorted(self._directory.iterdir()):
            try:
                found.append(SpooledRender.model_validate_json((folder / _MANIFEST).read_text()))
            except (OSError, ValueError):
                shutil.rmtree(folder, ignore_errors=True)
                continue
            if folder.suffix == ".part" or not (folder / _VIDEO).is_file():
                shutil.rmtree(folder, ignore_errors=True)
                found.pop()
        return found

    def _folder(self, job_id: str) -> Path:
        return self._directory / job_id


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
