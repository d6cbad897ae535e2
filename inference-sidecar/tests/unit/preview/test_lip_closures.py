"""Lips meet for "b", "m" and "p": held against an alignment of the words that are spoken."""

import wave
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from pocketsphinx import Decoder

from inference_sidecar.engines.engine import FPS
from inference_sidecar.engines.preview.lip_closures import Closure, LipClosures
from inference_sidecar.engines.preview.speech_motion import plan_speech
from inference_sidecar.engines.preview.voice import measure_voice
from inference_sidecar.foundation.errors import AudioUnreadable

VOICE: Final = Path(__file__).parents[4] / "examples/voice.wav"
WORDS: Final = (
    "and mister john dashwood had then leisure to consider how much there might be prudently in "
    "his power to do for them"
)


@pytest.fixture(scope="module")
def lip_closures() -> LipClosures:
    return LipClosures()


def unchecked() -> None:
    """A render that nobody stops."""


def aligned(phones: frozenset[str]) -> list[Closure]:
    """When these phones are spoken in the example: its words are known, so only the times are
    sought."""
    with wave.open(str(VOICE)) as reader:
        pcm = reader.readframes(reader.getnframes())
    decoder = Decoder(loglevel="FATAL")
    decoder.set_align_text(WORDS)
    # The first pass finds the words, the second their phones.
    for prepare in (lambda: None, decoder.set_alignment):
        prepare()
        decoder.start_utt()
        decoder.process_raw(pcm, full_utt=True)
        decoder.end_utt()
    return [
        Closure(phone.start / 100, (phone.start + phone.duration) / 100)
        for word in decoder.get_alignment()
        for phone in word
        if phone.name in phones
    ]


def frames_of(closure: Closure) -> list[int]:
    """The frames that show it, and one more on each side: the alignment is no finer."""
    return list(range(int(closure.start * FPS) - 1, int(closure.end * FPS) + 2))


def test_the_lips_shut_for_every_b_m_and_p_of_the_example(lip_closures: LipClosures) -> None:
    frames = round(7.1 * FPS)
    voice = measure_voice(VOICE)
    closures = lip_closures.find(VOICE, unchecked)
    spoken = aligned(frozenset("BMP"))
    assert len(spoken) == 7

    def shut(opening: np.ndarray) -> int:
        return sum(min(opening[frame] for frame in frames_of(one)) < 0.04 for one in spoken)

    assert shut(plan_speech(voice, frames).open) < 7
    assert shut(plan_speech(voice, frames, closures).open) == 7


def test_open_vowels_stay_open(lip_closures: LipClosures) -> None:
    frames = round(7.1 * FPS)
    voice = measure_voice(VOICE)
    before = plan_speech(voice, frames).open
    after = plan_speech(voice, frames, lip_closures.find(VOICE, unchecked)).open
    vowels = aligned(frozenset({"AE", "AA", "AW", "AY", "EH"}))
    assert len(vowels) >= 5
    for vowel in vowels:
        middle = int((vowel.start + vowel.end) / 2 * FPS)
        assert after[middle] >= min(before[middle], 0.5)


def test_one_recording_does_not_change_what_is_heard_in_the_next(
    lip_closures: LipClosures, tmp_path: Path
) -> None:
    first = lip_closures.find(VOICE, unchecked)
    lip_closures.find(_write(tmp_path / "noise.wav", 16_000), unchecked)
    assert lip_closures.find(VOICE, unchecked) == first != []


def test_a_recording_with_no_band_for_the_model_has_none(
    lip_closures: LipClosures, tmp_path: Path
) -> None:
    assert lip_closures.find(_write(tmp_path / "telephone.wav", 8_000), unchecked) == []


def test_silence_has_none(lip_closures: LipClosures, tmp_path: Path) -> None:
    path = _write(tmp_path / "silence.wav", 48_000, loudness=0)
    assert lip_closures.find(path, unchecked) == []


def test_a_stop_ends_the_listening_and_the_next_recording_is_heard(
    lip_closures: LipClosures,
) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lip_closures.find(VOICE, stop)
    assert lip_closures.find(VOICE, unchecked)


def test_what_is_no_recording_is_unreadable(lip_closures: LipClosures, tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no sound")
    with pytest.raises(AudioUnreadable):
        lip_closures.find(tmp_path / "text.wav", unchecked)


@pytest.mark.parametrize("start", [-0.05, 0.0, 0.99, 1.5])
def test_a_closure_at_the_edges_shuts_what_frames_there_are(start: float) -> None:
    voice = measure_voice(VOICE)
    opening = plan_speech(voice, FPS, [Closure(start, start + 0.02)]).open
    assert len(opening) == FPS
    assert np.isfinite(opening).all()


def _write(path: Path, rate: int, loudness: float = 8000) -> Path:
    noise = np.random.default_rng(3).normal(0, loudness, 2 * rate).astype("<i2")
    with wave.open(str(path), "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(noise.tobytes())
    return path
