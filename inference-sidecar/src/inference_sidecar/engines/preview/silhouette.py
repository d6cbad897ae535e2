"""Separates a head from its background, so that the head can move and the background stay."""

from __future__ import annotations

from typing import Final

import numpy as np

from inference_sidecar.engines.faces.face_mesh import CHIN, FOREHEAD
from inference_sidecar.engines.raster import (
    Field,
    Image,
    Mask,
    Points,
    distance_from,
    fill_polygon,
    grow_cut,
    resize,
    sample_field,
    smooth_step,
)

_FACE_OVAL: Final = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
_SIDES: Final = (234, 454)
_FACE_PX: Final = 90.0
"""Height of the face, in pixels, at which the segmentation runs: finer detail is not needed."""
_BELOW_CHIN: Final = 2.6
"""The segmentation ends this far below the middle of the face, in half faces."""
_MARGIN_PX: Final = 80
"""The margin of certain background that is used to learn its colours."""
_NEAR: Final = 0.02
_FAR: Final = 0.14
"""Distances from the silhouette, in face heights: up to where everything moves, and beyond which
nothing does."""


class Silhouette:
    """How close each position in a portrait is to the person."""

    def __init__(self, portrait: Image, landmarks: Points) -> None:
        """landmarks: the mesh on the portrait."""
        height, width = portrait.shape[:2]
        self._scale = min(1.0, _FACE_PX / _distance(landmarks[FOREHEAD], landmarks[CHIN]))
        small = resize(portrait, round(width * self._scale), round(height * self._scale))
        person = _cut_out(small, landmarks * self._scale)
        away = distance_from(person) / np.float32(_FACE_PX)
        self._nearness = 1 - smooth_step(away, _NEAR, _FAR)

    def nearness(self, x: Field, y: Field) -> Field:
        """1 on the person and next to it, 0 where the background must not move."""
        half = (self._scale - 1) / 2
        return sample_field(self._nearness, x * self._scale + half, y * self._scale + half)


def _cut_out(picture: Image, landmarks: Points) -> Mask:
    """The pixels of the person. Colours decide between certain face and certain background."""
    height, width = picture.shape[:2]
    forehead, chin = landmarks[FOREHEAD], landmarks[CHIN]
    centre, half_face = (forehead + chin) / 2, _distance(forehead, chin) / 2
    half_width = _distance(*landmarks[list(_SIDES)]) / 2
    down = (chin - forehead) / (2 * half_face)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    right, below = columns - centre[0], rows - centre[1]
    along = (right * down[0] + below * down[1]) / half_face
    across = np.abs(right * down[1] - below * down[0]) / half_width

    possible = (across < 2.3) & (along > -3.1)
    head = (across / 1.25) ** 2 + ((along + 0.35) / 1.75) ** 2 < 1
    body = (along > 1.1) & (across < 0.7 + (along - 1.1) * 1.2)
    certain = fill_polygon(landmarks[list(_FACE_OVAL)], width, height)
    certain |= (along > 0.9) & (along < 1.5) & (across < 0.4)
    bottom = min(height, int(centre[1] + _BELOW_CHIN * half_face))
    # Around a small face most of the picture is irrelevant, and segmenting it takes seconds.
    beside = np.flatnonzero(possible[:bottom].any(axis=0))
    above = np.flatnonzero(possible[:bottom].any(axis=1))
    left, right = max(0, int(beside[0]) - _MARGIN_PX), int(beside[-1]) + _MARGIN_PX
    box = slice(max(0, int(above[0]) - _MARGIN_PX), bottom), slice(left, right)
    found = np.zeros((height, width), np.bool_)
    found[box] = grow_cut(
        np.ascontiguousarray(picture[box]), certain[box], (head | body)[box], possible[box]
    )
    # Nothing moves further down, and the person's lower edge must not count as an outline.
    found[bottom:] = found[bottom - 1]
    return found | certain


def _distance(a: Points, b: Points) -> float:
    """Between two points."""
    return float(np.hypot(*(b - a)))
