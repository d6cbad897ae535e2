"""The frames of each window, compared with upstream's way of counting."""

import math

import pytest

from inference_sidecar.engines.infinitetalk.sampling.render_settings import RenderSettings
from inference_sidecar.engines.infinitetalk.sampling.windows import plan_windows


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


def test_a_video_without_frames_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        plan_windows(0, RenderSettings())
