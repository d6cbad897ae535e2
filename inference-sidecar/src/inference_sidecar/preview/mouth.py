"""Moves lips and jaw of a portrait and lets the inside of an opening mouth show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from inference_sidecar.preview.head_motion import Head, HeadPose
from inference_sidecar.preview.mouth_geometry import MouthGeometry
from inference_sidecar.preview.mouth_interior import LipEdges, MouthInterior
from inference_sidecar.preview.raster import (
    CoarseGrid,
    Field,
    Image,
    Texture,
    edge_width_px,
    pixel_grid,
    sample_field,
    smooth_step,
)

_WIDEST: Final = 0.092
"""Opening of the widest vowel, in face heights."""
_WIDEST_BOUNDS: Final = (0.42, 0.72)
"""The same in half mouth widths: a turned head foreshortens the mouth, a grin stretches it."""
_UPPER_SHARE: Final = 0.14
"""The upper lip makes this part of an opening, the jaw the rest."""
_UPPER_SHARE_CLOSING: Final = 0.35
_CHIN_SHARE: Final = 0.6
"""How far the chin follows the lower lip."""
_SPREAD: Final = 0.07
_ROUND: Final = 0.15
"""How far the corners move out or in, in half mouth widths."""
_OPEN_NARROWS: Final = 0.07
"""How far the corners come in when the jaw drops."""
_SMILE_OPENS: Final = 0.92
_SMILE_NARROWS: Final = 0.22
_SMILE_SHAPE: Final = 0.6
"""Who speaks smiles less: corners come in with the gap that closes, and shape words less. What
opens as wide as a straight mouth would laugh."""
_REACH_X: Final = 2.7
_REACH_ABOVE: Final = 1.25
_REACH_BELOW_CHIN: Final = 1.15
"""The region that moves at all, in half mouth widths."""
_SOLVER_STEPS: Final = 2
_SOLVER_STEPS_SHUTTING: Final = 4
"""Lips that are shut over a smile move further and more unevenly."""


@dataclass(frozen=True)
class MouthPose:
    """open: 0 closed to 1 widest; spread: -1 rounded to 1 wide."""

    open: float
    spread: float


@dataclass(frozen=True)
class _Motion:
    """A pose in mouth units: how far the lips move from where they touch, and the corners."""

    lower: float
    upper: float
    widen: float


_Shift = Callable[[Field, Field, _Motion], Field]


class Mouth:
    """The mouth of one portrait, ready to be posed again and again.

    The lower face is drawn twice, as it moves with the upper lip and as it moves with the jaw. Both
    agree everywhere but between the corners; there the two are layers with the mouth's inside
    behind them, so that nothing is ever stretched across the opening. Each layer is read straight
    from the portrait, movement of the head included: sampled twice, skin would blur.
    """

    def __init__(
        self, canvas: Image, texture: Texture, geometry: MouthGeometry, head: Head
    ) -> None:
        self._geometry, self._texture = geometry, texture
        height, width = canvas.shape[:2]
        size = (width, height)
        self._widest = float(np.clip(_WIDEST * geometry.face, *_WIDEST_BOUNDS))
        if geometry.rest_gap > 0:
            self._widest *= _SMILE_OPENS
        # Lips that are parted in the portrait are first shut, then opened like all others.
        self._shut_lower = -(1 - _UPPER_SHARE_CLOSING) * geometry.rest_gap
        self._shut_upper = _UPPER_SHARE_CLOSING * geometry.rest_gap
        self._solver_steps = _SOLVER_STEPS_SHUTTING if geometry.rest_gap > 0 else _SOLVER_STEPS
        low = float(geometry.lower_edge.max()) + self._widest + 0.25
        high = float(geometry.upper_edge.min()) - self._widest * _UPPER_SHARE - 0.25
        left, top, right, bottom = geometry.frame.pixels_around(
            (-_REACH_X, -_REACH_ABOVE, _REACH_X, geometry.chin + _REACH_BELOW_CHIN), size
        )
        box_left, box_top, box_right, box_bottom = geometry.frame.pixels_around(
            (-1.35, high, 1.35, low), size
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

    def _prepare_box(self, canvas: Image) -> None:
        """The lips' masks and the mouth's inside, over the box at rest."""
        geometry, grid = self._geometry, self._box_grid
        left, top = grid.columns.start, grid.rows.start
        columns, rows = pixel_grid(grid.width, grid.height)
        x, y = geometry.frame.coordinates(columns + left, rows + top)
        picture = canvas[grid.rows, grid.columns]
        unit = geometry.frame.unit_px
        sharpest = max(1.2, 0.02 * unit)
        # In a blurred picture a mouth with sharp edges looks like a sticker.
        softness = (
            np.clip(0.3 * edge_width_px(picture), sharpest, max(sharpest, 0.09 * unit)) / unit
        )
        upper, lower = geometry.upper_at(x), geometry.lower_at(x)
        self._above = 1 - smooth_step(y - upper, -softness, softness)
        # Where lips touch, the lower one reaches a little under the upper one, so that nothing
        # shines through; where teeth show, it would take a sliver of them along.
        reach = softness * (2.2 * smooth_step(lower - upper, 0.0, 0.06) - 2)
        self._below = smooth_step(y - lower - reach, -softness, softness)
        self._interior = MouthInterior(picture, x, y, geometry)

    def draw(self, canvas: Image, pose: MouthPose, head: HeadPose) -> None:
        """Paints the posed lower face of a moved head into the canvas, in place."""
        motion = self._motion(pose)
        jaw_rest = self._lower_head.rest_position(head)
        jaw_x, jaw_y = self._sources(self._lower_grid, self._jaw_shift, motion, jaw_rest)
        skull_rest = self._upper_head.rest_position(head)
        skull_x, skull_y = self._sources(self._upper_grid, self._skull_shift, motion, skull_rest)
        below = self._texture.at_positions(jaw_x, jaw_y)
        above = self._texture.at_positions(skull_x, skull_y)
        canvas[self._upper_grid.rows, self._upper_grid.columns] = above
        canvas[self._lower_grid.rows, self._lower_grid.columns] = below

        box = self._box_grid
        left, top = np.float32(box.columns.start), np.float32(box.rows.start)
        rest_x, rest_y = (box.spread(field) for field in self._box_head.rest_position(head))
        x, y = self._geometry.frame.coordinates(rest_x, rest_y)
        edges = self._edges(x, motion)
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

    def _motion(self, pose: MouthPose) -> _Motion:
        """How far everything moves for a pose."""
        gap, smile = pose.open * self._widest, self._geometry.rest_gap
        widen = pose.spread * (_SPREAD if pose.spread >= 0 else _ROUND)
        if smile > 0:
            widen *= _SMILE_SHAPE
        widen -= _OPEN_NARROWS * pose.open + _SMILE_NARROWS * smile
        return _Motion((1 - _UPPER_SHARE) * gap, -_UPPER_SHARE * gap, widen)

    def _profiles(self, x: Field) -> tuple[Field, Field]:
        """How opening and shutting fall from 1 at the middle to 0 at the corners."""
        inside = np.clip(1 - x * x, 0, 1) ** np.float32(0.8)
        rest_gap = self._geometry.rest_gap
        if rest_gap == 0:
            return inside, np.zeros_like(x)
        gap = self._geometry.lower_at(x) - self._geometry.upper_at(x)
        return inside, np.where(np.abs(x) < 1, gap / rest_gap, 0).astype(np.float32)

    def _follow(self, x: Field, y: Field) -> Field:
        """How far skin follows the jaw: fully at the chin, not at nose, ears and neck."""
        chin = self._geometry.chin
        down = smooth_step(y, -0.8, 0.85 * chin)
        neck = 1 - smooth_step(y, 1.02 * chin, chin + 0.95 * _REACH_BELOW_CHIN)
        square = (x * np.float32(1 / 1.75)) ** 2
        return np.float32(_CHIN_SHARE) * down * neck * np.exp(-square * square)

    def _jaw_shift(self, x: Field, y: Field, motion: _Motion) -> Field:
        """Downward shift of what hangs on the jaw, at a place of the portrait."""
        geometry = self._geometry
        follow = self._follow(x, y)
        below_edge = np.maximum(y - geometry.lower_at(x), 0)
        fall = 1 - smooth_step(below_edge, geometry.lower_lip + 0.05, 0.95 * geometry.chin)
        opening, shutting = self._profiles(x)
        lips = motion.lower * opening + self._shut_lower * shutting
        return follow * (motion.lower + self._shut_lower) + (1 - follow) * fall * lips

    def _skull_shift(self, x: Field, y: Field, motion: _Motion) -> Field:
        """Downward shift of upper lip and cheeks, at a place of the portrait."""
        geometry = self._geometry
        follow = self._follow(x, y)
        above_edge = np.maximum(geometry.upper_at(x) - y, 0)
        fall = 1 - smooth_step(above_edge, 0.8 * geometry.upper_lip, -0.9 * geometry.nose)
        opening, shutting = (profile * fall for profile in self._profiles(x))
        return (
            follow * (motion.lower * (1 - opening) + self._shut_lower * (1 - shutting))
            + motion.upper * opening
            + self._shut_upper * shutting
        )

    def _sources(
        self, grid: CoarseGrid, shift: _Shift, motion: _Motion, rest: tuple[Field, Field]
    ) -> tuple[Field, Field]:
        """For each pixel of the grid, the position in the texture that is seen there."""
        rest_x, rest_y = rest
        x, y = self._geometry.frame.coordinates(rest_x, rest_y)
        source_x, source_y = x, y
        # The shift is known at the source; a few rounds find the source that lands on this pixel.
        for _ in range(self._solver_steps):
            source_y = y - shift(source_x, source_y, motion)
            source_x = x - motion.widen * _widening(source_x, source_y)
        axes, unit = self._geometry.frame.axes, self._geometry.frame.unit_px
        right, down = (source_x - x) * unit, (source_y - y) * unit
        places = (
            rest_x + right * axes[0, 0] + down * axes[1, 0],
            rest_y + right * axes[0, 1] + down * axes[1, 1],
        )
        across, along = (grid.spread(self._texture.position(place)) for place in places)
        return across, along

    def _edges(self, x: Field, motion: _Motion) -> LipEdges:
        """Where the lips' inner edges are in this pose."""
        geometry = self._geometry
        inner_x = x / np.float32(1 + motion.widen)
        opening, shutting = self._profiles(inner_x)
        jaw = motion.lower * opening + self._shut_lower * shutting
        return LipEdges(
            upper=geometry.upper_at(inner_x) + motion.upper * opening + self._shut_upper * shutting,
            lower=geometry.lower_at(inner_x) + jaw,
            gap=motion.lower - motion.upper,
            jaw=jaw,
        )


def _widening(x: Field, y: Field) -> Field:
    """Outward shift when the corners move by one unit."""
    return x * np.exp(-0.5 * x**2 - 0.5 * (y / 0.75) ** 2 + 0.5)
