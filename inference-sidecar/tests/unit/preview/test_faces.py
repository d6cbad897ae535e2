"""Faces of all kinds: several, tilted, cut off, tiny, grey, and none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from inference_sidecar.engines.engine import Box, Size
from inference_sidecar.engines.faces.face_finder import Face, FaceFinder, FoundFaces
from inference_sidecar.engines.preview.compositor import Compositor, FacePose
from inference_sidecar.engines.preview.framing import frame_portrait
from inference_sidecar.engines.preview.head_motion import HeadPose
from inference_sidecar.engines.preview.lip_motion import MouthPose
from inference_sidecar.engines.preview.speaker import Speaker, choose_speaker
from inference_sidecar.engines.raster import (
    Image,
    Points,
    blur_image,
    fill_polygon,
    read_image,
    resize,
    warp_affine,
)
from inference_sidecar.foundation.errors import (
    FaceTooSmall,
    FaceTurned,
    FaceUnusable,
    NoFace,
    SpeakerNotFound,
)

if TYPE_CHECKING:
    from conftest import Film

PORTRAIT = Path(__file__).parents[4] / "examples" / "portrait.jpg"
SMILE = Path(__file__).parents[2] / "media" / "smile.jpg"
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

    def with_hidden_half(width: float) -> FoundFaces:
        squeezed = points.copy()
        squeezed[hidden, 0] = nose + (points[hidden, 0] - nose) * width
        return FoundFaces((Face(squeezed, 0.9, 40_000),), 0.9)

    for width in (0.1, 0.01, -0.1):
        choose_speaker(portrait, with_hidden_half(width))
    for width in (-0.5, -0.8):
        with pytest.raises(FaceTurned, match="turned too far to the side"):
            choose_speaker(portrait, with_hidden_half(width))


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


@pytest.mark.parametrize(
    ("path", "part"),
    [(PORTRAIT, slice(256, None)), (PORTRAIT, slice(286, None)), (SMILE, slice(None, 225))],
    ids=["right half", "less than half", "left half"],
)
def test_half_a_face_speaks_though_an_eye_lies_beyond_the_edge(
    film: Film, path: Path, part: slice
) -> None:
    picture = read_image(path)
    assert picture is not None
    half = np.ascontiguousarray(picture[:, part])
    rest, speaking = spoken(half, film.landmarks(half), Size(720, 1280))
    assert np.abs(rest.astype(int) - speaking).max() > 20


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


def judged(finder: FaceFinder, picture: Image) -> Speaker:
    picture = np.ascontiguousarray(picture)
    return choose_speaker(picture, finder.find(picture))


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    return FaceFinder()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda p: np.rot90(p, 2), "upside down; rotate the image by 180°"),
        (lambda p: p[::-1], "upside down"),
        (lambda p: turned(p, 150), "upside down"),
        (lambda p: np.rot90(p, 1), "on its side; rotate the image by 90° clockwise"),
        (lambda p: np.rot90(p, 3), "on its side; rotate the image by 90° counterclockwise"),
        (
            lambda p: on_grey(resize(p, 51, 60), 1600),
            r"\d\d pixels high .* 1600 x 1600 .* least 32",
        ),
        (lambda p: p[:265], "cuts off the mouth"),
        (lambda p: on_grey(p[:150], 512), "No face was found"),
        (lambda p: np.full_like(p, 128), "No face was found"),
    ],
)
def test_the_reason_of_a_refusal_is_the_true_one(
    finder: FaceFinder, portrait: Image, make, reason: str
) -> None:
    with pytest.raises((NoFace, FaceUnusable), match=reason):
        judged(finder, make(portrait))


def on_grey(picture: Image, side: int) -> Image:
    """The picture in the lower right part of a grey square."""
    whole = np.full((side, side, 3), 120, np.uint8)
    height, width = picture.shape[:2]
    top, left = int(0.7 * (side - height)), int(0.7 * (side - width))
    whole[top : top + height, left : left + width] = picture
    return whole


@pytest.mark.parametrize("degrees", [-40, 40])
def test_a_tilted_head_is_not_taken_for_a_picture_on_its_side(
    finder: FaceFinder, portrait: Image, degrees: int
) -> None:
    assert judged(finder, turned(portrait, degrees)).warnings == ()


def test_a_face_much_smaller_than_the_picture_is_found(finder: FaceFinder, portrait: Image) -> None:
    speaker = judged(finder, on_grey(resize(portrait, 102, 120), 2000))
    assert np.ptp(speaker.landmarks[:, 1]) == pytest.approx(41, abs=8)


def test_a_second_face_is_mentioned_unless_it_is_far_in_the_background(
    finder: FaceFinder, portrait: Image
) -> None:
    def beside(height: int) -> list[str]:
        other = np.full_like(portrait, 120)
        other[100 : 100 + height, 50 : 50 + height * 512 // 600] = resize(
            portrait, height * 512 // 600, height
        )
        return [w.code for w in judged(finder, np.hstack([other, portrait])).warnings]

    assert beside(400) == ["SEVERAL_FACES"]
    assert beside(150) == []


def masked(points: Points, picture: Image, colour: tuple[int, int, int], grain: float) -> Image:
    """Cloth from the bridge of the nose to the chin, with folds and grain like a photograph's."""
    outline = points[[116, 197, 345, 454, 361, 397, 152, 172, 132, 234]]
    height, width = picture.shape[:2]
    cloth = np.empty(picture.shape, np.float32)
    cloth[:] = colour
    folds = np.sin(np.arange(height) / 9)[:, None, None] * grain
    cloth += folds + np.random.default_rng(1).normal(0, grain / 2, picture.shape)
    cover = fill_polygon(outline, width, height)[..., None]
    return np.where(cover, np.clip(cloth, 0, 255), picture).astype(np.uint8)


