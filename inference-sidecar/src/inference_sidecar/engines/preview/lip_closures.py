"""Hears when the lips meet for "b", "m" and "p", which loudness alone does not always show."""

from __future__ import annotations

import wave
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from pocketsphinx import (  # pyright: ignore[reportMissingTypeStubs]
    Decoder,  # pyright: ignore[reportUnknownVariableType]
    get_model_path,  # pyright: ignore[reportUnknownVariableType]
)

from inference_sidecar.engines.preview.voice import find_channel, open_voice, read_samples
from inference_sidecar.engines.voice_channel import to_mono

SECONDS_PER_VOICE_SECOND: Final = 0.1
"""What listening takes; measured 0.07 on one core."""
_PHONES: Final = frozenset({"B", "M", "P"})
_BLOCK_SECONDS: Final = 2
_LEAST_RATE: Final = 14_000
"""The model hears up to 6.8 kHz. A recording without that band is judged by its loudness alone."""
_PHONE_STEPS_PER_SECOND: Final = 100
"""In which pocketsphinx counts; the measures of the voice have steps of their own."""
_LANGUAGE_WEIGHT: Final = 1.0
"""Low, because the phone sequences that the model knows are English and voices are not."""
_BEAM: Final = 1e-10


@dataclass(frozen=True)
class Closure:
    """The lips touch from one moment to another, in seconds."""

    start: float
    end: float


class LipClosures:
    """A phone recogniser: pocketsphinx with its own model of English, which ships in its wheel.

    Its phones of other languages are the nearest English ones; those that close the lips are much
    alike everywhere.
    """

    def __init__(self) -> None:
        """Loads 30 MB of models in 0.4 s."""
        self._decoder: Any = Decoder(
            lm=None,
            allphone=get_model_path("en-us/en-us-phone.lm.bin"),
            lw=_LANGUAGE_WEIGHT,
            beam=_BEAM,
            pbeam=_BEAM,
            loglevel="FATAL",
        )

    def find(self, path: Path, check: Callable[[], None]) -> list[Closure]:
        """All closures in a PCM WAV file, in order. Deterministic.

        check: called every two seconds of sound; what it raises ends the listening. Raises
        `AudioUnreadable`.
        """
        with open_voice(path) as reader:
            return self._listen(reader, check)

    def _listen(self, reader: wave.Wave_read, check: Callable[[], None]) -> list[Closure]:
        rate = reader.getframerate()
        if rate < _LEAST_RATE:
            return []
        channel = find_channel(reader)
        decoder = self._decoder
        decoder.config["samprate"] = rate
        # It also forgets what the recogniser has learned of the last recording's level.
        decoder.reinit_feat(decoder.config)
        decoder.start_utt()
        try:
            while len(samples := read_samples(reader, rate * _BLOCK_SECONDS)):
                check()
                decoder.process_raw(_pcm(to_mono(samples, channel)))
        finally:
            decoder.end_utt()
        return [
            Closure(
                phone.start_frame / _PHONE_STEPS_PER_SECOND,
                (phone.end_frame + 1) / _PHONE_STEPS_PER_SECOND,
            )
            for phone in decoder.seg() or ()
            if phone.word in _PHONES
        ]


def _pcm(samples: np.ndarray) -> bytes:
    return np.clip(samples * 32768, -32768, 32767).astype("<i2").tobytes()
