"""Reads a voice recording in blocks and measures it a hundred times a second."""

from __future__ import annotations

import math
import wave
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from inference_sidecar.engines.voice_channel import choose_channel, to_mono
from inference_sidecar.foundation.errors import AudioUnreadable

STEPS_PER_SECOND: Final = 100
_WINDOW_SECONDS: Final = 0.032
_BLOCK_STEPS: Final = 200
_FLOOR_DB: Final = -120.0
# Voicing and nasal murmur are below the first band: lips are closed for both "m" and silence.
_VOWEL_HZ: Final = (350.0, 3000.0)
_HISS_HZ: Final = (3500.0, 7500.0)

Track = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class VoiceMeasures:
    """One value per hundredth of a second, centred on it.

    vowel_db: power between 350 and 3000 Hz, relative to full scale.
    hiss_db: power between 3.5 and 7.5 kHz ("s", "f"); -120 if the recording has no such band.
    brightness_hz: centre of gravity of the vowel band: low for "o" and "u", high for "e" and "i".
    """

    vowel_db: Track
    hiss_db: Track
    brightness_hz: Track

    @property
    def steps(self) -> int:
        """The number of values of each track."""
        return len(self.vowel_db)


def measure_voice(path: Path) -> VoiceMeasures:
    """Measures a PCM WAV file in one pass, holding two seconds of sound at a time.

    Raises `AudioUnreadable` if it is not a PCM WAV file or has no samples.
    """
    parts = list(_measure_blocks(path))
    if not parts:
        raise AudioUnreadable("The audio has no samples.")
    vowel, hiss, brightness = (np.concatenate(tracks) for tracks in zip(*parts, strict=True))
    return VoiceMeasures(vowel, hiss, brightness)


def _measure_blocks(path: Path) -> Iterator[tuple[Track, Track, Track]]:
    """Yields the three tracks block by block."""
    with open_voice(path) as reader:
        yield from _measure_reader(reader)


@contextmanager
def open_voice(path: Path) -> Generator[wave.Wave_read]:
    """A PCM WAV file, open for reading. Raises `AudioUnreadable` if it is none, or is cut off."""
    try:
        with path.open("rb") as file, wave.open(file) as reader:
            yield reader
    except (wave.Error, EOFError, OSError) as cause:
        raise AudioUnreadable("The audio is not a PCM WAV file.") from cause


def _measure_reader(reader: wave.Wave_read) -> Iterator[tuple[Track, Track, Track]]:
    """Slides a window over the samples, centred by half a window of silence on both sides."""
    rate = reader.getframerate()
    channel = find_channel(reader)
    hop, window = rate / STEPS_PER_SECOND, round(rate * _WINDOW_SECONDS)
    pending = np.zeros(window // 2, np.float32)
    dropped, total, step, ended = 0, 0, 0, False
    while not ended:
        fresh = to_mono(read_samples(reader, round(hop * _BLOCK_STEPS)), channel)
        total += len(fresh)
        ended = len(fresh) == 0
        pending = np.concatenate([pending, np.zeros(window, np.float32) if ended else fresh])
        ready = int((dropped + len(pending) - window) / hop + 0.5)
        last = min(ready, int(total / hop + 0.5)) if ended else ready
        if last > step:
            starts = np.round((np.arange(step, last) + 0.5) * hop).astype(np.intp) - dropped
            yield _measure(pending, starts, window, rate)
            step = last
            keep_from = int((step + 0.5) * hop) - dropped
            pending, dropped = pending[keep_from:], dropped + keep_from


def find_channel(reader: wave.Wave_read) -> int | None:
    """Reads a recording of several channels to its end to see which one carries the voice."""
    if reader.getnchannels() == 1:
        return None
    rate = reader.getframerate()
    seconds = math.ceil(reader.getnframes() / rate)
    channel = choose_channel((read_samples(reader, rate) for _ in range(seconds)), rate)
    reader.rewind()
    return channel


def read_samples(reader: wave.Wave_read, count: int) -> Track:
    """Samples of any PCM width as floats from -1 to 1, `[n, channels]`; none at the end."""
    raw = reader.readframes(count)
    width, channels = reader.getsampwidth(), reader.getnchannels()
    usable = len(raw) // (width * channels) * width * channels
    pcm = np.frombuffer(raw[:usable], np.uint8).reshape(-1, width)
    if width == 1:
        samples = (pcm[:, 0].astype(np.float32) - 128) / 128
    else:
        # Two significant bytes are enough for measuring loudness.
        samples = pcm[:, -2:].copy().view("<i2")[:, 0].astype(np.float32) / 32768
    return samples.reshape(-1, channels)


def _measure(
    samples: Track, starts: NDArray[np.intp], window: int, rate: int
) -> tuple[Track, Track, Track]:
    """Band powers and brightness of the windows that begin at `starts`."""
    frames = samples[starts[:, None] + np.arange(window)] * np.hanning(window).astype(np.float32)
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2 * (8 / 3 / window**2)
    hertz = np.fft.rfftfreq(window, 1 / rate)
    in_vowel = (hertz >= _VOWEL_HZ[0]) & (hertz < _VOWEL_HZ[1])
    in_hiss = (hertz >= _HISS_HZ[0]) & (hertz < _HISS_HZ[1])
    vowel = power[:, in_vowel].sum(axis=1)
    centre = (power[:, in_vowel] @ hertz[in_vowel]) / np.maximum(vowel, 1e-12)
    return _decibels(vowel), _decibels(power[:, in_hiss].sum(axis=1)), centre.astype(np.float32)


def _decibels(power: NDArray[np.floating]) -> Track:
    """Power as dB relative to full scale, not below the floor."""
    return (10 * np.log10(np.maximum(power, 10 ** (_FLOOR_DB / 10)))).astype(np.float32)
