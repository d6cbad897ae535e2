"""Faces of all kinds: several, tilted, cut off, tiny, grey, and none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from inference_sidecar.engines.engine import RenderRequest, Size
from inference_sidecar.engines.preview.compositor import Compositor, FacePose
from inference_sidecar.engines.preview.engine import PreviewEngine
from inference_sidecar.engines.preview.face_mesh import is_profile
from inference_sidecar.engines.preview.framing import frame_portrait
from inference_sidecar.engines.preview.head_motion import HeadPose
from inference_sidecar.engines.preview.lip_motion import MouthPose
from inference_sidecar.engines.preview.raster import Image, Points, resize, warp_affine
from inference_sidecar.foundation.errors import NoFace

if TYPE_CHECKING:
    from conftest import Film

VOICE = Path(__file__).parents[4] / "examples" / "voice.wav"
STILL = HeadPose(0, 0, 0)


def spoken(picture: Image, points: Points, size: Size, pose: HeadPose = STILL) -> tuple[Image, ...]:
    """The picture on its canvas with its mouth shut, and with mouth and head posed."""
    compositor = Compositor(frame_portrait(picture, points, size), points)
    frames = np.empty((2, size.height, size.width, 3), np.uint8)
    compositor.draw(frames[0], FacePose(MouthPose(0, 0), STILL, 0))
    compositor.draw(frames[1], FacePose(MouthPose(1, 0), pose, 0.5))
    return tuple(frames)


def turned(picture: Image, degrees: float) -> Image:
    height, width = picture.shape[:2]
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.array([[cosine, -sine], [sine, cosine]], np.float32)
    centre = np.array([width / 2, height / 2], np.float32)
    matrix = np.column_stack([turn, centre - turn @ centre]).astype(np.float32)
    return warp_affine(picture, matrix, width, height)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda p: turned(p, 20), id="turned by 20 degrees"),
        pytest.param(lambda p: turned(p, -20), id="turned to the other side"),
        pytest.param(lambda p: p[:, 150:], id="an ear at the border"),
        pytest.param(lambda p: p[170:], id="no forehead"),
        pytest.param(lambda p: p[:345], id="no neck"),
        pytest.param(lambda p: p[:, :270], id="half a face"),
        pytest.param(lambda p: resize(p, 128, 150), id="a face of 50 pixels"),
        pytest.param(lambda p: resize(p[150:400], 2048, 1000), id="a face that fills it all"),
    ],
)
def test_a_face_that_can_be_found_can_speak(film: Film, portrait: Image, make) -> None:
    picture = np.ascontiguousarray(make(portrait))
    points = film.landmarks(picture)
    shut, open_ = spoken(picture, points, Size(480, 480))
    placed = frame_portrait(picture, points, Size(480, 480)).place(points)
    x, y = placed[[13, 14]].mean(axis=0).round().astype(int)
    near = slice(max(0, y - 3), y + 12), slice(max(0, x - 8), x + 8)
    assert np.abs(open_[near].astype(np.int16) - shut[near]).mean() > 15


@pytest.mark.parametrize("side", [1, -1])
def test_a_profile_is_distinguished_from_a_half_turned_face(
    film: Film, portrait: Image, side: int
) -> None:
    points = film.landmarks(portrait)
    nose = points[1, 0]
    hidden = (points[:, 0] - nose) * side > 0

    def with_hidden_half(width: float) -> Points:
        squeezed = points.copy()
        squeezed[hidden, 0] = nose + (points[hidden, 0] - nose) * width
        return squeezed

    assert not is_profile(with_hidden_half(0.1))
    assert is_profile(with_hidden_half(0.01))
    assert is_profile(with_hidden_half(-0.2))


def test_a_profile_is_refused(
    portrait: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inference_sidecar.engines.preview.engine.is_profile", lambda _: True)
    path = tmp_path / "portrait.ppm"
    path.write_bytes(b"P6 512 600 255\n" + portrait.tobytes())
    engine = PreviewEngine()
    engine.load()
    with pytest.raises(NoFace, match="turned"):
        engine.plan(RenderRequest("job", path, VOICE, "", 1, Size(320, 180), 25))


def test_the_larger_of_two_faces_speaks(film: Film, portrait: Image) -> None:
    small = np.full_like(portrait, 128)
    small[200:500, 100:356] = resize(portrait, 256, 300)
    both = np.ascontiguousarray(np.hstack([small, portrait]))
    points = film.landmarks(both)
    assert points[:, 0].min() > 512
    shut, open_ = spoken(both, points, Size(1280, 720))
    placed = frame_portrait(both, points, Size(1280, 720)).place(points)
    left = int(placed[:, 0].min() - 0.6 * np.ptp(placed[:, 0]))
    assert np.array_equal(shut[:, :left], open_[:, :left])


def test_the_background_behind_a_moving_head_stays(film: Film, portrait: Image) -> None:
    size = Size(960, 960)
    points = film.landmarks(portrait)
    rest, moved = spoken(portrait, points, size, HeadPose(0.012, 0.03, 0.012))
    placed = frame_portrait(portrait, points, size).place(points)
    change = np.abs(moved.astype(np.int16) - rest)
    face = np.ptp(placed[:, 1])
    left, right = placed[:, 0].min() - 0.25 * face, placed[:, 0].max() + 0.25 * face
    above_shoulders = slice(0, int(placed[152, 1]))
    # The flag and its cords on one side, the studio's blue on the other.
    assert change[above_shoulders, : int(left)].max() <= 2
    assert change[above_shoulders, int(right) :].max() <= 2
    eyes = slice(int(placed[159, 1] - 0.1 * face), int(placed[145, 1] + 0.1 * face))
    assert change[eyes, int(placed[234, 0]) : int(placed[454, 0])].mean() > 8


def test_an_upside_down_picture_is_refused(portrait: Image, tmp_path: Path) -> None:
    path = tmp_path / "portrait.ppm"
    upside_down = np.ascontiguousarray(portrait[::-1])
    path.write_bytes(b"P6 512 600 255\n" + upside_down.tobytes())
    engine = PreviewEngine()
    engine.load()
    with pytest.raises(NoFace):
        engine.plan(RenderRequest("job", path, VOICE, "", 1, Size(320, 180), 25))
