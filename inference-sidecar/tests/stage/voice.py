"""The audio of a job: a WAV file of 16 bits and one channel."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference_sidecar.engines.engine import FPS


def write_wav(path: Path, samples: NDArray[np.int16], rate_hz: int = 16_000) -> Path:
    with wave.open(str(path), "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(rate_hz)
        writer.writeframes(samples.astype("<i2").tobytes())
    return path


def write_tone(path: Path, frames: int) -> Path:
    """A tone as long as this many frames, at a sample rate that no other test file has."""
    moments = np.arange(round(frames / FPS * 22_050)) / 22_050
    return write_wav(path, (np.sin(moments * 2765) * 9000).astype(np.int16), 22_050)
