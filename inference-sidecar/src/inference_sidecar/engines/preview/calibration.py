"""Estimates, before the first render, how fast this machine renders."""

from __future__ import annotations

import time
from typing import Final

import numpy as np

from inference_sidecar.engines.raster import Texture, pixel_grid

_WIDTH: Final = 1280
_HEIGHT: Final = 720
_TRIES: Final = 9
_READS_PER_VIDEO_SECOND: Final = 80.0
"""A second of video takes as long as reading this many whole frames from a texture. Measured with a
face that fills a third of the height, drawn on one core while the encoder used the other."""


def guess_seconds_per_video_second() -> float:
    """Times reading a frame from a texture, which is most of the drawing. Takes 0.1 s."""
    picture = np.random.default_rng(1).integers(0, 256, (_HEIGHT, _WIDTH, 3), np.uint8)
    texture = Texture(picture)
    x, y = pixel_grid(_WIDTH, _HEIGHT)
    x = x + np.float32(0.3)
    took: list[float] = []
    for _ in range(_TRIES):
        began = time.perf_counter()
        texture.at(x, y)
        took.append(time.perf_counter() - began)
    return float(np.median(took)) * _READS_PER_VIDEO_SECOND
