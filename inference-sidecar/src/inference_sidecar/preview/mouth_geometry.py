"""Where a portrait's mouth is, in a frame of reference of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from inference_sidecar.preview.raster import Field, Image, Points, Texture, blur

_INNER_CORNERS: Final = (78, 308)
_INNER_UPPER: Final = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
_INNER_LOWER: Final = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
_UPPER_MIDDLE: Final = 0
_LOWER_MIDDLE: Final = 17
_NOSE_BASE: Final = 2
_CHIN: Final = 152
_TABLE_STEPS: Final = 201
_TOUCHING_GAP: Final = 0.1
_SEAM_SEARCH: Final = 0.17
_SEAM_ROWS: Final = 35


@dataclass(frozen=True)
class MouthGeometry:
    """The mouth frame: origin between the inner corners, x to the picture's right, y to the chin.

    Its unit is half the inner width of the mouth, so the inner corners are at x = -1 and 1.

    centre, unit_px, axes: how the frame lies in the picture; the rows of `axes` are x and y.
    upper_edge, lower_edge: y of the lips' inner edges over `table_x`. Equal where lips touch.
    rest_gap: their distance at the middle; teeth show in the portrait when it is large.
    upper_lip, lower_lip: thickness of the lips; nose, chin: y of the nose's base and the chin.
    """

    centre: Points
    unit_px: float
    axes: Field
    table_x: Field
    upper_edge: Field
    lower_edge: Field
    rest_gap: float
    upper_lip: float
    lower_lip: float
    nose: float
    chin: float

    def coordinates(self, x_px: Field, y_px: Field) -> tuple[Field, Field]:
        """Places pixels in the mouth frame."""
        right, down = x_px - self.centre[0], y_px - self.centre[1]
        x = (right * self.axes[0, 0] + down * self.axes[0, 1]) / self.unit_px
        y = (right * self.axes[1, 0] + down * self.axes[1, 1]) / self.unit_px
        return x.astype(np.float32), y.astype(np.float32)

    def pixels_around(
        self, box: tuple[float, float, float, float], limit: tuple[int, int]
    ) -> tuple[int, int, int, int]:
        """The pixels (left, top, right, bottom) that cover a box of this frame, within limits."""
        corners = np.array([(x, y) for x in (box[0], box[2]) for y in (box[1], box[3])])
        pixels = self.centre + corners @ self.axes * self.unit_px
        left, top = np.floor(pixels.min(axis=0)).astype(int)
        right, bottom = np.ceil(pixels.max(axis=0)).astype(int)
        return max(left, 0), max(top, 0), min(right, limit[0]), min(bottom, limit[1])

    def upper_at(self, x: Field) -> Field:
        """y of the upper lip's inner edge."""
        return np.interp(x, self.table_x, self.upper_edge).astype(np.float32)

    def lower_at(self, x: Field) -> Field:
        """y of the lower lip's inner edge."""
        return np.interp(x, self.table_x, self.lower_edge).astype(np.float32)


def measure_mouth(picture: Image, landmarks: Points) -> MouthGeometry:
    """Reads the mouth's geometry off the mesh, and the line between closed lips off the picture."""
    left, right = landmarks[_INNER_CORNERS[0]], landmarks[_INNER_CORNERS[1]]
    across = right - left
    width = float(np.hypot(*across))
    x_axis = across / width
    axes = np.array([x_axis, [-x_axis[1], x_axis[0]]], np.float32)
    centre, unit = (left + right) / 2, width / 2
    local = ((landmarks - centre) @ axes.T / unit).astype(np.float32)
    table_x = np.linspace(-1.0, 1.0, _TABLE_STEPS, dtype=np.float32)
    upper, lower = _edge(local, _INNER_UPPER, table_x), _edge(local, _INNER_LOWER, table_x)
    gap = np.maximum(lower - upper, 0)
    middle = (upper + lower) / 2
    if gap[_TABLE_STEPS // 2] < _TOUCHING_GAP:
        # The mesh lets lips that touch cross or part by a hair; both edges are the line between.
        gap[:] = 0
        middle = _seam(picture, centre, axes * unit, middle, table_x)
    return MouthGeometry(
        centre=centre.astype(np.float32),
        unit_px=unit,
        axes=axes,
        table_x=table_x,
        upper_edge=(middle - gap / 2).astype(np.float32),
        lower_edge=(middle + gap / 2).astype(np.float32),
        rest_gap=float(gap[_TABLE_STEPS // 2]),
        upper_lip=float(upper[_TABLE_STEPS // 2] - local[_UPPER_MIDDLE, 1]),
        lower_lip=float(local[_LOWER_MIDDLE, 1] - lower[_TABLE_STEPS // 2]),
        nose=float(local[_NOSE_BASE, 1]),
        chin=float(local[_CHIN, 1]),
    )


def _edge(local: Points, indices: tuple[int, ...], table_x: Field) -> Field:
    """A smooth curve through the edge's landmarks that ends in both corners at y = 0."""
    points = local[list(indices)]
    order = np.argsort(points[:, 0])
    x, y = points[order, 0], points[order, 1]
    # Times (1 - x²) keeps the ends in place whatever the coefficients are.
    basis = np.stack([(1 - x * x) * x**power for power in range(5)], axis=1)
    coefficients = np.linalg.lstsq(basis, y, rcond=None)[0]
    powers = np.stack([(1 - table_x**2) * table_x**power for power in range(5)], axis=1)
    return (powers @ coefficients).astype(np.float32)


def _seam(picture: Image, centre: Points, frame_px: Field, middle: Field, table_x: Field) -> Field:
    """The line between closed lips: the darkest one near the mesh's, which can be off by a lip.

    A split beside the seam would tear one lip in two when the mouth opens.
    """
    offsets = np.linspace(-_SEAM_SEARCH, _SEAM_SEARCH, _SEAM_ROWS, dtype=np.float32)
    y = middle[None, :] + offsets[:, None]
    x = np.broadcast_to(table_x, y.shape)
    source_x = centre[0] + x * frame_px[0, 0] + y * frame_px[1, 0]
    source_y = centre[1] + x * frame_px[0, 1] + y * frame_px[1, 1]
    strip = Texture(picture).at(source_x.astype(np.float32), source_y.astype(np.float32))
    brightness = blur(strip.mean(axis=2, dtype=np.float32) / np.float32(255), 1.5)
    cost = brightness - brightness.min(axis=0) + (offsets[:, None] / _SEAM_SEARCH) ** 2 * 0.06
    weight = np.exp(-cost / 0.03)
    found = (weight * y).sum(axis=0) / weight.sum(axis=0)
    inner = np.abs(table_x) < 0.95
    fit = np.polynomial.Polynomial.fit(table_x[inner], found[inner], 5)
    return np.clip(fit(table_x), middle - _SEAM_SEARCH, middle + _SEAM_SEARCH).astype(np.float32)
