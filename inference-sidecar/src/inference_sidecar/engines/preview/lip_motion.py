"""The movement of lips, jaw and cheeks in a pose of the mouth. Lengths are in half mouth widths."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from inference_sidecar.engines.preview.mouth_geometry import MouthGeometry
from inference_sidecar.engines.raster import Field, smooth_step

_WIDEST: Final = 0.092
"""Opening of the widest vowel, in face heights."""
_WIDEST_BOUNDS: Final = (0.42, 0.72)
"""The same in half mouth widths, because a turned head foreshortens the mouth and a grin widens
it."""
_UPPER_SHARE: Final = 0.14
"""The upper lip's fraction of an opening; the jaw does the rest."""
_UPPER_SHARE_CLOSING: Final = 0.35
_MOST_STRETCH: Final = 0.3
"""How far the upper lip comes down at most to close, in lengths of the skin that stretches for it;
the jaw does the rest. Skin that stretches further shows as streaks below the nose."""
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
"""A speaking mouth smiles less: the corners come in as the gap closes, and form words less. A smile
that opened as wide as a straight mouth would look like laughing."""
REACH_BELOW_CHIN: Final = 1.15
"""How far down the neck the skin follows the jaw."""
_SOLVER_STEPS: Final = 2
_SOLVER_STEPS_SHUTTING: Final = 4
"""Lips that close over a smile move further and less evenly."""


@dataclass(frozen=True)
class MouthPose:
    """open: 0 closed to 1 widest; spread: -1 rounded to 1 wide."""

    open: float
    spread: float


@dataclass(frozen=True)
class Motion:
    """A pose in mouth units: the movement of the lips from where they touch, and of the corners."""

    lower: float
    upper: float
    widen: float


@dataclass(frozen=True)
class LipEdges:
    """y of the posed lips' inner edges, for each pixel of the box.

    gap: their distance at the middle. jaw: how far the lower one is below its rest position.
    """

    upper: Field
    lower: Field
    gap: float
    jaw: Field


Shift = Callable[[Field, Field, Motion], Field]
"""A downward shift as a function of positions in the portrait."""


class LipMotion:
    """The movement of one mouth. Parted lips are closed first and then opened like any others."""

    def __init__(self, geometry: MouthGeometry, room: float) -> None:
        """room: beside the mouth; corners near the edge of the portrait have no skin to pull in."""
        self._geometry = geometry
        self._give = float(np.clip(room, 0, 1))
        self._widest = float(np.clip(_WIDEST * geometry.face, *_WIDEST_BOUNDS))
        if geometry.rest_gap > 0:
            self._widest *= _SMILE_OPENS
        below_nose = float(geometry.upper_at(np.zeros(1))[0]) - geometry.nose
        # Heights above the lip's edge between which the skin stops following it.
        self._fall = 0.8 * geometry.upper_lip, max(0.9 * below_nose, geometry.upper_lip)
        stretching = self._fall[1] - self._fall[0]
        self._shut_upper = min(_UPPER_SHARE_CLOSING * geometry.rest_gap, _MOST_STRETCH * stretching)
        self._shut_lower = self._shut_upper - geometry.rest_gap
        self._solver_steps = _SOLVER_STEPS_SHUTTING if geometry.rest_gap > 0 else _SOLVER_STEPS

    def reach(self) -> tuple[float, float]:
        """How far up and down the inside of the mouth can become visible."""
        highest = float(self._geometry.upper_edge.min()) - self._widest * _UPPER_SHARE
        return highest, float(self._geometry.lower_edge.max()) + self._widest

    def motion(self, pose: MouthPose) -> Motion:
        """The movement of lips and corners for a pose."""
        gap, smile = pose.open * self._widest, self._geometry.rest_gap
        widen = pose.spread * (_SPREAD if pose.spread >= 0 else _ROUND)
        if smile > 0:
            widen *= _SMILE_SHAPE
        widen -= _OPEN_NARROWS * pose.open + _SMILE_NARROWS * smile
        return Motion((1 - _UPPER_SHARE) * gap, -_UPPER_SHARE * gap, widen * self._give)

    def _profiles(self, x: Field) -> tuple[Field, Field]:
        """How opening and closing fall off from 1 at the middle to 0 at the corners."""
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
        neck = 1 - smooth_step(y, 1.02 * chin, chin + 0.95 * REACH_BELOW_CHIN)
        square = (x * np.float32(1 / 1.75)) ** 2
        return np.float32(_CHIN_SHARE) * down * neck * np.exp(-square * square)

    def jaw_shift(self, x: Field, y: Field, motion: Motion) -> Field:
        """Downward shift of everything attached to the jaw, at a position in the portrait."""
        geometry = self._geometry
        follow = self._follow(x, y)
        below_edge = np.maximum(y - geometry.lower_at(x), 0)
        fall = 1 - smooth_step(below_edge, geometry.lower_lip + 0.05, 0.95 * geometry.chin)
        opening, shutting = self._profiles(x)
        lips = motion.lower * opening + self._shut_lower * shutting
        return follow * (motion.lower + self._shut_lower) + (1 - follow) * fall * lips

    def skull_shift(self, x: Field, y: Field, motion: Motion) -> Field:
        """Downward shift of upper lip and cheeks, at a position in the portrait."""
        geometry = self._geometry
        follow = self._follow(x, y)
        above_edge = np.maximum(geometry.upper_at(x) - y, 0)
        fall = 1 - smooth_step(above_edge, *self._fall)
        opening, shutting = (profile * fall for profile in self._profiles(x))
        return (
            follow * (motion.lower * (1 - opening) + self._shut_lower * (1 - shutting))
            + motion.upper * opening
            + self._shut_upper * shutting
        )

    def source(self, x: Field, y: Field, shift: Shift, motion: Motion) -> tuple[Field, Field]:
        """The positions in the portrait that are visible at these positions of the posed mouth."""
        source_x, source_y = x, y
        # The shift is known at the source; a few iterations find the source that lands here.
        for _ in range(self._solver_steps):
            source_y = y - shift(source_x, source_y, motion)
            source_x = x - motion.widen * _widening(source_x, source_y)
        return source_x, source_y

    def edges(self, x: Field, motion: Motion) -> LipEdges:
        """The lips' inner edges in this pose."""
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
