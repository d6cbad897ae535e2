"""Closes the eyes of a portrait for a blink."""

from __future__ import annotations

from typing import Final

import numpy as np

from inference_sidecar.engines.preview.head_motion import Head, HeadPose
from inference_sidecar.engines.preview.parted_lips import fit_between_corners
from inference_sidecar.engines.raster import (
    CoarseGrid,
    Field,
    Image,
    Points,
    Texture,
    blur,
    pixel_grid,
    sample_field,
    smooth_step,
)

_LEFT: Final = (
    (33, 246, 161, 160, 159, 158, 157, 173, 133),
    (33, 7, 163, 144, 145, 153, 154, 155, 133),
)
_RIGHT: Final = (
    (362, 398, 384, 385, 386, 387, 388, 466, 263),
    (362, 382, 381, 380, 374, 373, 390, 249, 263),
)
"""Landmarks of the upper and lower lid of each eye, from left to right in the picture."""
_LID_MEETS: Final = 1.14
"""A closed upper lid covers the edge of the lower lid, which the mesh places slightly too high."""
_LASHES: Final = 0.42
_SKIN: Final = 0.9
"""In eye heights above the open lid: the reach of the lashes, and the end of the lid's skin."""
_FOLDS: Final = (0.45, 0.75)
_RIM_DARKNESS: Final = 0.55
"""The lid folds as high as the lashes reach, or lower if a rim of glasses is there."""
_LID_COLUMNS: Final = (-0.8, -0.4, 0.0, 0.4, 0.8)
_LEAST_OPENING: Final = 0.12
"""An eye that is open less than this, in half widths, is closed or half hidden and stays
unchanged. So does one whose middle the edge of the picture cuts off."""
_REACH: Final = 1.5
_TABLE_STEPS: Final = 101


class Eyelids:
    """Both eyes of one portrait."""

    def __init__(self, canvas: Image, texture: Texture, landmarks: Points, head: Head) -> None:
        eyes = (_Eye(canvas, texture, landmarks, head, *lids) for lids in (_LEFT, _RIGHT))
        self._eyes = [eye for eye in eyes if eye.is_open]

    def draw(self, canvas: Image, closed: float, head: HeadPose) -> None:
        """Paints the eyes of a moved head onto the canvas. closed: 0 open to 1 closed."""
        if closed > 0:
            for eye in self._eyes:
                eye.draw(canvas, closed, head)


