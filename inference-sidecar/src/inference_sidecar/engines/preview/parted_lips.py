"""Finds the edge between parted lips and the inside of the mouth in the picture.

The mesh can be off by a tooth. Lips that move along a wrong line take a sliver of teeth along: the
mouth never closes, and opens with a double rim.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from inference_sidecar.engines.preview.mouth_frame import MouthFrame
from inference_sidecar.engines.raster import (
    Field,
    Image,
    Mask,
    Points,
    blur_image,
    lab_colours,
)

_STEP: Final = 0.02
"""Of the search, in half mouth widths, for columns and rows."""
_SEARCH_UPPER: Final = (-0.14, 0.04)
_SEARCH_LOWER: Final = (-0.28, 0.2)
"""Search range around the mesh's edges. It is small below the upper one, where gums look like
lips."""
_SEARCH_CORNERS: Final = 1.45
"""The mesh's corner of a wide open mouth can be off by a quarter of the mouth's half width."""
_BAND: Final = 4
"""Steps on both sides of an edge that are compared."""
_PRIOR: Final = 0.35
"""The penalty of an edge at the end of the search range."""
_BEND: Final = 0.05
_KERNEL: Final = 7.0
"""The CIELAB distance at which colours belong to different things."""
_CERTAIN: Final = 3.0
_SAMPLES: Final = 400
_BRIGHTER: Final = 24.0
"""In CIELAB lightness. Less would include the shine of lips and fair skin."""
_SAFETY: Final = 0.02
"""Prefers losing a little of a lip to keeping some of a tooth."""


class _Strip:
    """The mouth in its frame: how much each position looks like lip rather than like the inside."""

    def __init__(
        self, picture: Image, frame: MouthFrame, table_x: Field, upper: Field, lower: Field
    ) -> None:
        self.x = np.arange(-_SEARCH_CORNERS, _SEARCH_CORNERS + _STEP / 2, _STEP, dtype=np.float32)
        low, high = float(upper.min()) - 0.5, float(lower.max()) + 0.5
        self.y = np.arange(low, high, _STEP, dtype=np.float32)
        self.upper, self.lower = (np.interp(self.x, table_x, edge) for edge in (upper, lower))
        x, y = np.meshgrid(self.x, self.y)
        colours = lab_colours(frame.sample(blur_image(picture, 0.01 * frame.unit_px), x, y))
        gap = self.lower - self.upper
        inside = (y > self.upper + 0.3 * gap) & (y < self.lower - 0.3 * gap) & (gap > 0.1)
        outside = (np.abs(y - self.upper + 0.14) < 0.06) | (np.abs(y - self.lower - 0.18) < 0.1)
        outside &= np.abs(x) < 0.8
        teeth = _look_like_teeth(colours)
        outside &= ~teeth
        likeness = _likeness(colours, outside) - _likeness(colours, inside)
        likeness[teeth] = -_CERTAIN
        self.lip = np.clip(likeness, -_CERTAIN, _CERTAIN).astype(np.float32)


def find_corners(
    picture: Image, frame: MouthFrame, table_x: Field, upper: Field, lower: Field
) -> Points:
    """Left and right corner in pixels: where the inside of the mouth ends, or the mesh's corner."""
    strip = _Strip(picture, frame, table_x, upper, lower)
    rows = np.flatnonzero(np.abs(strip.y) < 0.1)
    is_inside = (strip.lip[rows] < 0).sum(axis=0) >= 2
    found: list[tuple[float, float]] = []
    for side in (-1, 1):
        column = int(np.argmin(np.abs(strip.x - side * 0.94)))
        while 0 < column + side < len(strip.x) - 1 and is_inside[column + side]:
            column += side
        if column in (1, len(strip.x) - 2) or abs(strip.x[column]) <= 1:
            # A mouth does not end this early or this late: the picture is inconclusive.
            found.append((float(side), 0.0))
        else:
            weight = np.maximum(-strip.lip[rows, column], 0)
            found.append((float(strip.x[column]), float(np.average(strip.y[rows], weights=weight))))
    x, y = np.array(found, np.float32).T
    return np.stack(frame.pixels(x, y), axis=1)


