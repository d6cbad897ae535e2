"""Derives the motion of lips and jaw, frame by frame, from the measures of a voice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from inference_sidecar.engines.engine import FPS
from inference_sidecar.engines.preview.lip_closures import Closure
from inference_sidecar.engines.preview.voice import STEPS_PER_SECOND, Track, VoiceMeasures

_SILENT_DB: Final = -95.0
"""Rounding to 16 bits is as loud. A voice whose peak is 60 dB below full scale, which ingest takes
for silence, is some 15 dB louder."""
_FAINT_DB: Final = -50.0
_STEADY_DB: Final = 12.0
"""What is as faint and varies by less is the noise of the room and no voice."""
_CLICK_STEPS: Final = 6
_RARE_DB: Final = 9.0
"""How far the loud syllables of a voice are below its loudest, at most."""
_RANGE_DB: Final = 26.0
"""From lips about to part to fully open."""
_ABOVE_NOISE_DB: Final = 9.0
_SMOOTH_OPEN_SECONDS: Final = 0.036
_SMOOTH_SHAPE_SECONDS: Final = 0.06
_HISS_SPREAD: Final = 0.5
_SLOW_SECONDS: Final = 0.35
_CLOSURE_MARGIN_SECONDS: Final = 0.01
_BESIDE_CLOSURE: Final = 0.65
"""The widest opening of the frames before and after a closure: lips take longer than one frame."""
_CONTRAST: Final = 0.7
"""How much a syllable is raised above the loudness around it, to show the dips in between."""


@dataclass(frozen=True)
class SpeechMotion:
    """One value per video frame.

    open: lips' opening, 0 closed to 1 the widest vowel.
    spread: -1 rounded ("oo") to 1 wide ("ee"), 0 at rest.
    emphasis: slow loudness, 0 to 1; moves head and brows.
    """

    open: Track
    spread: Track
    emphasis: Track


def plan_speech(
    voice: VoiceMeasures, frames: int, closures: Sequence[Closure] = ()
) -> SpeechMotion:
    """Turns a whole voice into motion. Deterministic.

    closures: when the lips touch; the frames of each show them shut.

    All smoothing is symmetric in time: a filter that only looks back would delay the lips.
    """
    level = _speech_level(voice)
    lifted = level + _CONTRAST * (level - _smooth(level, _SLOW_SECONDS)) * (level > 0)
    # Sibilants are spoken with the teeth together, however loud they are.
    hiss = np.clip((voice.hiss_db - voice.vowel_db + 2) / 12, 0, 1)
    opening = np.clip(lifted, 0, 1) * (1 - 0.55 * hiss)
    opening = np.clip(_smooth(opening.astype(np.float32), _SMOOTH_OPEN_SECONDS), 0, 1)
    # A smaller opening is invisible, and the lips only never quite meet.
    opening = np.clip((opening - 0.05) / 0.95, 0, 1)
    return SpeechMotion(
        open=_shut(_at_frames(opening.astype(np.float32), frames), closures),
        spread=_at_frames(_spread(voice, level, hiss.astype(np.float32)), frames),
        emphasis=_at_frames(_smooth(level, _SLOW_SECONDS), frames),
    )


def _speech_level(voice: VoiceMeasures) -> Track:
    """Loudness of speech from 0 (pause) to 1, relative to the recording's voice and noise."""
    level = voice.vowel_db
    loud = float(np.percentile(level, 97))
    noise = float(np.percentile(level, 5))
    # In a recording that is nearly all silence, even the loud percentiles are silence.
    loud = max(loud, float(np.sort(level)[-min(_CLICK_STEPS, len(level))]) - _RARE_DB)
    if loud < _FAINT_DB and loud - noise < _STEADY_DB:
        return np.zeros_like(level)
    # In a recording without pauses the noise cannot be measured: its quietest tenth is speech.
    threshold = max(loud - _RANGE_DB, min(noise + _ABOVE_NOISE_DB, loud - 12), _SILENT_DB)
    if loud <= threshold:
        return np.zeros_like(level)
    return np.clip((level - threshold) / (loud - threshold), 0, 1).astype(np.float32)


def _spread(voice: VoiceMeasures, level: Track, hiss: Track) -> Track:
    """Wide or rounded lips from the brightness of the vowels, relative to this voice's median."""
    voiced = level > 0.5
    if not voiced.any():
        return np.zeros_like(level)
    octaves = np.log2(np.maximum(voice.brightness_hz, 50))
    # Only vowels show what is bright for this voice; consonants are brighter.
    low, middle, high = np.percentile(octaves[voiced], [10, 60, 90])
    half = max((float(high) - float(low)) / 2, 0.1)
    shape = np.clip((octaves - middle) / half, -1, 1) * np.clip(level * 2, 0, 1)
    shape += (_HISS_SPREAD * (level > 0) - shape) * hiss
    return np.clip(_smooth(shape.astype(np.float32), _SMOOTH_SHAPE_SECONDS), -1, 1)


def _shut(opening: Track, closures: Sequence[Closure]) -> Track:
    """Shuts the lips in the frames of each closure, one at least, and slows the way to them."""
    shut = opening.copy()
    for closure in closures:
        first = math.ceil((closure.start - _CLOSURE_MARGIN_SECONDS) * FPS - 0.5)
        last = math.floor((closure.end + _CLOSURE_MARGIN_SECONDS) * FPS - 0.5)
        if last < first:
            first = last = round((closure.start + closure.end) / 2 * FPS - 0.5)
        first, last = max(first, 0), min(last, len(shut) - 1)
        if last < first:
            continue
        shut[first : last + 1] = 0
        for beside in (first - 1, last + 1):
            if 0 <= beside < len(shut):
                shut[beside] = min(shut[beside], _BESIDE_CLOSURE)
    return shut


def _smooth(track: Track, sigma_seconds: float) -> Track:
    """Gaussian smoothing without delay; beyond its ends the track continues as silence."""
    sigma = sigma_seconds * STEPS_PER_SECOND
    reach = int(np.ceil(3 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    padded = np.pad(track.astype(np.float64), reach)
    return np.convolve(padded, kernel / kernel.sum(), mode="valid").astype(np.float32)


def _at_frames(track: Track, frames: int) -> Track:
    """The track at the middle of each video frame; silence after its end."""
    moments = (np.arange(frames) + 0.5) / FPS * STEPS_PER_SECOND - 0.5
    return np.interp(moments, np.arange(len(track)), track, right=0.0).astype(np.float32)
