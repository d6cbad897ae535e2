"""The pace of a machine, learned from its renders."""

import pytest

from inference_sidecar.foundation.pace import Pace


def test_starts_with_the_calibration_and_is_never_zero() -> None:
    assert Pace(0.4).seconds_per_video_second == 0.4
    assert Pace(0).seconds_per_video_second > 0


def test_follows_a_machine_that_becomes_slower() -> None:
    pace = Pace(0.4)
    for _ in range(3):
        pace.observe(video_seconds=10, took_seconds=12)
    assert pace.seconds_per_video_second == pytest.approx(1.2, rel=0.1)


def test_one_slow_render_changes_it_only_partly() -> None:
    pace = Pace(0.4)
    pace.observe(video_seconds=10, took_seconds=20)
    pace.observe(video_seconds=10, took_seconds=4)
    assert 0.4 < pace.seconds_per_video_second < 1.1


def test_a_very_short_video_counts_little_and_an_empty_one_not_at_all() -> None:
    pace = Pace(0.4)
    pace.observe(video_seconds=0.1, took_seconds=1)
    assert pace.seconds_per_video_second < 0.6
    before = pace.seconds_per_video_second
    pace.observe(video_seconds=0, took_seconds=1)
    assert pace.seconds_per_video_second == before
