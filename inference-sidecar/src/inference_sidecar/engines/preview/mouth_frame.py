"""A frame of reference for a portrait's mouth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from inference_sidecar.engines.raster import Field, Image, Points, Texture


@dataclass(frozen=True)
class MouthFrame:
    """Origin between the inner corners, x to the picture's right, y to the chin.

    Its unit is half the inner width of the mouth, so the inner corners are at x = -1 and 1.

    centre, unit_px, axes: the frame in pixels of the picture; the rows of `axes` are x and y.
    """

    centre: Points
    unit_px: float
    axes: Field

    @classmethod
    def between(cls, left: Points, right: Points) -> Self:
        """The frame with these corners, in pixels of the picture."""
        across = right - left
        width = float(np.hypot(*across))
        x_axis = across / width
        axes = np.array([x_axis, [-x_axis[1], x_axis[0]]], np.float32)
        return cls(((left + right) / 2).astype(np.float32), width / 2, axes)

    def coordinates(self, x_px: Field, y_px: Field) -> tuple[Field, Field]:
        """Converts pixels to the frame."""
        right, down = x_px - self.centre[0], y_px - self.centre[1]
        x = (right * self.axes[0, 0] + down * self.axes[0, 1]) / self.unit_px
        y = (right * self.axes[1, 0] + down * self.axes[1, 1]) / self.unit_px
        return x.astype(np.float32), y.astype(np.float32)

    def place(self, points: Points) -> Points:
        """Converts points `[N, 2]` to the frame."""
        return ((points - self.centre) @ self.axes.T / self.unit_px).astype(np.float32)

    def pixels(self, x: Field, y: Field) -> tuple[Field, Field]:
        """Converts positions in the frame to pixels."""
        across, down = x * self.unit_px, y * self.unit_px
        return (
            (self.centre[0] + across * self.axes[0, 0] + down * self.axes[1, 0]).astype(np.float32),
            (self.centre[1] + across * self.axes[0, 1] + down * self.axes[1, 1]).astype(np.float32),
        )

    def sample(self, picture: Image, x: Field, y: Field) -> Image:
        """The colours of the picture at positions in the frame."""
        return Texture(picture).at(*self.pixels(x, y))

    def pixels_around(
        self, box: tuple[float, float, float, float], limit: tuple[int, int]
    ) -> tuple[int, int, int, int]:
        """The pixels (left, top, right, bottom) that cover a box of this frame, within limits."""
        corners = np.array([(x, y) for x in (box[0], box[2]) for y in (box[1], box[3])])
        pixels = self.centre + corners @ self.axes * self.unit_px
        left, top = np.floor(pixels.min(axis=0)).astype(int)
        right, bottom = np.ceil(pixels.max(axis=0)).astype(int)
        return max(left, 0), max(top, 0), min(right, limit[0]), min(bottom, limit[1])