class _Eye:
    """One eye, in a frame of reference with its origin between the corners and y downwards.

    x is in half widths of the eye, y in pixels.
    """

    def __init__(
        self,
        canvas: Image,
        texture: Texture,
        landmarks: Points,
        head: Head,
        upper: tuple[int, ...],
        lower: tuple[int, ...],
    ) -> None:
        self._texture = texture
        corners = landmarks[[upper[0], upper[-1]]]
        half = (corners[1] - corners[0]) / 2
        self._unit = float(np.hypot(*half))
        self._axes = np.array([half, [-half[1], half[0]]], np.float32) / np.float32(self._unit)
        self._centre = corners.mean(axis=0)
        local = (landmarks - self._centre) @ self._axes.T
        self._upper = self._lid(local, upper)
        self._lower = self._lid(local, lower)
        self._height = float((self._lower - self._upper).max())
        height, width = canvas.shape[:2]
        is_inside = bool(np.all((self._centre >= 0) & (self._centre < (width, height))))
        self.is_open = is_inside and self._height > _LEAST_OPENING * self._unit
        if not self.is_open:
            return
        reach = self._unit * _REACH
        left, top = np.maximum(np.floor(self._centre - reach), 0).astype(int)
        right, bottom = np.minimum(np.ceil(self._centre + reach), (width, height)).astype(int)
        self._grid = CoarseGrid(int(left), int(top), int(right), int(bottom))
        self._head = head.over(self._grid)
        self._skin = self._lid_skin(canvas)

    def draw(self, canvas: Image, closed: float, head: HeadPose) -> None:
        """Lowers the lashes and covers the area above them with the skin of the lid."""
        grid, height = self._grid, self._height
        rest_x, rest_y = (grid.spread(field) for field in self._head.rest_position(head))
        x, y = self._coordinates(rest_x, rest_y)
        upper = np.interp(x, *self._table(self._upper)).astype(np.float32)
        lower = np.interp(x, *self._table(self._lower)).astype(np.float32)
        drop = np.float32(closed * _LID_MEETS) * np.maximum(lower - upper, 0)
        edge = upper + drop
        lashes = self._texture.at(
            rest_x - drop * self._axes[1, 0], rest_y - drop * self._axes[1, 1]
        )
        left, top = np.float32(grid.columns.start), np.float32(grid.rows.start)
        skin = sample_field(self._skin, rest_x - left, rest_y - top)
        # Skin from the fold down to the lashes, then the lashes unchanged.
        strip = smooth_step(y - edge, -_LASHES * height, -0.35 * _LASHES * height)
        lid = skin + (lashes - skin) * strip[..., None]
        fold = smooth_step(y - upper, -self._fold * height, 0.25 * height - self._fold * height)
        cover = fold * smooth_step(edge - y, -1.5, 0.5) * smooth_step(drop, 0.0, 0.2 * height)
        view = canvas[grid.rows, grid.columns]
        view[:] = np.clip(view + (lid - view) * cover[..., None] + 0.5, 0, 255)

    def _coordinates(self, x_px: Field, y_px: Field) -> tuple[Field, Field]:
        """Converts pixels to the eye's frame."""
        right, down = x_px - self._centre[0], y_px - self._centre[1]
        x = (right * self._axes[0, 0] + down * self._axes[0, 1]) / np.float32(self._unit)
        return x, right * self._axes[1, 0] + down * self._axes[1, 1]

    def _lid_skin(self, canvas: Image) -> Field:
        """The closed lid at rest, `[H, W, 3]`: colour from above the eye, grain from below it."""
        grid = self._grid
        columns, rows = pixel_grid(grid.width, grid.height)
        pixel_x, pixel_y = columns + grid.columns.start, rows + grid.rows.start
        x, y = self._coordinates(pixel_x, pixel_y)
        upper = np.interp(x, *self._table(self._upper))
        lower = np.interp(x, *self._table(self._lower))
        picture = canvas[grid.rows, grid.columns].astype(np.float32)
        above = (upper - y) / self._height
        below = (y - lower) / self._height
        colours = np.array(
            [
                (_skin_colour(picture, x, above, at) + _skin_colour(picture, x, below, at)) / 2
                for at in _LID_COLUMNS
            ]
        )
        self._fold = _FOLDS[0] if _has_rim(picture, x, above) else _FOLDS[1]
        skin = np.stack([np.interp(x, _LID_COLUMNS, colours[:, c]) for c in range(3)], axis=-1)
        # The lid covers a ball: its middle is lit, its ends are not.
        skin *= (1 - 0.12 * np.clip(np.abs(x), 0, 1) ** 2)[..., None]
        mirrored = 2 * (lower - y) + 0.25 * self._height
        under = self._texture.at(
            (pixel_x + mirrored * self._axes[1, 0]).astype(np.float32),
            (pixel_y + mirrored * self._axes[1, 1]).astype(np.float32),
        ).astype(np.float32)
        grain = under - blur(under, 0.12 * self._unit)
        return (skin + np.clip(0.5 * grain, -14, 14)).astype(np.float32)

    def _lid(self, local: Points, indices: tuple[int, ...]) -> Field:
        """y of a lid's edge over x from -1 to 1: a smooth curve that ends in both corners."""
        points = local[list(indices)]
        table = np.linspace(-1, 1, _TABLE_STEPS)
        return fit_between_corners(points[:, 0] / self._unit, points[:, 1], table, degree=2)

    @staticmethod
    def _table(edge: Field) -> tuple[Field, Field]:
        """x and y of an edge, for `np.interp`."""
        return np.linspace(-1, 1, _TABLE_STEPS, dtype=np.float32), edge


def _has_rim(picture: Field, x: Field, above: Field) -> bool:
    """Whether glasses or hair cross the skin above the eye."""
    brightness = picture.mean(axis=2)
    inner = np.abs(x) < 0.55
    heights = np.arange(0.55, 1.1, 0.1)
    rows = [brightness[inner & (above >= h) & (above < h + 0.1)] for h in heights]
    medians = [float(np.median(row)) for row in rows if row.size]
    return bool(medians) and min(medians) < _RIM_DARKNESS * max(medians)


def _skin_colour(picture: Field, x: Field, away: Field, at: float) -> Field:
    """The colour of the brighter skin near a position of the eye; `away` is in eye heights.

    The median would include lashes, make-up and the shadow of the fold, the brightest pixels would
    be highlights.
    """
    near = (np.abs(x - at) < 0.3) & (away > 0.6 * _LASHES) & (away < _SKIN)
    pixels = picture[near] if near.any() else picture.reshape(-1, 3)
    brightness = pixels.sum(axis=1)
    low, high = np.percentile(brightness, [65, 92])
    chosen = pixels[(brightness >= low) & (brightness <= high)]
    return np.median(chosen if len(chosen) else pixels, axis=0).astype(np.float32)
