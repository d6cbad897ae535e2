"""From an audio file to the embeddings of each frame."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyloudnorm
import pytest
import soundfile
import torch

from inference_sidecar.engines.infinitetalk.encoders.stored_voice import StoredVoice, frame_indices
from inference_sidecar.engines.infinitetalk.inputs.speech import (
    SAMPLE_RATE,
    level_loudness,
    pad_to_frames,
    pauses_of,
    read_speech,
    video_frames,
)
from inference_sidecar.engines.infinitetalk.sampling.render_settings import (
    RenderSettings,
    Tail,
    VoiceEnds,
)
from inference_sidecar.engines.infinitetalk.sampling.windows import plan_windows
from inference_sidecar.foundation.errors import AudioUnreadable


def test_a_file_becomes_16_khz_mono_of_the_same_length(tmp_path: Path) -> None:
    seconds = np.arange(44_100) / 44_100
    left, right = np.sin(2 * np.pi * 440 * seconds), np.sin(2 * np.pi * 880 * seconds)
    soundfile.write(tmp_path / "voice.wav", np.stack((left, right), axis=1), 44_100, "FLOAT")
    samples = read_speech(tmp_path / "voice.wav")
    assert samples.dtype == np.float32
    assert len(samples) == SAMPLE_RATE
    at = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    expected = (np.sin(2 * np.pi * 440 * at) + np.sin(2 * np.pi * 880 * at)) / 2
    assert np.abs(samples - expected)[500:-500].max() < 2e-3


def test_a_file_that_is_not_audio_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "voice.wav").write_bytes(b"RIFF, or not")
    with pytest.raises(AudioUnreadable):
        read_speech(tmp_path / "voice.wav")


def test_speech_is_normalised_to_minus_23_lufs_and_silence_left_alone() -> None:
    tone = 0.7 * np.sin(np.arange(2 * SAMPLE_RATE) / 5)
    assert pyloudnorm.Meter(SAMPLE_RATE).integrated_loudness(level_loudness(tone)) == pytest.approx(
        -23, abs=0.01
    )
    silence = np.zeros(SAMPLE_RATE)
    assert np.array_equal(level_loudness(silence), silence)
    blip = tone[: SAMPLE_RATE // 3]
    assert np.array_equal(level_loudness(blip), blip)


@pytest.mark.parametrize("decibels", [-30, -45, -55])
def test_a_faint_voice_is_normalised_like_a_loud_one(decibels: float) -> None:
    at = np.arange(4 * SAMPLE_RATE)
    voice = 0.7 * np.sin(at / 5) * (0.1 + 0.9 * (at % 6400 < 4000))
    faint = level_loudness(voice * 10 ** (decibels / 20))
    assert np.allclose(faint, level_loudness(voice), atol=1e-3)


def test_a_voice_of_ordinary_level_takes_upstreams_path_to_the_bit() -> None:
    voice = (0.1 * np.sin(np.arange(2 * SAMPLE_RATE) / 5)).astype(np.float32)
    loudness = pyloudnorm.Meter(SAMPLE_RATE).integrated_loudness(voice)
    expected = pyloudnorm.normalize.loudness(voice, loudness, -23.0)
    assert np.array_equal(level_loudness(voice), expected)


def test_channels_that_cancel_each_other_leave_the_voice_of_one(tmp_path: Path) -> None:
    voice = np.sin(np.arange(2 * SAMPLE_RATE) / 5).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", np.stack((voice, -voice), axis=1), SAMPLE_RATE, "FLOAT")
    assert np.array_equal(read_speech(tmp_path / "a.wav"), voice)


def test_only_whole_frames_count_and_padding_is_silence() -> None:
    samples = np.ones(16_639)
    assert video_frames(samples) == 25
    padded = pad_to_frames(samples, 30)
    assert video_frames(padded) == 30
    assert padded[16_639:].max() == 0
    assert len(pad_to_frames(samples, 3)) == len(samples)


def test_every_frame_takes_two_neighbours_on_either_side_clamped_at_the_ends() -> None:
    heard = frame_indices(0, 4, 100, is_last=False)
    assert heard[0].tolist() == [0, 0, 0, 1, 2]
    assert heard[3].tolist() == [1, 2, 3, 4, 5]
    assert frame_indices(97, 3, 100, is_last=False)[-1].tolist() == [97, 98, 99, 99, 99]


def test_the_last_window_mirrors_the_voice_like_upstream() -> None:
    voice = torch.arange(50)
    start, frames = 40, 17
    lacking = start + frames - 50 + 3
    extended = torch.cat((voice, voice[-lacking:].flip(0)))
    taps = torch.arange(start, start + frames)[:, None] + torch.arange(-2, 3)
    expected = extended[taps.clamp(0, len(extended) - 1)]
    assert frame_indices(start, frames, 50, is_last=True).tolist() == expected.tolist()
    longer = torch.cat((voice[:4], voice[:4].flip(0)))
    taps = torch.arange(0, 17)[:, None] + torch.arange(-2, 3)
    assert frame_indices(0, 17, 4, is_last=True).tolist() == longer[taps.clamp(0, 7)].tolist()


def test_a_stored_voice_returns_the_hidden_states_of_all_layers() -> None:
    track = StoredVoice(20, 2, 3)
    said = torch.randn(2, 20, 3)
    for layer in range(2):
        track.store(layer, said[layer])
    window = track.window(5, 4, is_last=False)
    assert window.shape == (4, 5, 2, 3)
    assert torch.equal(window[1, 2], said[:, 6])
    assert torch.equal(window[0, 0], said[:, 3])


SILENCE = -torch.arange(1.0, 26.0)[:, None, None]
"""Negative, so that it is told from a voice."""


def a_voice(frames: int, ends: VoiceEnds) -> StoredVoice:
    voice = StoredVoice(frames, 1, 1, ends, SILENCE)
    voice.store(0, torch.arange(1.0, frames + 1)[:, None])
    return voice


def heard(voice: StoredVoice, start: int, frames: int, *, is_last: bool) -> list[list[float]]:
    return voice.window(start, frames, is_last=is_last)[..., 0, 0].tolist()


def test_after_its_end_the_last_window_hears_silence() -> None:
    voice = a_voice(10, VoiceEnds(tail=Tail.SILENCE))
    found = heard(voice, 6, 8, is_last=True)
    assert found[0] == [5, 6, 7, 8, 9]
    assert found[3] == [8, 9, 10, -11, -12]
    assert found[7] == [-12, -13, -14, -15, -16]
    # Any other window, and the beginning, repeat what there is, like upstream.
    assert heard(voice, 6, 4, is_last=False)[3] == [8, 9, 10, 10, 10]
    assert heard(voice, 0, 1, is_last=False)[0] == [1, 1, 1, 2, 3]


def test_the_tail_changes_what_the_last_window_hears_and_nothing_before() -> None:
    frames, settings = 200, RenderSettings()
    silent, mirrored = (a_voice(frames, VoiceEnds(tail=tail)) for tail in Tail)
    windows = plan_windows(frames, settings)
    for window in windows:
        one, other = (
            voice.window(window.start, settings.frames, is_last=window.is_last)
            for voice in (silent, mirrored)
        )
        if not window.is_last:
            assert torch.equal(one, other)
            continue
        delivered = window.drop + window.keep
        # The neighbours beyond the end of the last two delivered frames are the only difference.
        assert torch.equal(one[: delivered - 2], other[: delivered - 2])
        assert torch.equal(one[delivered - 2 : delivered, :3], other[delivered - 2 : delivered, :3])
        assert not torch.equal(one[delivered:], other[delivered:])


def test_a_lead_of_two_seconds_shifts_what_is_heard_by_50_frames() -> None:
    plain = a_voice(60, VoiceEnds(tail=Tail.SILENCE))
    led = a_voice(60, VoiceEnds(50, 25, Tail.SILENCE))
    assert led.frames == 50 + 60 + 25
    assert heard(led, 52, 50, is_last=False) == heard(plain, 2, 50, is_last=False)
    assert all(value < 0 for values in heard(led, 0, 48, is_last=False) for value in values)
    assert all(value < 0 for values in heard(led, 112, 40, is_last=True) for value in values)


def test_pauses_are_quiet_stretches_of_more_than_a_third_of_a_second() -> None:
    frames = np.full((60, 640), 0.1)
    for quiet in (slice(0, 3), slice(10, 18), slice(30, 37), slice(50, 60)):
        frames[quiet] = 0.002
    assert pauses_of(frames.ravel()) == ((10, 18), (50, 60))
    # Of a frame that is not whole, nothing is known.
    assert pauses_of(np.zeros(8 * 640 + 100)) == ((0, 8),)
    assert pauses_of(np.zeros(100)) == ()


def test_in_a_pause_silence_is_heard_and_everything_else_stays_to_the_bit() -> None:
    ends = VoiceEnds(2, 0, Tail.SILENCE)
    plain, gated = (
        StoredVoice(20, 1, 1, given, torch.full((3, 1, 1), -1.0))
        for given in (ends, replace(ends, pauses=((5, 13),)))
    )
    for track in (plain, gated):
        track.store(0, torch.arange(20.0)[:, None])
    heard, without = (x.window(0, 22, is_last=True)[..., 0, 0] for x in (plain, gated))
    # Two frames of lead; each frame hears two neighbours on either side.
    is_pause = (heard >= 5) & (heard < 13)
    assert is_pause.any()
    assert (without[is_pause] == -1).all()
    assert torch.equal(without[~is_pause], heard[~is_pause])


def test_silence_needs_an_embedding() -> None:
    with pytest.raises(ValueError, match="embedding of silence"):
        StoredVoice(10, 1, 1, VoiceEnds(tail=Tail.SILENCE))
