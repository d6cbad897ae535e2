"""Finds the lips of a portrait, and the line where they meet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from inference_sidecar.engines.faces.face_mesh import CHIN, FOREHEAD
from inference_sidecar.engines.preview.mouth_frame import MouthFrame
from inference_sidecar.engines.preview.parted_lips import (
    find_corners,
    find_edges,
    fit_between_corners,
)
from inference_sidecar.engines.raster import Field, Image, Points, blur

_INNER_CORNERS: Final = (78, 308)
_INNER_UPPER: Final = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
_INNER_LOWER: Final = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
_UPPER_MIDDLE: Final = 0
_LOWER_MIDDLE: Final = 17
_NOSE_BASE: Final = 2
TABLE_STEPS: Final = 201
_TOUCHING_GAP: Final = 0.1
_LEAST_LIP: Final = 0.08
_SEAM_SEARCH: Final = 0.17
_SEAM_ROWS: Final = 35


@dataclass(frozen=True)
class MouthGeometry:
    """The geometry of a mouth; lengths are in units of `frame`.

    upper_edge, lower_edge: y of the lips' inner edges over `table_x`. Equal where lips touch.
    rest_gap: their distance at the middle; if it is large, teeth are visible in the portrait.
    upper_lip, lower_lip: thickness of the lips; nose, chin: y of the nose's base and the chin.
    face: height of the face, from forehead to chin.
    """

    frame: MouthFrame
    table_x: Field
    upper_edge: Field
    lower_edge: Field
    rest_gap: float
    upper_lip: float
    lower_lip: float
    nose: float
    chin: float
    face: float

    def upper_at(self, x: Field) -> Field:
        """y of the upper lip's inner edge."""
        return np.interp(x, self.table_x, self.upper_edge).astype(np.float32)

    def lower_at(self, x: Field) -> Field:
        """y of the lower lip's inner edge."""
        return np.interp(x, self.table_x, self.lower_edge).astype(np.float32)


def measure_mouth(picture: Image, landmarks: Points) -> MouthGeometry:
    """Takes the mouth's geometry from the mesh, and corrects it from the picture."""
    table_x = np.linspace(-1.0, 1.0, TABLE_STEPS, dtype=np.float32)
    middle = TABLE_STEPS // 2
    frame = MouthFrame.between(*landmarks[list(_INNER_CORNERS)])
    upper, lower = _mesh_edges(frame, landmarks, table_x)
    if lower[middle] - upper[middle] < _TOUCHING_GAP:
        # In the mesh, lips that touch cross or part slightly; both edges become the line in
        # between.
        upper = lower = _seam(picture, frame, (upper + lower) / 2, table_x)
    else:
        frame = MouthFrame.between(*find_corners(picture, frame, table_x, upper, lower))
        upper, lower = _mesh_edges(frame, landmarks, table_x)
        upper, lower = find_edges(picture, frame, table_x, upper, lower)
    local = frame.place(landmarks)
    return MouthGeometry(
        frame=frame,
        table_x=table_x,
        upper_edge=upper,
        lower_edge=lower,
        rest_gap=float(lower[middle] - upper[middle]),
        upper_lip=max(float(upper[middle] - local[_UPPER_MIDDLE, 1]), _LEAST_LIP),
        lower_lip=max(float(local[_LOWER_MIDDLE, 1] - lower[middle]), _LEAST_LIP),
        nose=float(local[_NOSE_BASE, 1]),
        chin=float(local[CHIN, 1]),
        face=float(np.hypot(*(local[CHIN] - local[FOREHEAD]))),
    )


def _mesh_edges(frame: MouthFrame, landmarks: Points, table_x: Field) -> tuple[Field, Field]:
    """The lips' inner edges from the mesh, with the upper one never below the lower one."""
    local = frame.place(landmarks)
    upper, lower = (_edge(local, indices, table_x) for indices in (_INNER_UPPER, _INNER_LOWER))
    middle, half_gap = (upper + lower) / 2, np.maximum(lower - upper, 0) / 2
    return middle - half_gap, middle + half_gap


def _edge(local: Points, indices: tuple[int, ...], table_x: Field) -> Field:
    """A smooth curve through the edge's landmarks that ends in both corners at y = 0."""
    points = local[list(indices)]
    x, y = points[:, 0], points[:, 1]
    return fit_between_corners(x, y, table_x, degree=4)


def _seam(picture: Image, frame: MouthFrame, middle: Field, table_x: Field) -> Field:
    """The line between closed lips: the darkest one near the mesh's, which can be off by a lip.

    Splitting beside this line would tear a lip in two when the mouth opens.
    """
    offsets = np.linspace(-_SEAM_SEARCH, _SEAM_SEARCH, _SEAM_ROWS, dtype=np.float32)
    y = middle[None, :] + offsets[:, None]
    strip = frame.sample(picture, np.broadcast_to(table_x, y.shape), y)
    brightness = blur(strip.mean(axis=2, dtype=np.float32) / np.float32(255), 1.5)
    cost = brightness - brightness.min(axis=0) + (offsets[:, None] / _SEAM_SEARCH) ** 2 * 0.06
    weight = np.exp(-cost / 0.03)
    found = (weight * y).sum(axis=0) / weight.sum(axis=0)
    inner = np.abs(table_x) < 0.95
    fit = np.polynomial.Polynomial.fit(table_x[inner], found[inner], 5)
    return np.clip(fit(table_x), middle - _SEAM_SEARCH, middle + _SEAM_SEARCH).astype(np.float32)
