"""Which channel of a recording carries the voice."""

import numpy as np
import pytest
from numpy.typing import NDArray

from inference_sidecar.engines.voice_channel import Samples, choose_channel, to_mono

RATE = 16_000
COUNT = 4 * RATE
RANDOM = np.random.default_rng(1)


def syllables() -> NDArray[np.floating]:
    """Noise in the band of a voice, in bursts with pauses between them."""
    noise = np.convolve(RANDOM.normal(0, 0.3, COUNT), np.hanning(9), mode="same")
    return noise * (np.arange(COUNT) % 6_400 < 4_000)


def shifted(sound: NDArray[np.floating], degrees: float) -> NDArray[np.floating]:
    return np.fft.irfft(np.fft.rfft(sound) * np.exp(1j * np.deg2rad(degrees)), COUNT)


VOICE = syllables()
OTHER = np.roll(syllables(), 3_000)
SILENCE = np.zeros(COUNT)
HISS = RANDOM.normal(0, 0.1, COUNT)
HALF = np.arange(COUNT) < COUNT // 2


def chosen(*channels: NDArray[np.floating]) -> int | None:
    return choose_channel([np.stack(channels, axis=1)], RATE)


@pytest.mark.parametrize(
    ("channels", "channel"),
    [
        pytest.param((VOICE, VOICE), None, id="the same on both"),
        pytest.param((VOICE, SILENCE), None, id="silence on the other"),
        pytest.param((VOICE, OTHER), None, id="two voices"),
        pytest.param((VOICE * HALF, VOICE * ~HALF), None, id="two voices, one after the other"),
        pytest.param((VOICE, shifted(VOICE, 90)), None, id="a quarter out of phase"),
        pytest.param((VOICE, VOICE + 0.4), None, id="an offset"),
        pytest.param((HISS, HISS), None, id="nothing but noise"),
        pytest.param((SILENCE, SILENCE), None, id="nothing at all"),
        pytest.param((VOICE, -VOICE), 0, id="inverted"),
        pytest.param((-0.7 * VOICE, VOICE), 1, id="inverted and weaker"),
        pytest.param((VOICE, shifted(VOICE, 160)), 0, id="nearly inverted"),
        pytest.param((VOICE, np.where(HALF, VOICE, -VOICE)), 0, id="inverted half of the time"),
        pytest.param((HISS, VOICE), 1, id="hiss on the other"),
        pytest.param((VOICE, 3 * HISS), 0, id="louder hiss on the other"),
    ],
)
def test_the_mean_is_taken_unless_it_loses_the_voice(
    channels: tuple[Samples, Samples], channel: int | None
) -> None:
    assert chosen(*channels) == channel


def test_one_channel_needs_no_choice_and_no_samples_no_channel() -> None:
    assert chosen(VOICE) is None
    assert choose_channel([], RATE) is None
    assert choose_channel([np.zeros((3, 2))], RATE) is None


def test_blocks_of_any_length_make_the_same_choice() -> None:
    both = np.stack([VOICE, -VOICE], axis=1)
    assert choose_channel(np.array_split(both, 137), RATE) == 0


def test_mono_is_one_channel_or_the_mean_to_the_bit() -> None:
    both = np.stack([VOICE, OTHER], axis=1).astype(np.float32)
    assert np.array_equal(to_mono(both, None), both.mean(axis=1))
    assert np.array_equal(to_mono(both, 1), both[:, 1])
