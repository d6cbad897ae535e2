"""The noise levels of the steps."""

from __future__ import annotations

from typing import Final

import numpy as np

TRAIN_TIMESTEPS: Final = 1000


def timesteps(steps: int, shift: float) -> list[float]:
    """`steps + 1` falling timesteps: the first is pure noise (1000), the last is 0.

    Computed in float32 as upstream does: the last decimals of a timestep show in the frames.
    """
    levels = np.append(np.linspace(TRAIN_TIMESTEPS, 1, steps, dtype=np.float32), np.float32(0))
    levels = levels / np.float32(TRAIN_TIMESTEPS)
    shifted = np.float32(shift) * levels / (np.float32(1) + np.float32(shift - 1) * levels)
    return [float(level) for level in shifted * np.float32(TRAIN_TIMESTEPS)]