@pytest.mark.parametrize(
    ("colour", "grain"),
    [((90, 150, 190), 0), ((240, 240, 245), 6), ((30, 30, 34), 4), ((120, 60, 140), 10)],
)
def test_a_mask_stays_as_it_is_and_is_mentioned(
    finder: FaceFinder, film: Film, portrait: Image, colour: tuple[int, int, int], grain: float
) -> None:
    picture = masked(film.landmarks(portrait), portrait, colour, grain)
    speaker = judged(finder, picture)
    assert [w.code for w in speaker.warnings] == ["MOUTH_COVERED"]
    size = Size(480, 480)
    points = speaker.landmarks
    framing = frame_portrait(picture, points, size)
    compositor = Compositor(framing, points, moves_mouth=not speaker.is_mouth_covered)
    frame = np.empty((480, 480, 3), np.uint8)
    compositor.draw(frame, FacePose(MouthPose(1, 0), STILL, 0))
    assert np.abs(frame.astype(np.int16) - framing.canvas).mean() < 2


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda p: p, id="as it is"),
        pytest.param(lambda p: p[..., [1, 1, 1]], id="grey"),
        pytest.param(lambda p: (p * [1.0, 0.8, 0.5]).astype(np.uint8), id="in warm light"),
        pytest.param(lambda p: (p * 0.3).astype(np.uint8), id="in the dark"),
        pytest.param(lambda p: blur_image(p, 4), id="blurred"),
        pytest.param(lambda p: resize(p, 160, 188), id="small"),
    ],
)
@pytest.mark.parametrize("path", [PORTRAIT, SMILE], ids=["shut", "smiling"])
def test_a_bare_mouth_is_not_taken_for_a_covered_one(finder: FaceFinder, path: Path, make) -> None:
    picture = read_image(path)
    assert picture is not None
    assert judged(finder, make(picture)).warnings == ()


def test_a_face_of_few_pixels_has_a_code_of_its_own(finder: FaceFinder, portrait: Image) -> None:
    with pytest.raises(FaceTooSmall):
        judged(finder, on_grey(resize(portrait, 51, 60), 1600))


def test_the_speaker_is_the_face_with_the_number_or_in_the_box(
    finder: FaceFinder, portrait: Image
) -> None:
    small = np.full_like(portrait, 128)
    small[200:500, 100:356] = resize(portrait, 256, 300)
    both = np.ascontiguousarray(np.hstack([small, portrait]))
    found = finder.find(both)
    half = both.shape[1] / 2

    def middle(asked: int | Box | None) -> float:
        return float(choose_speaker(both, found, asked).landmarks[:, 0].mean())

    assert middle(None) > half
    assert middle(0) < half < middle(1)
    assert middle(Box(0, 0, 0.5, 1)) < half < middle(Box(0.5, 0, 1, 1))
    rivals = [w.code for w in choose_speaker(both, found).warnings]
    assert "SEVERAL_FACES" in rivals
    assert choose_speaker(both, found, 0).warnings == ()
    with pytest.raises(SpeakerNotFound, match="shows 2, counted from the left"):
        middle(2)
    with pytest.raises(SpeakerNotFound, match="in the box"):
        middle(Box(0, 0, 0.1, 0.1))
