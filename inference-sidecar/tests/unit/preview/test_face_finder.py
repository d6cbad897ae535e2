"""Which of what the detector sees are faces of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from inference_sidecar.engines.faces.face_detector import DetectedFace
from inference_sidecar.engines.faces.face_finder import FaceFinder
from inference_sidecar.engines.raster import read_image, resize

PORTRAIT = Path(__file__).parents[4] / "examples" / "portrait.jpg"


def a_box(left: float, top: float, side: float) -> DetectedFace:
    eyes = np.array([[left, top], [left + side, top]], np.float32)
    return DetectedFace((left, top, left + side, top + side), eyes, 0.9)


def test_boxes_are_one_face_where_they_share_more_than_three_tenths_of_their_union() -> None:
    face = a_box(0, 0, 100)
    assert face.overlaps(a_box(20, 20, 100))
    assert not face.overlaps(a_box(40, 40, 100))
    assert not face.overlaps(a_box(200, 0, 100))
    # A child's face in front of its mother's.
    assert not face.overlaps(a_box(40, 40, 50))


def test_six_people_are_six_faces() -> None:
    portrait = read_image(PORTRAIT)
    assert portrait is not None
    small = resize(portrait, 256, 300)
    group = np.ascontiguousarray(np.vstack([np.hstack([small] * 3)] * 2))
    finder = FaceFinder()
    found = finder.find(group).faces
    assert len(found) == 6
    middles = {
        (round(x / 256, 1), round(y / 300, 1)) for x, y in (f.landmarks.mean(0) for f in found)
    }
    assert len(middles) == 6
    assert len(finder.find_upright(group)) == 6
