"""Paints the inside of the mouth: teeth, tongue and cavity."""

from __future__ import annotations

from typing import Final

import numpy as np

from inference_sidecar.engines.preview.lip_motion import LipEdges
from inference_sidecar.engines.preview.mouth_geometry import MouthGeometry
from inference_sidecar.engines.preview.teeth import find_teeth
from inference_sidecar.engines.raster import Field, Image, sample_field, smooth_step

_DEEP: Final = np.array([18.0, 7.0, 7.0], np.float32)
_CAVITY: Final = np.array([58.0, 24.0, 21.0], np.float32)
_TONGUE: Final = np.array([158.0, 82.0, 74.0], np.float32)
_SHADE_TINT: Final = np.array([0.86, 1.06, 1.16], np.float32)
_LEAST_TINT: Final = 0.12
"""If the channels of the skin differ by less than this, relative to their mean, the picture is
faded."""
_FULL_LIGHT: Final = 180.0
"""Brightness of well-lit fair skin; teeth and tongue are lit like the skin around them."""


class MouthInterior:
    """The inside of one mouth. Upper teeth stay with the head, lower teeth move with the jaw."""

    def __init__(self, picture: Image, x: Field, y: Field, geometry: MouthGeometry) -> None:
        """picture: the portrait under the box; x, y: the box's pixels in the mouth frame."""
        self._light, tint = _light_of(picture), _tint_of(picture)
        self._colourfulness = float(np.clip(np.ptp(tint) / _LEAST_TINT, 0, 1))
        self._teeth = find_teeth(picture, x, y, geometry, self._light, tint)
        self._down_px = geometry.frame.axes[1] * geometry.frame.unit_px

    def draw(self, x: Field, y: Field, rest_px: tuple[Field, Field], edges: LipEdges) -> Field:
        """The inside as floats `[H, W, 3]`; the lips go over it.

        x, y: the pixels in the mouth frame, without the movement of the head; rest_px: the same in
        pixels of the box.
        """
        below_upper, above_lower = y - edges.upper, edges.lower - y
        inward = np.clip(1 - np.abs(x), 0, 1)
        shade = _lip_shadow(below_upper, above_lower, inward)
        inside = self._flesh(below_upper, above_lower, inward, edges.gap) * shade[..., None]
        inside = self._faded(inside)
        # Hardly any light reaches teeth in a narrow gap; a bright line there looks painted. The
        # light that does has passed lips and gums, so shade in a mouth is red, never grey.
        reached = float(smooth_step(np.array(edges.gap), 0.05, 0.4))
        dimmed = (0.9 + 0.1 * reached) * shade[..., None] ** (np.float32(0.25) * _SHADE_TINT)
        if self._teeth.lower is not None:
            down_x, down_y = (edges.jaw * np.float32(axis) for axis in self._down_px)
            lower = sample_field(self._teeth.lower, rest_px[0] - down_x, rest_px[1] - down_y)
            inside = _over(inside, lower, dimmed)
        # The lower teeth close behind the upper ones.
        teeth = sample_field(self._teeth.upper, *rest_px)
        if self._teeth.are_own:
            inside = _over(inside, teeth, dimmed)
        else:
            lit = shade * (0.4 + 0.6 * reached)
            teeth[..., :3] = self._faded(teeth[..., :3] * lit[..., None] ** _SHADE_TINT)
            inside = _over(inside, teeth, 1.0, 0.3 + 0.7 * reached)
        return inside

    def _faded(self, colours: Field) -> Field:
        """As colourful as the portrait: grey in a black-and-white one."""
        if self._colourfulness == 1:
            return colours
        grey = colours.mean(axis=2, keepdims=True)
        return grey + (colours - grey) * self._colourfulness

    def _flesh(self, below_upper: Field, above_lower: Field, inward: Field, gap: float) -> Field:
        """Cavity and tongue, before the lips' shadow."""
        # Darkest in the middle of the opening; flesh near lips and corners catches light.
        depth = smooth_step(np.minimum(below_upper, above_lower), 0.0, 0.12)
        depth *= smooth_step(inward, 0.0, 0.35)
        inside = _CAVITY + (_DEEP - _CAVITY) * depth[..., None]
        # The tongue lies behind the lower lip, lit at its front and lost in the dark further back.
        tongue_top = np.float32(0.55 * gap) * np.sqrt(inward)
        tongue = smooth_step(tongue_top - above_lower, 0.0, 0.3) * np.float32(0.75)
        return inside + (_TONGUE * np.float32(self._light) - inside) * tongue[..., None]


def _over(below: Field, above: Field, brightness: Field | float, cover: float = 1.0) -> Field:
    """Composites colours with alpha `[H, W, 4]` over others `[H, W, 3]`."""
    colour = above[..., :3] * np.asarray(brightness, np.float32)
    return below + (colour - below) * (above[..., 3:] * np.float32(cover))


def _lip_shadow(below_upper: Field, above_lower: Field, inward: Field) -> Field:
    """The fraction of light near the lips, least under the upper one and in the corners."""
    under_upper = 0.42 + 0.58 * smooth_step(below_upper, -0.02, 0.2)
    over_lower = 0.72 + 0.28 * smooth_step(above_lower, 0.0, 0.1)
    return under_upper * over_lower * (0.35 + 0.65 * smooth_step(inward, 0.0, 0.45))


def _tint_of(picture: Image) -> Field:
    """The colour cast of the picture, estimated from the skin: RGB with a mean of 1."""
    colour = np.median(picture.reshape(-1, 3), axis=0)
    return colour / max(float(colour.mean()), 1.0)


def _light_of(picture: Image) -> float:
    """Brightness of the skin around, 0.25 to 1.05 of full light."""
    return float(np.clip(np.percentile(picture.mean(axis=2), 70) / _FULL_LIGHT, 0.25, 1.05))
