"""The frames of each window, compared with upstream's way of counting."""

import math
from itertools import pairwise

import pytest

from inference_sidecar.engines.infinitetalk.sampling.render_settings import RenderSettings
from inference_sidecar.engines.infinitetalk.sampling.windows import (
    count_windows,
    plan_windows,
    usable_cuts,
)


@pytest.mark.parametrize(("frames", "motion"), [(81, 9), (21, 9), (17, 5), (81, 25), (5, 1)])
@pytest.mark.parametrize("wanted", [1, 4, 16, 17, 18, 81, 82, 153, 154, 1000, 3000])
def test_windows_deliver_every_frame_once(frames: int, motion: int, wanted: int) -> None:
    windows = plan_windows(wanted, RenderSettings(frames=frames, motion=motion))
    delivered = [
        window.start + window.drop + offset for window in windows for offset in range(window.keep)
    ]
    assert delivered == list(range(wanted))
    assert [window.index for window in windows] == list(range(len(windows)))
    assert [window.is_last for window in windows] == [False] * (len(windows) - 1) + [True]


@pytest.mark.parametrize("voice", [82, 100, 153, 154, 225, 226, 999])
def test_a_voice_longer_than_a_window_takes_as_many_windows_as_upstream(voice: int) -> None:
    windows = plan_windows(voice, RenderSettings(frames=81, motion=9))
    assert len(windows) == 1 + max(1, math.ceil((voice - 81) / 72))


def test_a_video_that_fits_into_one_window_takes_one() -> None:
    windows = plan_windows(81, RenderSettings(frames=81, motion=9))
    assert [(window.drop, window.keep) for window in windows] == [(0, 81)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"frames": 80},
        {"frames": 1},
        {"motion": 8},
        {"motion": 81},
        {"steps": 0},
        {"colour": 1.1},
        {"colour": -0.1},
        {"shift": float("nan")},
    ],
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"."):
        RenderSettings(**wrong)  # pyright: ignore[reportArgumentType]


TINY = RenderSettings(frames=17, motion=5)


@pytest.mark.parametrize("cuts", [(), (30,), (1, 40, 41), (17, 34, 60), (99,)])
def test_a_scene_begins_with_a_window_of_its_own_and_every_frame_is_delivered_once(
    cuts: tuple[int, ...],
) -> None:
    windows = plan_windows(100, TINY, cuts)
    delivered = [
        window.start + window.drop + offset for window in windows for offset in range(window.keep)
    ]
    assert delivered == list(range(100))
    assert [window.index for window in windows] == list(range(len(windows)))
    assert tuple(w.start for w in windows if w.is_first_of_scene) == (0, *cuts)
    # Nothing is looked at beyond the voice but by windows that know it.
    assert all(window.is_last or window.start + 17 <= 100 for window in windows)
    assert windows[-1].is_last
    lengths = [end - start for start, end in pairwise((0, *cuts, 100))]
    assert len(windows) == sum(count_windows(length, TINY) for length in lengths)


@pytest.mark.parametrize("cuts", [(0,), (100,), (40, 40), (50, 20)])
def test_cuts_that_are_not_ascending_frames_are_refused(cuts: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="ascending"):
        plan_windows(100, TINY, cuts)


def test_scenes_of_less_than_a_second_are_joined() -> None:
    usual = RenderSettings()
    assert usable_cuts((10, 100, 110, 130, 480), 500, usual) == (100, 130)
    assert usable_cuts((25, 474), 499, usual) == (25, 474)
    assert usable_cuts((), 499, usual) == ()


def test_many_cuts_take_a_third_more_windows_at_most_and_the_longest_scenes_are_kept() -> None:
    usual = RenderSettings()
    many = tuple(range(30, 3000, 30))
    kept = usable_cuts(many, 3000, usual)
    assert kept
    assert set(kept) < set(many)
    windows = count_windows(3000, usual)
    assert windows < len(plan_windows(3000, usual, kept)) <= windows * 4 // 3
    # Beside short scenes, a long one keeps its cut.
    assert 1500 in usable_cuts((*range(30, 500, 30), 1500), 3000, usual)
    # In a short video, two more are always worth it.
    assert usable_cuts((30, 60), 90, usual) == (30, 60)


def test_a_video_without_frames_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        plan_windows(0, RenderSettings())
