"""Plans the blinks of the eyes."""

from __future__ import annotations

from typing import Final

import numpy as np

from inference_sidecar.engines.engine import FPS
from inference_sidecar.engines.preview.voice import Track

_FIRST_SECONDS: Final = (1.2, 2.4)
_BETWEEN_SECONDS: Final = (2.4, 5.6)
_SHAPE: Final = (0.35, 0.85, 1.0, 0.9, 0.6, 0.3, 0.1)
"""How far the eyes are closed in each frame of a blink: they close fast and open slowly."""


def plan_blinks(frames: int, seed: int) -> Track:
    """How far the eyes are closed in every frame, 0 to 1; depends on the seed."""
    random = np.random.default_rng([seed, 2])
    closed = np.zeros(frames, np.float32)
    moment = random.uniform(*_FIRST_SECONDS)
    while (start := round(moment * FPS)) < frames:
        shape = _SHAPE[: frames - start]
        closed[start : start + len(shape)] = shape
        moment += random.uniform(*_BETWEEN_SECONDS)
    return closed
