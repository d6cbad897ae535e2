"""Moves the lips and the jaw of a portrait and shows the inside of an open mouth."""

from __future__ import annotations

from typing import Final

import numpy as np

from inference_sidecar.engines.preview.head_motion import Head, HeadPose
from inference_sidecar.engines.preview.lip_motion import (
    REACH_BELOW_CHIN,
    LipMotion,
    Motion,
    MouthPose,
    Shift,
)
from inference_sidecar.engines.preview.mouth_geometry import MouthGeometry
from inference_sidecar.engines.preview.mouth_interior import MouthInterior
from inference_sidecar.engines.raster import (
    CoarseGrid,
    Field,
    Image,
    Texture,
    edge_width_px,
    pixel_grid,
    sample_field,
    smooth_step,
)

_REACH_X: Final = 2.7
_REACH_ABOVE: Final = 1.25
"""The region that moves, in half mouth widths."""


class Mouth:
    """The mouth of one portrait, ready to be posed for each frame.

    The lower face is drawn twice: moving with the upper lip, and moving with the jaw. The two agree
    everywhere except between the corners; there they are layers with the mouth's inside behind
    them, so that nothing is stretched across the opening. Each layer is sampled directly from the
    portrait, including the movement of the head, because sampling twice would blur the skin.
    """

    def __init__(
        self, canvas: Image, texture: Texture, geometry: MouthGeometry, head: Head
    ) -> None:
        self._geometry, self._texture = geometry, texture
        self._bounds = head.bounds
        height, width = canvas.shape[:2]
        size = (width, height)
        self._lips = LipMotion(geometry, self._room_beside())
        high, low = self._lips.reach()
        left, top, right, bottom = geometry.frame.pixels_around(
            (-_REACH_X, -_REACH_ABOVE, _REACH_X, geometry.chin + REACH_BELOW_CHIN), size
        )
        box_left, box_top, box_right, box_bottom = geometry.frame.pixels_around(
            (-1.35, high - 0.25, 1.35, low + 0.25), size
        )
        # Above the box only the upper layer shows, below it only the lower one.
        self._upper_grid = CoarseGrid(left, top, right, box_bottom)
        self._lower_grid = CoarseGrid(left, box_top, right, bottom)
        self._box_grid = CoarseGrid(box_left, box_top, box_right, box_bottom)
        columns = slice(box_left - left, box_right - left)
        self._box_in_upper = (slice(box_top - top, box_bottom - top), columns)
        self._box_in_lower = (slice(0, box_bottom - box_top), columns)
        self._upper_head = head.over(self._upper_grid)
        self._lower_head = head.over(self._lower_grid)
        self._box_head = head.over(self._box_grid)
        self._prepare_box(canvas)

    def _room_beside(self) -> float:
        """From the nearer corner to the edge of the portrait, in half mouth widths."""
        ends = np.array([-1, 1], np.float32)
        corners = np.stack(self._geometry.frame.pixels(ends, np.zeros_like(ends)), axis=1)
        first, last = self._bounds
        room = np.minimum(corners - first, last - corners).min()
        return float(room / self._geometry.frame.unit_px)

    def _prepare_box(self, canvas: Image) -> None:
        """The lips' masks and the mouth's inside, over the box at rest."""
        geometry, grid = self._geometry, self._box_grid
        left, top = grid.columns.start, grid.rows.start
        columns, rows = pixel_grid(grid.width, grid.height)
        x, y = geometry.frame.coordinates(columns + left, rows + top)
        picture = canvas[grid.rows, grid.columns]
        unit = geometry.frame.unit_px
        sharpest = max(1.2, 0.02 * unit)
        # A mouth with sharp edges looks pasted onto a blurred picture.
        softness = (
            np.clip(0.3 * edge_width_px(picture), sharpest, max(sharpest, 0.09 * unit)) / unit
        )
        upper, lower = geometry.upper_at(x), geometry.lower_at(x)
        self._above = 1 - smooth_step(y - upper, -softness, softness)
        # Where lips touch, the lower one reaches slightly under the upper one, so that nothing
        # shows through. Where teeth are visible, it would take a sliver of them along.
        reach = softness * (2.2 * smooth_step(lower - upper, 0.0, 0.06) - 2)
        self._below = smooth_step(y - lower - reach, -softness, softness)
        self._interior = MouthInterior(picture, x, y, geometry)

    def draw(self, canvas: Image, pose: MouthPose, head: HeadPose) -> None:
        """Paints the posed lower face of a moved head onto the canvas, in place."""
        motion = self._lips.motion(pose)
        jaw_rest = self._lower_head.rest_position(head)
        jaw_x, jaw_y = self._sources(self._lower_grid, self._lips.jaw_shift, motion, jaw_rest)
        skull_rest = self._upper_head.rest_position(head)
        skull_x, skull_y = self._sources(
            self._upper_grid, self._lips.skull_shift, motion, skull_rest
        )
        below = self._texture.at_positions(jaw_x, jaw_y)
        above = self._texture.at_positions(skull_x, skull_y)
        canvas[self._upper_grid.rows, self._upper_grid.columns] = above
        canvas[self._lower_grid.rows, self._lower_grid.columns] = below

        box = self._box_grid
        left, top = np.float32(box.columns.start), np.float32(box.rows.start)
        rest_x, rest_y = (box.spread(field) for field in self._box_head.rest_position(head))
        x, y = self._geometry.frame.coordinates(rest_x, rest_y)
        edges = self._lips.edges(x, motion)
        mouth = self._interior.draw(x, y, (rest_x - left, rest_y - top), edges)
        for colours, inside, mask, source_x, source_y in (
            (below, self._box_in_lower, self._below, jaw_x, jaw_y),
            (above, self._box_in_upper, self._above, skull_x, skull_y),
        ):
            cover = sample_field(
                mask,
                self._texture.coordinate(source_x[inside]) - left,
                self._texture.coordinate(source_y[inside]) - top,
            )
            mouth += (colours[inside] - mouth) * cover[..., None]
        canvas[box.rows, box.columns] = np.clip(mouth + 0.5, 0, 255)

    def _sources(
        self, grid: CoarseGrid, shift: Shift, motion: Motion, rest: tuple[Field, Field]
    ) -> tuple[Field, Field]:
        """The position in the texture that each pixel of the grid shows."""
        rest_x, rest_y = rest
        x, y = self._geometry.frame.coordinates(rest_x, rest_y)
        source_x, source_y = self._lips.source(x, y, shift, motion)
        axes, unit = self._geometry.frame.axes, self._geometry.frame.unit_px
        right, down = (source_x - x) * unit, (source_y - y) * unit
        shifts = (
            right * axes[0, 0] + down * axes[1, 0],
            right * axes[0, 1] + down * axes[1, 1],
        )
        first, last = self._bounds
        places = (
            at + _kept_inside(at, shift, float(low), float(high))
            for at, shift, low, high in zip(rest, shifts, first, last, strict=True)
        )
        across, along = (grid.spread(self._texture.position(place)) for place in places)
        return across, along


def _kept_inside(at: Field, shift: Field, low: float, high: float) -> Field:
    """Shortens shifts that would lead out of the portrait, where its last pixels would repeat as
    streaks; the skin at the edge stretches instead. Shifts that end well inside stay the same."""
    room = np.maximum(np.where(shift > 0, high - at, at - low), 1e-3)
    square = (shift / room) ** 2
    return np.asarray(shift / np.sqrt(np.sqrt(1 + square * square)), np.float32)
