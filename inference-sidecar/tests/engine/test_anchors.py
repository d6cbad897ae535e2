"""The picture of each window: one portrait, the frames of a video, a slow zoom."""

from __future__ import annotations

import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from imageio_ffmpeg import get_ffmpeg_exe
from torch import Tensor

from inference_sidecar.engines.engine import Size
from inference_sidecar.engines.infinitetalk.inputs.cut import centre_cut
from inference_sidecar.engines.infinitetalk.inputs.source_video import SourceVideo, find_cuts
from inference_sidecar.engines.infinitetalk.sampling.anchors import (
    MovingAnchor,
    StillAnchor,
    VideoAnchors,
    VideoEnd,
    source_index,
    zoom_at,
)
from inference_sidecar.engines.infinitetalk.sampling.render_settings import AtCuts, RenderSettings
from inference_sidecar.engines.infinitetalk.sampling.windows import plan_windows
from inference_sidecar.foundation.errors import ImageUnreadable
from stage.film import write_shots

WINDOWS = plan_windows(65, RenderSettings(frames=17, motion=5))


def level(index: int) -> Tensor:
    return torch.full((3, 2, 2), float(index))


def test_a_portrait_is_new_once() -> None:
    anchors = StillAnchor(level(3))
    assert [shown.is_new for shown in map(anchors.at, WINDOWS)] == [True] + [False] * 4


def test_windows_take_the_frame_at_their_start_and_the_last_one_beyond_the_end() -> None:
    anchors = VideoAnchors(level, 30)
    seen = [(int(shown.picture[0, 0, 0]), shown.is_new) for shown in map(anchors.at, WINDOWS)]
    assert [window.start for window in WINDOWS] == [0, 12, 24, 36, 48]
    assert seen == [(0, True), (12, True), (24, True), (29, True), (29, False)]


def test_a_video_can_run_backwards_and_forwards_again() -> None:
    shown = [source_index(frame, 4, VideoEnd.PINGPONG) for frame in range(10)]
    assert shown == [0, 1, 2, 3, 2, 1, 0, 1, 2, 3]
    assert source_index(7, 1, VideoEnd.PINGPONG) == 0


def test_a_zoom_starts_and_ends_at_the_portrait() -> None:
    assert [zoom_at(frame) for frame in (0, 500, 1000)] == pytest.approx([1.0, 1.06, 1.0])
    portrait = torch.linspace(-1, 1, 3 * 32 * 48).view(3, 32, 48)
    anchors = MovingAnchor(portrait)
    first, is_new, _ = anchors.at(WINDOWS[0])
    assert is_new
    assert (first - portrait).abs().max() < 1e-5
    later, is_new, _ = anchors.at(WINDOWS[4])
    assert is_new
    assert later.shape == portrait.shape
    assert not torch.allclose(later, portrait, atol=1e-4)
    assert later.abs().max() <= 1


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 frames, each brighter than the one before."""
    path = tmp_path_factory.mktemp("video") / "source.mp4"
    source = "color=black:s=64x48:r=25:d=1.2,geq=lum='16+7*N':cb=128:cr=128"
    made = ["-f", "lavfi", "-i", source, "-c:v", "libx264", "-qp", "0", "-pix_fmt", "yuv420p"]
    subprocess.run([get_ffmpeg_exe(), "-nostdin", "-v", "error", *made, str(path)], check=True)
    return path


def test_only_the_frames_of_the_windows_are_taken_from_a_video(video: Path, tmp_path: Path) -> None:
    starts = [window.start for window in WINDOWS]
    source = SourceVideo.open(video, starts, VideoEnd.HOLD, tmp_path)
    assert source.length == 30
    assert source.size == Size(64, 48)
    assert sorted(source.files) == [0, 12, 24, 29]
    assert len(list(tmp_path.iterdir())) == 4
    anchors = source.anchors(centre_cut(source.size, Size(32, 32)))
    levels = [float(anchors.at(window).picture.mean()) for window in WINDOWS]
    steps = [after - before for before, after in pairwise(levels)]
    # Twelve, twelve and five frames of brightness, and then the last frame again.
    assert steps[0] == pytest.approx(steps[1], rel=0.05)
    assert steps[2] == pytest.approx(steps[0] * 5 / 12, rel=0.05)
    assert steps[3] == 0


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three scenes, of 50, 40 and 60 frames, each of which moves."""
    return write_shots(tmp_path_factory.mktemp("shots") / "source.mp4", 50, 40, 60)


def test_the_cuts_of_a_video_are_found_where_they_are_shown(shots: Path) -> None:
    def found(frames: int, end: VideoEnd = VideoEnd.HOLD, **changes: Any) -> tuple[int, ...]:
        return find_cuts(shots, frames, RenderSettings(frames=17, motion=5, **changes), end)

    assert found(150) == (50, 90)
    # A voice that ends earlier sees fewer, and so near to the end none.
    assert found(115) == (50, 90)
    assert found(100) == (50,)
    # Beyond its end the last frame stays, or the video runs backwards.
    assert found(300) == (50, 90)
    assert found(300, VideoEnd.PINGPONG) == (50, 90, 209, 249)
    assert found(150, at_cuts=AtCuts.NOTHING) == ()


def test_a_video_without_cuts_has_none(video: Path) -> None:
    assert find_cuts(video, 30, RenderSettings(), VideoEnd.HOLD) == ()


def test_what_is_no_video_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "source.mp4").write_bytes(b"no video")
    with pytest.raises(ImageUnreadable, match="cannot be read"):
        SourceVideo.open(tmp_path / "source.mp4", [0], VideoEnd.HOLD, tmp_path)
