"""Sways and nods the head slightly, as speaking people do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from inference_sidecar.engines.engine import FPS
from inference_sidecar.engines.faces.face_mesh import CHIN, FOREHEAD
from inference_sidecar.engines.preview.framing import Framing
from inference_sidecar.engines.preview.silhouette import Silhouette
from inference_sidecar.engines.preview.voice import Track
from inference_sidecar.engines.raster import CoarseGrid, Field, Points, smooth_step

_SIDES: Final = (234, 454)
_SWAY: Final = 0.009
_BOB: Final = 0.005
_NOD: Final = 0.022
"""The largest movements across and down, and the nod with the voice, in face heights."""
_TILT_RADIANS: Final = 0.011
_PERIODS_SECONDS: Final = (3.1, 5.3, 8.7)
_STILL_SHARE: Final = 0.35
"""The fraction of the sway that remains in pauses."""
_EASE_SECONDS: Final = 1.0
_DEPTH: Final = 0.35
"""How much further the nose moves than the outline of the head, because it is closer."""
_EDGE_PX: Final = 32.0


@dataclass(frozen=True)
class HeadPose:
    """Movement of the head in face heights, and its tilt in radians (clockwise in the picture)."""

    across: float
    down: float
    tilt: float


def plan_head(emphasis: Track, seed: int) -> list[HeadPose]:
    """The pose of every frame, from the seed and the voice's emphasis. Starts at rest."""
    frames = len(emphasis)
    seconds = np.arange(frames) / FPS
    random = np.random.default_rng([seed, 1])
    across, down, tilt = (_wander(seconds, random) for _ in range(3))
    alive = smooth_step((seconds / _EASE_SECONDS).astype(np.float32), 0, 1)
    strength = alive * (_STILL_SHARE + (1 - _STILL_SHARE) * np.clip(emphasis * 2, 0, 1))
    nod = alive * (emphasis - emphasis.mean() * alive)
    return [
        HeadPose(float(a), float(d), float(t))
        for a, d, t in zip(
            _SWAY * across * strength,
            _BOB * down * strength + _NOD * nod,
            _TILT_RADIANS * tilt * strength,
            strict=True,
        )
    ]


def _wander(seconds: Field, random: np.random.Generator) -> Field:
    """A slow curve between -1 and 1 without visible repetition."""
    curve = np.zeros_like(seconds)
    for period in _PERIODS_SECONDS:
        pace = period * random.uniform(0.85, 1.15)
        curve += np.sin(2 * np.pi * (seconds / pace + random.uniform())) / len(_PERIODS_SECONDS)
    return curve


class Head:
    """The position of a portrait's head, and how far each position around it follows its movement.

    Head and hat move as one; around them and down the neck the movement fades out. Nothing is cut
    out, so there is no edge with a ghost, and no hole to fill behind it.
    """

    def __init__(self, framing: Framing, in_portrait: Points) -> None:
        """in_portrait: the mesh, in pixels of the portrait."""
        landmarks = framing.place(in_portrait)
        chin, forehead = landmarks[CHIN], landmarks[FOREHEAD]
        up = forehead - chin
        self._size = float(np.hypot(*up))
        self._down = -up / self._size
        self._centre = (chin + forehead) / 2
        left, right = landmarks[_SIDES[0]], landmarks[_SIDES[1]]
        self._half_width = float(np.hypot(*(right - left))) / 2
        self._pivot = chin + self._down * 0.35 * self._size
        self._framing = framing
        # Searched in the portrait itself, so that the background does not depend on the framing.
        self._silhouette = Silhouette(framing.portrait, in_portrait)
        height, width = framing.canvas.shape[:2]
        self._canvas = (width, height)
        self.bounds = framing.bounds()

    def region(self) -> tuple[int, int, int, int]:
        """The rectangle (left, top, right, bottom) of pixels that can move."""
        reach_x, up, down = 2.3 * self._half_width, 1.6 * self._size, 1.1 * self._size
        left, right = self._centre[0] - reach_x, self._centre[0] + reach_x
        top, bottom = self._centre[1] - up, self._centre[1] + down
        width, height = self._canvas
        return (
            max(0, int(left)),
            max(0, int(top)),
            min(width, int(right) + 1),
            min(height, int(bottom) + 1),
        )

    def over(self, grid: CoarseGrid) -> HeadGrid:
        """Precomputes `HeadGrid` for these positions."""
        x, y = grid.x, grid.y
        right, down = x - self._centre[0], y - self._centre[1]
        across = (right * self._down[1] - down * self._down[0]) / self._half_width
        along = (right * self._down[0] + down * self._down[1]) / (self._size / 2)
        near = self._silhouette.nearness(*self._framing.in_portrait(x, y))
        follow = self._follow(across, along) * near * self._inside(x, y)
        depth = 1 + _DEPTH * (np.exp(-(across**2 + along**2) / 0.9) - 0.5)
        return HeadGrid(
            x=x,
            y=y,
            shift=np.asarray(follow * depth * self._size, np.float32),
            turn_x=np.asarray(follow * (y - self._pivot[1]), np.float32),
            turn_y=np.asarray(follow * (x - self._pivot[0]), np.float32),
        )

    @staticmethod
    def _follow(across: Field, along: Field) -> Field:
        """1 on the head, 0 far from it; `across` and `along` are in half faces from its centre."""
        sides = 1 - smooth_step(np.abs(across), 1.3, 2.25)
        above = 1 - smooth_step(-along, 2.1, 3.15)
        neck = 1 - smooth_step(along, 0.85, 2.1)
        return sides * above * neck

    def _inside(self, x: Field, y: Field) -> Field:
        """0 at the portrait's edges, because nothing beyond them can move in."""
        (left, top), (right, bottom) = self.bounds
        nearest = np.minimum(np.minimum(x - left, right - x), np.minimum(y - top, bottom - y))
        return smooth_step(nearest, 0.0, _EDGE_PX)


@dataclass(frozen=True)
class HeadGrid:
    """Positions on a canvas, and how far each follows the head's shift and tilt."""

    x: Field
    y: Field
    shift: Field
    turn_x: Field
    turn_y: Field

    def rest_position(self, pose: HeadPose) -> tuple[Field, Field]:
        """The positions in the portrait that the moved head shows at these positions."""
        tilt = np.float32(pose.tilt)
        return (
            self.x - self.shift * np.float32(pose.across) + self.turn_x * tilt,
            self.y - self.shift * np.float32(pose.down) - self.turn_y * tilt,
        )
