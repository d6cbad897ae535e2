"""The noise schedule: the timesteps of the denoising steps."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference_sidecar.engines.infinitetalk.sampling.render_settings import Grid

TRAIN_TIMESTEPS: Final = 1000


def timesteps(steps: int, shift: float, grid: Grid) -> list[float]:
    """`steps + 1` decreasing timesteps, from 1000 (pure noise) to 0.

    Computed in float32 like upstream, because the last digits of a timestep show in the frames.
    """
    levels = _even(steps, grid) / np.float32(TRAIN_TIMESTEPS)
    shifted = np.float32(shift) * levels / (np.float32(1) + np.float32(shift - 1) * levels)
    return [float(level) for level in shifted * np.float32(TRAIN_TIMESTEPS)]


def _even(steps: int, grid: Grid) -> NDArray[np.float32]:
    """The timesteps before they are shifted."""
    if grid is Grid.UNIFORM:
        parts = np.arange(steps + 1, dtype=np.float32) / np.float32(steps)
        return np.float32(TRAIN_TIMESTEPS) * (np.float32(1) - parts)
    return np.append(np.linspace(TRAIN_TIMESTEPS, 1, steps, dtype=np.float32), np.float32(0))