def find_edges(
    picture: Image, frame: MouthFrame, table_x: Field, upper: Field, lower: Field
) -> tuple[Field, Field]:
    """Corrects the mesh's inner edges (y over `table_x`) from the picture."""
    strip = _Strip(picture, frame, table_x, upper, lower)
    between = np.abs(strip.x) <= 1
    x = strip.x[between]
    edges: list[Field] = []
    for mesh, side, search in ((upper, 1, _SEARCH_UPPER), (lower, -1, _SEARCH_LOWER)):
        near = np.interp(x, table_x, mesh)
        line = _path(side * strip.lip[:, between], strip.y, near, search)
        safety = side * _SAFETY * np.minimum(1, (1 - np.abs(table_x)) / 0.15)
        edges.append(fit_between_corners(x, line, table_x, degree=6) - safety)
    middle, half_gap = (edges[0] + edges[1]) / 2, np.maximum(edges[1] - edges[0], 0) / 2
    return middle - half_gap, middle + half_gap


def fit_between_corners(x: Field, y: Field, table_x: Field, degree: int) -> Field:
    """A smooth curve through points that ends in both corners at y = 0."""
    # The factor (1 - x²) fixes the ends, whatever the coefficients are.
    basis = np.stack([(1 - x * x) * x**power for power in range(degree + 1)], axis=1)
    coefficients = np.linalg.lstsq(basis, y, rcond=None)[0]
    powers = [(1 - table_x**2) * table_x**power for power in range(degree + 1)]
    return (np.stack(powers, axis=1) @ coefficients).astype(np.float32)


def _look_like_teeth(colours: Field) -> Mask:
    """Pixels that are brighter than the skin and have less than half of its colour. The mesh may
    have its edge above the lower teeth, which then would pass for a lip."""
    chroma = np.hypot(colours[..., 1], colours[..., 2])
    bright = colours[..., 0] > np.median(colours[..., 0]) + _BRIGHTER
    return np.asarray(bright & (chroma < np.median(chroma) / 2), np.bool_)


def _likeness(colours: Field, where: Mask) -> Field:
    """The logarithm of how frequent each colour is in a region of the strip."""
    samples = np.asarray(colours[where], np.float32)
    samples = samples[:: max(1, len(samples) // _SAMPLES)]
    flat = colours.reshape(-1, 3)
    square = (flat**2).sum(axis=1)[:, None] - 2 * flat @ samples.T + (samples**2).sum(axis=1)
    density = np.exp(np.maximum(square, 0) / (-2 * _KERNEL**2)).sum(axis=1) / max(len(samples), 1)
    return np.log(density + 1e-4).reshape(colours.shape[:2])


def _path(above: Field, rows: Field, mesh: Field, search: tuple[float, float]) -> Field:
    """The line from left to right along which `above` falls most from high to low."""
    padded = np.pad(above, ((_BAND, _BAND), (0, 0)), mode="edge")
    sums = np.cumsum(np.pad(padded, ((1, 0), (0, 0))), axis=0)
    count, columns = above.shape
    over = sums[_BAND : _BAND + count] - sums[:count]
    under = sums[2 * _BAND : 2 * _BAND + count] - sums[_BAND : _BAND + count]
    gain = (over - under) / _BAND
    away = rows[:, None] - mesh
    allowed = (away >= search[0]) & (away <= search[1])
    gain = np.where(allowed, gain - _PRIOR * (away / search[1]) ** 2, -1e3)
    total = gain[:, 0].copy()
    came_from = np.zeros((count, columns), np.intp)
    places = np.arange(count, dtype=np.intp)
    moves = np.arange(-2, 3, dtype=np.intp)
    for column in range(1, columns):
        before = np.clip(places[:, None] + moves, 0, count - 1)
        reached = total[before] - _BEND * moves**2
        best = reached.argmax(axis=1)
        came_from[:, column] = before[places, best]
        total = reached[places, best] + gain[:, column]
    line = np.empty(columns, np.intp)
    line[-1] = total.argmax()
    for column in range(columns - 1, 0, -1):
        line[column - 1] = came_from[line[column], column]
    return rows[line]
