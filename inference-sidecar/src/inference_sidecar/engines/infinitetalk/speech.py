"""A voice as the model was trained to hear it: 16 kHz, mono, at -23 LUFS."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import pyloudnorm
import soundfile
import soxr
from numpy.typing import NDArray

from inference_sidecar.engines.engine import FPS
from inference_sidecar.foundation.errors import AudioUnreadable

SAMPLE_RATE: Final = 16_000
SAMPLES_PER_FRAME: Final = SAMPLE_RATE // FPS
_LOUDNESS_LUFS: Final = -23.0
_SHORTEST_MEASURED: Final = round(0.4 * SAMPLE_RATE)
"""One block of the loudness measurement."""
_SILENT_LUFS: Final = 100.0

Samples = NDArray[np.floating[Any]]


def read_speech(path: Path) -> NDArray[np.float32]:
    """The samples of a file, channels averaged, then resampled: the order matters to the bit."""
    try:
        samples, rate = soundfile.read(str(path), dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as cause:
        raise AudioUnreadable(f"{path.name} is no audio file that can be read.") from cause
    mono = cast("NDArray[np.float32]", samples).mean(axis=1)
    if rate == SAMPLE_RATE:
        return mono
    resampled = np.asarray(soxr.resample(mono, rate, SAMPLE_RATE, quality="HQ"), dtype=np.float32)
    wanted = int(np.ceil(len(mono) * (SAMPLE_RATE / rate)))
    return np.pad(resampled[:wanted], (0, max(0, wanted - len(resampled))))


def level_loudness(samples: Samples) -> Samples:
    """Brings speech to -23 LUFS. Silence has no loudness and stays; so does what is too short."""
    if len(samples) < _SHORTEST_MEASURED:
        return samples
    with warnings.catch_warnings():
        # It warns of silence, and of full scale passed: nothing is clipped, nobody listens to this.
        warnings.simplefilter("ignore")
        loudness = pyloudnorm.Meter(SAMPLE_RATE).integrated_loudness(samples)
        if not np.isfinite(loudness) or abs(loudness) > _SILENT_LUFS:
            return samples
        return pyloudnorm.normalize.loudness(samples, loudness, _LOUDNESS_LUFS)


def frames_heard(samples: Samples) -> int:
    """Whole video frames that the samples last, counted as upstream counts them."""
    return int(len(samples) / SAMPLE_RATE * FPS)


def pad_to_frames(samples: Samples, frames: int) -> Samples:
    """Adds silence until the samples last as many frames."""
    return np.pad(samples, (0, max(0, frames * SAMPLES_PER_FRAME - len(samples))))
