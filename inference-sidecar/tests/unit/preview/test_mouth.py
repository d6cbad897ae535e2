"""Mouths that are not simply shut: smiles, parted lips, rows of teeth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from inference_sidecar.engines.engine import Size
from inference_sidecar.engines.preview.compositor import Compositor, FacePose
from inference_sidecar.engines.preview.framing import Framing, frame_portrait
from inference_sidecar.engines.preview.head_motion import HeadPose
from inference_sidecar.engines.preview.lip_motion import LipMotion, MouthPose
from inference_sidecar.engines.preview.mouth_frame import MouthFrame
from inference_sidecar.engines.preview.mouth_geometry import (
    TABLE_STEPS,
    MouthGeometry,
    measure_mouth,
)
from inference_sidecar.engines.preview.parted_lips import find_corners, find_edges
from inference_sidecar.engines.preview.teeth import Teeth, find_teeth
from inference_sidecar.engines.raster import Image, Points, pixel_grid, read_image

if TYPE_CHECKING:
    from conftest import Film

SMILE = Path(__file__).parents[2] / "media" / "smile.jpg"
SIZE = Size(960, 960)


@pytest.fixture(scope="module")
def smile(film: Film) -> tuple[Framing, Points]:
    picture = read_image(SMILE)
    assert picture is not None
    points = film.landmarks(picture)
    return frame_portrait(picture, points, SIZE), points


@pytest.fixture(scope="module")
def smiler(smile: tuple[Framing, Points]) -> Compositor:
    return Compositor(*smile)


def posed(compositor: Compositor, opening: float) -> Image:
    frame = np.empty((SIZE.height, SIZE.width, 3), np.uint8)
    compositor.draw(frame, FacePose(MouthPose(opening, 0), HeadPose(0, 0, 0), 0))
    return frame


def tooth_pixels(frame: Image, points: Points) -> int:
    """How many pixels around the lips are bright and colourless, as only teeth are there."""
    lips = points[[61, 291, 0, 17]]
    (left, top), (right, bottom) = lips.min(axis=0).astype(int), lips.max(axis=0).astype(int)
    mouth = frame[top:bottom, left:right].astype(np.int16)
    return int(((mouth.min(axis=2) > 165) & (np.ptp(mouth, axis=2) < 45)).sum())


def test_a_shut_smile_shows_no_sliver_of_teeth(
    smiler: Compositor, smile: tuple[Framing, Points]
) -> None:
    framing, points = smile
    placed = framing.place(points)
    shown = tooth_pixels(framing.canvas, placed)
    assert shown > 100
    assert tooth_pixels(posed(smiler, 0), placed) < 0.2 * shown


def test_a_speaking_smile_opens_gradually_beyond_the_photograph(
    smiler: Compositor, smile: tuple[Framing, Points], film: Film
) -> None:
    gaps: list[float] = []
    for opening in (0.0, 0.3, 0.6, 1.0):
        face = film.landmarks(posed(smiler, opening))
        gaps.append(float(face[14, 1] - face[13, 1]))
    placed = smile[0].place(smile[1])
    # From there on the model hardly sees a difference.
    assert min(np.diff(gaps)[:2]) > 1
    assert gaps[-1] > placed[14, 1] - placed[13, 1]


def test_wrong_lip_edges_of_the_mesh_are_corrected_from_the_picture(
    smile: tuple[Framing, Points],
) -> None:
    framing, points = smile
    right = measure_mouth(framing.canvas, framing.place(points))
    middle = np.abs(right.table_x) < 0.8
    for error in (-0.1, 0.1):
        _, lower = find_edges(
            *(framing.canvas, right.frame, right.table_x, right.upper_edge),
            right.lower_edge + error * (1 - right.table_x**2),
        )
        assert np.abs(lower - right.lower_edge)[middle].mean() < 0.04


@pytest.mark.parametrize("part", [0.88, 0.82])
def test_mouth_corners_too_far_inside_are_corrected_from_the_picture(
    smile: tuple[Framing, Points], part: float
) -> None:
    framing, points = smile
    right = measure_mouth(framing.canvas, framing.place(points))
    inner = np.array([-part, part], np.float32)
    height = (right.upper_at(inner) + right.lower_at(inner)) / 2
    narrow = MouthFrame.between(*np.stack(right.frame.pixels(inner, height), axis=1))
    corners = find_corners(
        framing.canvas, narrow, right.table_x, right.upper_edge, right.lower_edge
    )
    places = right.frame.place(corners)
    assert places[:, 0] == pytest.approx([-1, 1], abs=0.1)


def test_lower_teeth_below_the_edge_of_the_mesh_are_no_lip() -> None:
    frame = MouthFrame(np.array([100, 90], np.float32), 50.0, np.eye(2, dtype=np.float32))
    table_x = np.linspace(-1, 1, TABLE_STEPS, dtype=np.float32)
    arch = 1 - table_x**2
    x, y = frame.coordinates(*pixel_grid(200, 180))
    height = np.clip(1 - x**2, 0, 1)
    picture = np.full((180, 200, 3), (150, 105, 85), np.uint8)
    for top, bottom, colour in (
        (-0.75, 0.85, (120, 70, 70)),
        (-0.5, 0.55, (35, 15, 15)),
        (0.25, 0.55, (235, 233, 230)),
    ):
        picture[(y > top * height) & (y < bottom * height)] = colour
    _, lower = find_edges(picture, frame, table_x, -0.5 * arch, 0.35 * arch)
    middle = np.abs(table_x) < 0.5
    assert np.abs(lower - 0.55 * arch)[middle].max() < 0.08


def inside(*bands: int) -> Teeth:
    """The teeth that are found in a mouth with these bands of brightness from lip to lip."""
    frame = MouthFrame(np.array([60, 40], np.float32), 40.0, np.eye(2, dtype=np.float32))
    table_x = np.linspace(-1, 1, TABLE_STEPS, dtype=np.float32)
    upper, lower = -0.5 * (1 - table_x**2), 0.5 * (1 - table_x**2)
    geometry = MouthGeometry(
        *(frame, table_x, upper, lower),
        rest_gap=1.0,
        upper_lip=0.3,
        lower_lip=0.4,
        nose=-0.8,
        chin=2.0,
        face=6.5,
    )
    x, y = frame.coordinates(*pixel_grid(120, 80))
    picture = np.full((80, 120, 3), 150, np.uint8)
    part = (y - geometry.upper_at(x)) / np.maximum(
        geometry.lower_at(x) - geometry.upper_at(x), 0.01
    )
    is_inside = (part > 0) & (part < 1) & (np.abs(x) < 1)
    number = np.clip((part * len(bands)).astype(int), 0, len(bands) - 1)
    picture[is_inside] = np.array(bands, np.uint8)[number][is_inside][:, None]
    return find_teeth(picture, x, y, geometry, 1.0, np.ones(3, np.float32))


def test_one_row_of_teeth_stays_with_the_head() -> None:
    teeth = inside(220, 220, 210)
    assert teeth.are_own
    assert teeth.lower is None
    assert teeth.upper[40, 60, 3] > 0.9


def test_the_lower_of_two_rows_of_teeth_moves_with_the_jaw() -> None:
    teeth = inside(220, 220, 20, 20, 220)
    assert teeth.lower is not None
    top, bottom = (slice(22, 30), 60), (slice(52, 57), 60)
    assert teeth.upper[(*top, 3)].mean() > 0.5
    assert teeth.lower[(*top, 3)].max() == 0
    assert teeth.lower[(*bottom, 3)].mean() > 0.5
    assert teeth.upper[(*bottom, 3)].max() == 0


def test_parted_lips_with_darkness_between_get_modelled_teeth() -> None:
    assert not inside(30, 20, 30).are_own


def gaping(rest_gap: float, nose: float) -> MouthGeometry:
    """A mouth whose upper edge is flat and whose lower lip hangs down."""
    table_x = np.linspace(-1, 1, TABLE_STEPS, dtype=np.float32)
    frame = MouthFrame(np.zeros(2, np.float32), 90.0, np.eye(2, dtype=np.float32))
    upper = -0.1 * (1 - table_x**2)
    return MouthGeometry(
        *(frame, table_x, upper, upper + rest_gap * (1 - table_x**2)),
        rest_gap=rest_gap,
        upper_lip=0.11,
        lower_lip=0.21,
        nose=nose,
        chin=1.7,
        face=4.6,
    )


@pytest.mark.parametrize("rest_gap", [0.3, 0.8, 1.2])
@pytest.mark.parametrize("nose", [-0.5, -0.7, -1.2])
def test_the_skin_below_the_nose_never_stretches_into_streaks(rest_gap: float, nose: float) -> None:
    geometry = gaping(rest_gap, nose)
    lips = LipMotion(geometry, 9.0)
    y = np.linspace(nose - 0.3, -0.1, 300).astype(np.float32)
    for opening in (0.0, 0.4, 1.0):
        motion = lips.motion(MouthPose(opening, 0))
        _, source = lips.source(np.zeros_like(y), y, lips.skull_shift, motion)
        shown = np.diff(source) / np.diff(y)
        assert shown.min() > 0.3


def test_a_gaping_mouth_shuts_completely() -> None:
    lips = LipMotion(gaping(0.9, -0.5), 9.0)
    edges = lips.edges(np.linspace(-0.9, 0.9, 50, dtype=np.float32), lips.motion(MouthPose(0, 0)))
    assert np.abs(edges.lower - edges.upper).max() < 0.02


@pytest.mark.parametrize("cut", [slice(None, 258), slice(185, None)], ids=["right", "left"])
def test_a_face_cut_by_the_edge_shows_no_streaks_there(film: Film, cut: slice) -> None:
    picture = read_image(SMILE)
    assert picture is not None
    half = np.ascontiguousarray(picture[:, cut])
    points = film.landmarks(half)
    framing = frame_portrait(half, points, SIZE)
    (left, _), (right, _) = framing.bounds().round().astype(int)
    compositor = Compositor(framing, points)
    placed = framing.place(points)
    rows = slice(int(placed[1, 1]), int(placed[152, 1]))
    edge = slice(left, left + 12) if cut.start else slice(right - 12, right)
    detail = [
        np.abs(np.diff(image[rows, edge].astype(np.int16), axis=1)).mean()
        for image in (framing.canvas, posed(compositor, 0), posed(compositor, 1))
    ]
    assert min(detail[1:]) > 0.6 * detail[0]
