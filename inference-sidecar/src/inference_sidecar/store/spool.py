"""Finished renders on disk that wait for their upload; none is ever rendered again."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from inference_sidecar.foundation.contracts import (
    JobId,
    NonNegativeInt,
    Owner,
    PositiveFloat,
    PositiveInt,
    Rendered,
    Traceparent,
    Used,
    WireModel,
)
from inference_sidecar.foundation.sync import sync

_MANIFEST: Final = "render.json"
_VIDEO: Final = "video.mp4"
_PARTIAL_SUFFIX: Final = ".part"


class SpooledRender(WireModel):
    """One finished render: the attempt that made it, and what it made.

    used: its GPU time; None if it was spooled by a version that did not measure that.
    """

    job_id: JobId
    owner: Owner
    epoch: PositiveInt
    traceparent: Traceparent
    deadline_seconds: PositiveFloat
    rendered: Rendered
    render_started_at_ms: NonNegativeInt
    render_ended_at_ms: NonNegativeInt
    used: Used | None = None


class Spool:
    """A folder with one sub-folder for each job, which is either complete or not there."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    def add(self, render: SpooledRender, video: Path) -> None:
        """Moves the video in; renaming the folder is what commits it.

        Blocks for some disk writes; raises `OSError` and then leaves nothing behind.
        """
        folder = self._folder(render.job_id)
        partial = folder.with_name(folder.name + _PARTIAL_SUFFIX)
        shutil.rmtree(partial, ignore_errors=True)
        try:
            partial.mkdir(parents=True)
            shutil.move(video, partial / _VIDEO)
            manifest = partial / _MANIFEST
            manifest.write_bytes(render.to_json())
            for path in (partial / _VIDEO, manifest, partial):
                sync(path)
            shutil.rmtree(folder, ignore_errors=True)
            partial.rename(folder)
            sync(self._directory)
        except OSError:
            shutil.rmtree(partial, ignore_errors=True)
            raise

    def video(self, job_id: str) -> Path:
        """The video of a spooled job."""
        return self._folder(job_id) / _VIDEO

    def remove(self, job_id: str) -> None:
        """Deletes a render; removing what is not there is fine."""
        shutil.rmtree(self._folder(job_id), ignore_errors=True)

    def read_all(self) -> list[SpooledRender]:
        """Everything that an earlier process left behind; incomplete folders are deleted."""
        found: list[SpooledRender] = []
        for folder in sorted(self._directory.iterdir()):
            render = _read(folder)
            if render is None:
                shutil.rmtree(folder, ignore_errors=True)
            else:
                found.append(render)
        return found

    def _folder(self, job_id: str) -> Path:
        return self._directory / job_id


def _read(folder: Path) -> SpooledRender | None:
    try:
        render = SpooledRender.model_validate_json((folder / _MANIFEST).read_bytes())
        is_whole = (folder / _VIDEO).stat().st_size == render.rendered.bytes
    except (OSError, ValidationError):
        return None
    # A folder that is not yet renamed may hold all of its files, but not all of their bytes.
    return render if is_whole and folder.name == render.job_id else None


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
