"""From sound to measures of the voice, and from those to motion."""

import tracemalloc
import wave
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from inference_sidecar.engines.engine import FPS
from inference_sidecar.engines.preview.speech_motion import plan_speech
from inference_sidecar.engines.preview.voice import STEPS_PER_SECOND, measure_voice
from inference_sidecar.foundation.errors import AudioUnreadable


def write(
    path: Path,
    sound: NDArray[np.floating],
    *,
    rate: int = 16_000,
    width: int = 2,
    channels: int = 1,
) -> Path:
    """A PCM WAV of a mono sound from -1 to 1, the same on each channel."""
    scaled = np.repeat(sound, channels) * (2 ** (8 * width - 1) - 1)
    if width == 1:
        raw = (scaled + 128).astype(np.uint8).tobytes()
    else:
        raw = scaled.astype("<i4").view(np.uint8).reshape(-1, 4)[:, :width].tobytes()
    with wave.open(str(path), "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(width)
        writer.setframerate(rate)
        writer.writeframes(raw)
    return path


def tone(hertz: float, seconds: float, *, rate: int = 16_000) -> NDArray[np.floating]:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
def test_there_is_a_measure_for_every_hundredth_of_a_second(tmp_path: Path, rate: int) -> None:
    voice = measure_voice(write(tmp_path / "a.wav", tone(500, 3.21, rate=rate), rate=rate))
    assert voice.steps == pytest.approx(3.21 * STEPS_PER_SECOND, abs=1)


@pytest.mark.parametrize(("width", "channels"), [(1, 1), (2, 2), (3, 1), (4, 2)])
def test_sample_width_and_channels_do_not_change_the_measures(
    tmp_path: Path, width: int, channels: int
) -> None:
    sound = tone(800, 1)
    plain = measure_voice(write(tmp_path / "a.wav", sound))
    other = measure_voice(write(tmp_path / "b.wav", sound, width=width, channels=channels))
    assert other.vowel_db[10:90] == pytest.approx(plain.vowel_db[10:90], abs=0.3)
    assert other.brightness_hz[50] == pytest.approx(800, abs=30)


def test_a_sound_is_measured_when_it_is_heard(tmp_path: Path) -> None:
    sound = np.concatenate([np.zeros(16_000), tone(700, 1), np.zeros(16_000)])
    voice = measure_voice(write(tmp_path / "a.wav", sound))
    loud = np.flatnonzero(voice.vowel_db > -20)
    assert loud[0] == pytest.approx(100, abs=2)
    assert loud[-1] == pytest.approx(199, abs=2)


def test_measuring_holds_only_seconds_of_sound_in_memory(tmp_path: Path) -> None:
    minute = write(tmp_path / "a.wav", np.tile(tone(700, 1, rate=48_000), 60), rate=48_000)
    tracemalloc.start()
    measure_voice(minute)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 12_000_000


@pytest.mark.parametrize("content", [b"", b"RIFF", b"ID3 something else entirely" * 20])
def test_a_file_that_is_not_wav_is_unreadable(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    with pytest.raises(AudioUnreadable):
        measure_voice(path)


def test_a_missing_file_and_an_empty_one_are_unreadable(tmp_path: Path) -> None:
    with pytest.raises(AudioUnreadable):
        measure_voice(tmp_path / "absent.wav")
    with pytest.raises(AudioUnreadable):
        measure_voice(write(tmp_path / "empty.wav", np.zeros(0)))


def test_silence_and_faint_noise_leave_the_lips_shut(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).normal(0, 0.0004, 32_000)
    for sound in (np.zeros(32_000), noise):
        motion = plan_speech(measure_voice(write(tmp_path / "a.wav", sound)), 50)
        assert motion.open.max() == 0
        assert np.abs(motion.spread).max() == 0


def test_lips_open_as_wide_for_a_quiet_voice_as_for_a_loud_one(tmp_path: Path) -> None:
    syllables = np.tile(np.concatenate([tone(700, 0.2), np.zeros(2400)]), 6)
    peaks = [
        plan_speech(measure_voice(write(tmp_path / "a.wav", syllables * gain)), 52).open.max()
        for gain in (1.0, 0.05)
    ]
    assert peaks[0] > 0.6
    assert peaks[1] == pytest.approx(peaks[0], abs=0.05)


def test_noise_in_the_room_does_not_hold_the_lips_open(tmp_path: Path) -> None:
    hum = np.random.default_rng(1).normal(0, 0.01, 48_000)
    hum[16_000:32_000] += tone(700, 1)
    motion = plan_speech(measure_voice(write(tmp_path / "a.wav", hum)), 75)
    assert motion.open[:22].max() < 0.03
    assert motion.open[30:45].min() > 0.3


def test_sibilants_are_spoken_through_nearly_closed_lips(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    hiss = np.diff(np.diff(random.normal(0, 0.05, 16_002)))
    sound = np.concatenate([tone(700, 1), hiss, tone(700, 1)])
    motion = plan_speech(measure_voice(write(tmp_path / "a.wav", sound)), 75)
    assert motion.open[32:43].max() < 0.6 * motion.open[8:18].mean()


def test_bright_vowels_spread_the_lips_and_dark_ones_round_them(tmp_path: Path) -> None:
    sound = np.concatenate([tone(420, 1), tone(900, 1), tone(2200, 1)])
    motion = plan_speech(measure_voice(write(tmp_path / "a.wav", sound)), 3 * FPS)
    dark, bright = motion.spread[8:17].mean(), motion.spread[58:67].mean()
    assert dark < -0.3
    assert bright > 0.3


def test_after_the_voice_has_ended_the_lips_are_shut(tmp_path: Path) -> None:
    motion = plan_speech(measure_voice(write(tmp_path / "a.wav", tone(700, 1))), 40)
    assert len(motion.open) == 40
    assert motion.open[28:].max() == 0


def syllables(gain: float) -> NDArray[np.floating]:
    return gain * np.tile(np.concatenate([tone(700, 0.2), np.zeros(2400)]), 6)


def write_stereo(path: Path, left: NDArray[np.floating], right: NDArray[np.floating]) -> Path:
    samples = np.stack([left, right], axis=1) * 32_767
    with wave.open(str(path), "wb") as writer:
        writer.setnchannels(2)
        writer.setsampwidth(2)
        writer.setframerate(16_000)
        writer.writeframes(samples.astype("<i2").tobytes())
    return path


def test_lips_follow_a_voice_whose_channels_cancel_each_other(tmp_path: Path) -> None:
    voice = syllables(1)
    mono = plan_speech(measure_voice(write(tmp_path / "a.wav", voice)), 52)
    both = plan_speech(measure_voice(write_stereo(tmp_path / "b.wav", voice, -voice)), 52)
    assert both.open == pytest.approx(mono.open, abs=0.02)


@pytest.mark.parametrize("decibels", [-20, -40, -50])
def test_lips_open_as_wide_for_a_voice_that_is_hardly_heard(
    tmp_path: Path, decibels: float
) -> None:
    loud, quiet = (
        plan_speech(measure_voice(write(tmp_path / "a.wav", syllables(gain))), 52)
        for gain in (1, 10 ** (decibels / 20))
    )
    assert quiet.open == pytest.approx(loud.open, abs=0.1)


def test_lips_follow_a_short_voice_after_a_long_silence(tmp_path: Path) -> None:
    sound = np.concatenate([np.zeros(100 * 16_000), syllables(1)])
    motion = plan_speech(measure_voice(write(tmp_path / "a.wav", sound)), 102 * FPS)
    assert motion.open[: 99 * FPS].max() == 0
    assert motion.open[100 * FPS :].max() > 0.6


def test_a_click_in_silence_leaves_the_lips_shut(tmp_path: Path) -> None:
    sound = np.zeros(32_000)
    sound[16_000] = 0.9
    assert plan_speech(measure_voice(write(tmp_path / "a.wav", sound)), 50).open.max() == 0
