"""Reads a finished video."""

# PyAV is typed in parts only.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import io

import av


def frames_in(video: bytes) -> int:
    """How many frames can be decoded."""
    with av.open(io.BytesIO(video), "r") as container:
        return sum(1 for _ in container.decode(video=0))
