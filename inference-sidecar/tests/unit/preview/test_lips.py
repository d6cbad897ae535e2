"""Whether a viewer would believe the lips: measured on decoded video by the landmark model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray

from inference_sidecar.engines.engine import FPS

if TYPE_CHECKING:
    from conftest import Footage

Series = NDArray[np.float64]


def correlation(a: Series, b: Series, lag_frames: int) -> float:
    """Pearson correlation when `b` is moved `lag_frames` later against `a`."""
    length = min(len(a), len(b)) - abs(lag_frames)
    first = a[max(0, lag_frames) :][:length]
    second = b[max(0, -lag_frames) :][:length]
    return float(np.corrcoef(first, second)[0, 1])


def best_lag(aperture: Series, loudness: Series) -> tuple[int, float]:
    """The lag within half a second at which the lips follow the voice best, and how well."""
    lags = range(-FPS // 2, FPS // 2 + 1)
    scores = {lag: correlation(aperture, loudness, lag) for lag in lags}
    best = max(scores, key=lambda lag: scores[lag])
    return best, scores[best]


def test_the_lips_follow_the_voice_without_delay(speaking: Footage, loudness: Series) -> None:
    lag, score = best_lag(speaking.aperture, loudness)
    assert abs(lag) / FPS <= 0.080
    assert score > 0.6


def test_the_lips_follow_this_voice_and_not_a_shuffled_one(
    speaking: Footage, loudness: Series
) -> None:
    _, score = best_lag(speaking.aperture, loudness)
    random = np.random.default_rng(1)
    pieces: list[Series] = np.array_split(loudness, len(loudness) // 8)
    orders: list[list[int]] = [random.permutation(len(pieces)).tolist() for _ in range(20)]
    shuffled = [
        best_lag(speaking.aperture, np.concatenate([pieces[i] for i in order]))[1]
        for order in orders
    ]
    assert score > max(shuffled) + 0.15


def test_the_lips_close_in_pauses_and_open_for_vowels(
    speaking: Footage, silent: Footage, loudness: Series
) -> None:
    rest = float(np.median(silent.aperture))
    widest = float(np.percentile(speaking.aperture, 95))
    length = min(len(loudness), len(speaking.aperture))
    quiet = np.convolve(loudness[:length] < loudness.min() + 8, np.ones(5), "same") == 5
    assert quiet.sum() >= 5
    assert widest > rest + 0.05
    assert speaking.aperture[:length][quiet].max() < rest + 0.15 * (widest - rest)


def test_a_silent_mouth_is_still(speaking: Footage, silent: Footage) -> None:
    # What is left is the landmark model's own noise, and a blink that disturbs it.
    assert np.std(silent.aperture) < 0.15 * np.std(speaking.aperture)


@pytest.mark.parametrize("kind", ["speaking", "silent"])
def test_the_head_moves_even_while_the_mouth_is_still(
    kind: str, request: pytest.FixtureRequest
) -> None:
    footage: Footage = request.getfixturevalue(kind)
    frames = footage.frames
    for second in range(len(frames) // FPS - 1):
        first, last = frames[second * FPS], frames[(second + 1) * FPS]
        assert np.abs(first.astype(np.int16) - last).max() > 8


def test_joins_between_chunks_are_invisible(speaking: Footage) -> None:
    """The change from one frame to the next, against the half second before and after."""
    small = speaking.frames[:, ::2, ::2].astype(np.int16)
    change = np.abs(np.diff(small, axis=0)).mean(axis=(1, 2, 3))
    joins = np.cumsum(speaking.chunks)[:-1] - 1
    assert len(joins) >= 5
    for join in joins:
        around = np.concatenate([change[max(0, join - 12) : join], change[join + 1 : join + 13]])
        assert (change[join] - around.mean()) / around.std() < 3


def test_no_frame_is_black(speaking: Footage) -> None:
    brightness = speaking.frames.mean(axis=(1, 2, 3))
    assert brightness.min() > 0.97 * brightness.max()


def test_regions_that_do_not_speak_stay_unchanged(speaking: Footage) -> None:
    """Medals, flag and shoulders, all that a head cannot reach: no more than grain coded anew."""
    height = speaking.frames.shape[1]
    frames = speaking.frames.astype(np.int16)
    below, aside = frames[:, int(0.9 * height) :], frames[:, :, : int(0.04 * height)]
    for still in (below, aside):
        assert np.abs(still - still[0]).mean(axis=(1, 2, 3)).max() < 1.5


def test_skin_does_not_flicker(silent: Footage) -> None:
    """Sharpness of the forehead keeps steady while the head moves by fractions of a pixel."""
    height, width = silent.frames.shape[1:3]
    brow = silent.frames[
        :, int(0.28 * height) : int(0.33 * height), width * 2 // 5 : width * 3 // 5
    ]
    brow = brow.mean(axis=3)
    detail = np.abs(2 * brow[:, :, 1:-1] - brow[:, :, :-2] - brow[:, :, 2:]).mean(axis=(1, 2))
    steps = np.abs(np.diff(detail)) / detail.mean()
    assert steps.mean() < 0.015
    assert steps.max() < 0.1


def test_a_smile_closes_in_pauses_and_opens_with_the_voice(
    smiling: Footage, loudness: Series
) -> None:
    loudness = loudness[: len(smiling.aperture)]
    lag, score = best_lag(smiling.aperture, loudness)
    assert abs(lag) / FPS <= 0.080
    assert score > 0.6
    closed, open_ = np.percentile(smiling.aperture, [3, 95])
    quiet = loudness < loudness.min() + 8
    assert quiet.sum() >= 5
    assert open_ > closed + 0.035
    assert smiling.aperture[quiet].mean() < closed + 0.25 * (open_ - closed)
