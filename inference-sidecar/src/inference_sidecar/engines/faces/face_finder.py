"""Finds every face of a picture, whichever way up it is, and what is wrong with the main one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np

from inference_sidecar.engines.faces.face_detector import DetectedFace, FaceDetector
from inference_sidecar.engines.faces.face_mesh import CHIN, FOREHEAD, FaceMesh
from inference_sidecar.engines.raster import Image, Points

_NOSE_TIP: Final = 1
_CHEEKS: Final = (234, 454)
_MOST_FACES: Final = 8
"""Candidates in each orientation whose features are located, at 6 ms each."""
_UPRIGHT_BONUS: Final = 0.05
"""In doubt a picture is the right way up. In 250 portraits the true orientation scored higher than
the opposite one by 0.1 or more."""
_UNCLEAR_SCORE: Final = 0.66
"""Pictures without any face score up to 0.64, animals and masks more."""
_UPRIGHT_DEGREES: Final = 60
_TILE_PX: Final = 640
_TILE_STEP_PX: Final = 480
"""The detector finds a face that is a twentieth of its picture high; a smaller one needs tiles."""


@dataclass(frozen=True)
class Face:
    """A face whose features were located. Lengths are in pixels of the picture.

    landmarks: `[468, 2]`. score: the detector's, 0 to 1. area: of the detector's box.
    """

    landmarks: Points
    score: float
    area: float

    @property
    def height_px(self) -> float:
        """From the forehead to the chin."""
        return float(np.hypot(*self._down))

    @property
    def tilt_degrees(self) -> float:
        """How far the face is turned clockwise in the picture, -180 to 180."""
        across, down = self._down
        return float(np.degrees(np.arctan2(-across, down)))

    @property
    def is_upright(self) -> bool:
        """Whether the picture shows the face the right way up, more or less."""
        return abs(self.tilt_degrees) <= _UPRIGHT_DEGREES

    @property
    def far_half(self) -> float:
        """The part of the face's width beyond the nose: 0.5 from the front, 0.19 when turned by 30
        degrees, 0.01 by 45. Below 0 the nose stands out beyond the cheek: -0.13 by some 60 degrees,
        -0.45 in a profile."""
        # Measured across the line from forehead to chin: in a profile the line of the eyes is too
        # short.
        along = np.array([self._down[1], -self._down[0]])
        left, right = (self.landmarks[list(_CHEEKS)] - self.landmarks[_NOSE_TIP]) @ along
        return float(min(-left, right) / max(right - left, 1e-6))

    @property
    def _down(self) -> Points:
        return self.landmarks[CHIN] - self.landmarks[FOREHEAD]

    def is_same_as(self, other: Face) -> bool:
        """Whether both are the same face, found in two orientations or tiles."""
        apart = self.landmarks.mean(axis=0) - other.landmarks.mean(axis=0)
        return float(np.hypot(*apart)) < 0.5 * max(self.height_px, other.height_px)


@dataclass(frozen=True)
class FoundFaces:
    """What a picture shows.

    faces: the most prominent one first. may_show_face: something looks like a face the right way
    up, although its features may not be located.
    """

    faces: tuple[Face, ...]
    may_show_face: bool


class FaceFinder:
    """Loads both models (4 MB) and looks at one picture after another, each in 0.1 s."""

    def __init__(self) -> None:
        self._detector, self._mesh = FaceDetector(), FaceMesh()

    def find(self, picture: Image) -> FoundFaces:
        """All faces, in any orientation; small ones are only looked for if there are no others."""
        upright = self._detector.find_faces(picture)
        may_show_face = any(face.score > _UNCLEAR_SCORE for face in upright)
        faces = self._located(picture, upright)
        for turns in (1, 2, 3):
            turned = np.ascontiguousarray(np.rot90(picture, turns))
            for face in self._located(turned, self._detector.find_faces(turned)):
                points = _turned_back(face.landmarks, picture, turns)
                faces.append(Face(points, face.score - _UPRIGHT_BONUS, face.area))
        if not faces:
            faces = [face for tile in _tiles(picture) for face in self._in_tile(*tile)]
        return FoundFaces(_without_doubles(faces), may_show_face)

    def find_upright(self, picture: Image) -> tuple[Face, ...]:
        """The upright faces alone, the most prominent one first; for one of many pictures."""
        return _without_doubles(self._located(picture, self._detector.find_faces(picture)))

    def _located(self, picture: Image, detected: list[DetectedFace]) -> list[Face]:
        located = [(face, self._mesh.locate(picture, face)) for face in detected[:_MOST_FACES]]
        return [Face(p, face.score, face.area) for face, p in located if p is not None]

    def _in_tile(self, tile: Image, corner: Points) -> list[Face]:
        located = self._located(tile, self._detector.find_faces(tile))
        return [Face(face.landmarks + corner, face.score, face.area) for face in located]


def _without_doubles(faces: list[Face]) -> tuple[Face, ...]:
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.score):
        if not any(face.is_same_as(other) for other in kept):
            kept.append(face)
    return tuple(sorted(kept, key=lambda face: -face.area * face.score))


def _turned_back(points: Points, picture: Image, turns: int) -> Points:
    """Maps points of a picture after `np.rot90` to the picture."""
    for turn in range(turns, 0, -1):
        width = picture.shape[turn % 2]
        points = np.stack([width - 1 - points[:, 1], points[:, 0]], axis=1)
    return points


def _tiles(picture: Image) -> Iterator[tuple[Image, Points]]:
    """Overlapping tiles, and the position of their corners in the picture."""
    overlap = _TILE_PX - _TILE_STEP_PX
    rows, columns = (range(0, max(1, side - overlap), _TILE_STEP_PX) for side in picture.shape[:2])
    for top, left in product(rows, columns):
        tile = picture[top : top + _TILE_PX, left : left + _TILE_PX]
        yield np.ascontiguousarray(tile), np.array([left, top], np.float32)
