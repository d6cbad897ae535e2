"""Which ffmpeg runs: for whatever encodes, and for an engine that reads a video."""

from __future__ import annotations

import shutil
from pathlib import Path


def find_ffmpeg(configured: str | None = None) -> Path:
    """The ffmpeg to run: the configured one, else that of `imageio-ffmpeg`, else the system's.

    Raises `FileNotFoundError` when there is none.
    """
    if configured:
        found = shutil.which(configured)
        if found is None:
            raise FileNotFoundError(f"FFMPEG_PATH names no program: {configured}")
        return Path(found)
    try:
        # Optional at run time: with FFMPEG_PATH set the package need not be installed.
        from imageio_ffmpeg import get_ffmpeg_exe  # noqa: PLC0415

        return Path(get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        found = shutil.which("ffmpeg")
        if found is None:
            raise FileNotFoundError("No ffmpeg: set FFMPEG_PATH.") from None
        return Path(found)
