"""Reads a voice the way the model was trained on it: 16 kHz, mono, at -23 LUFS."""

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
from inference_sidecar.engines.infinitetalk.sampling.interfaces import SAMPLE_RATE
from inference_sidecar.engines.voice_channel import choose_channel, to_mono
from inference_sidecar.foundation.contracts import AUDIO_QUIET_PEAK, AUDIO_SILENT_PEAK
from inference_sidecar.foundation.errors import AudioUnreadable

SAMPLES_PER_FRAME: Final = SAMPLE_RATE // FPS
_LOUDNESS_LUFS: Final = -23.0
_SHORTEST_MEASURED: Final = round(0.4 * SAMPLE_RATE)
"""One block of the loudness measurement."""
_SILENT_LUFS: Final = 100.0
_PAUSE_DBFS: Final = -50.0
_PAUSE_FRAMES: Final = 8
"""Of a pause that is worth its silence: more than 0.3 s."""

Samples = NDArray[np.floating[Any]]


def read_speech(path: Path) -> NDArray[np.float32]:
    """The samples of a file. Averages the channels, unless only one of them carries the voice, and
    then resamples, in upstream's order: the other order gives different bits.

    Raises `AudioUnreadable`.
    """
    try:
        samples, rate = soundfile.read(str(path), dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as cause:
        raise AudioUnreadable(f"{path.name} is not a readable audio file.") from cause
    channels = cast("NDArray[np.float32]", samples)
    mono = to_mono(channels, choose_channel([channels], rate))
    if rate == SAMPLE_RATE:
        return mono
    resampled = np.asarray(soxr.resample(mono, rate, SAMPLE_RATE, quality="HQ"), dtype=np.float32)
    wanted = int(np.ceil(len(mono) * (SAMPLE_RATE / rate)))
    return np.pad(resampled[:wanted], (0, max(0, wanted - len(resampled))))


def level_loudness(samples: Samples) -> Samples:
    """Normalises speech to -23 LUFS. Leaves silence alone, and audio too short to measure."""
    if len(samples) < _SHORTEST_MEASURED:
        return samples
    peak = float(np.abs(samples).max())
    # The measurement ignores whatever is below -70 LUFS, and of a quiet voice that is most.
    if AUDIO_SILENT_PEAK <= peak < AUDIO_QUIET_PEAK:
        samples = samples / peak
    with warnings.catch_warnings():
        # It warns about silence and about exceeding full scale. Nothing clips: only the model
        # consumes these samples.
        warnings.simplefilter("ignore")
        loudness = pyloudnorm.Meter(SAMPLE_RATE).integrated_loudness(samples)
        if not np.isfinite(loudness) or abs(loudness) > _SILENT_LUFS:
            return samples
        return pyloudnorm.normalize.loudness(samples, loudness, _LOUDNESS_LUFS)


def pauses_of(samples: Samples) -> tuple[tuple[int, int], ...]:
    """First and end video frames in which levelled speech is below -50 dBFS for more than 0.3 s."""
    whole = len(samples) // SAMPLES_PER_FRAME
    frames = samples[: whole * SAMPLES_PER_FRAME].reshape(whole, SAMPLES_PER_FRAME)
    is_quiet = np.sqrt(np.square(frames).mean(axis=1)) < 10 ** (_PAUSE_DBFS / 20)
    edges = np.flatnonzero(np.diff(is_quiet.astype(np.int8), prepend=0, append=0)).reshape(-1, 2)
    return tuple((int(a), int(b)) for a, b in edges if b - a >= _PAUSE_FRAMES)


def video_frames(samples: Samples) -> int:
    """Whole video frames that the samples last, counted as upstream counts them."""
    return int(len(samples) / SAMPLE_RATE * FPS)


def pad_to_frames(samples: Samples, frames: int) -> Samples:
    """Appends silence until the samples last this many video frames."""
    return np.pad(samples, (0, max(0, frames * SAMPLES_PER_FRAME - len(samples))))
