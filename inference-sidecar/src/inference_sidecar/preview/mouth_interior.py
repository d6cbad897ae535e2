"""Paints what shows between parted lips: own or modelled teeth, tongue, dark."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from inference_sidecar.preview.mouth_geometry import MouthGeometry
from inference_sidecar.preview.raster import Field, Image, sample_field, smooth_step

_DEEP: Final = np.array([16.0, 6.0, 6.0], np.float32)
_CAVITY: Final = np.array([62.0, 24.0, 20.0], np.float32)
_TONGUE: Final = np.array([150.0, 74.0, 66.0], np.float32)
_TOOTH: Final = np.array([246.0, 230.0, 204.0], np.float32)
_SHADE_TINT: Final = np.array([0.86, 1.06, 1.16], np.float32)
_TINT_SHARE: Final = 0.22
"""How much of the skin's tint teeth take on; pure ivory looks green beside a reddish face."""
_LEAST_TINT: Final = 0.12
"""Skin whose channels differ less than this, relative to their mean, is from a faded picture."""
_TOOTH_LENGTH: Final = 0.21
_TEETH_REACH: Final = 0.8
"""Lower edge of the upper teeth below the lip at rest, and how far they go to the sides."""
_TOOTH_BORDERS: Final = (0.0, 0.28, 0.5, 0.7)
"""Where one upper tooth meets the next, from the middle outwards; both sides are alike."""
_FULL_LIGHT: Final = 180.0
"""Brightness of well-lit fair skin; teeth and tongue are lit like the skin around them."""


@dataclass(frozen=True)
class LipEdges:
    """y of the lips' inner edges as posed, for each pixel of the box; gap: their distance."""

    upper: Field
    lower: Field
    gap: float


class MouthInterior:
    """The inside of one mouth. Upper teeth stay with the head, the tongue with the jaw."""

    def __init__(self, picture: Image, x: Field, y: Field, geometry: MouthGeometry) -> None:
        """picture: the portrait under the box; x, y: the box's pixels in the mouth frame."""
        self._geometry = geometry
        self._light = _light_of(picture)
        self._colourfulness = float(np.clip(np.ptp(_tint_of(picture)) / _LEAST_TINT, 0, 1))
        self._own_teeth = geometry.rest_gap > 0
        if self._own_teeth:
            padding = np.zeros((*x.shape, 1), np.float32)
            self._teeth = np.concatenate([picture.astype(np.float32), padding], axis=2)
        else:
            self._teeth = _modelled_teeth(x, y - geometry.upper_at(x), self._light)
            self._teeth[..., :3] *= _tint_of(picture) ** _TINT_SHARE

    def draw(self, x: Field, y: Field, rest_px: tuple[Field, Field], edges: LipEdges) -> Field:
        """The inside as floats `[H, W, 3]`; the lips go over it.

        x, y: the pixels in the mouth frame, movement of the head taken out; rest_px: the same in
        pixels of the box.
        """
        below_upper, above_lower = y - edges.upper, edges.lower - y
        inward = np.clip(1 - np.abs(x), 0, 1)
        shade = _lip_shadow(below_upper, above_lower, inward)
        inside = self._flesh(below_upper, above_lower, inward, edges.gap) * shade[..., None]
        teeth = sample_field(self._teeth, *rest_px)
        colour, cover = teeth[..., :3], teeth[..., 3]
        if self._own_teeth:
            cover = self._own_cover(x, y, edges.gap)
            inside = self._faded(inside)
        else:
            # Hardly any light reaches teeth in a narrow gap; a bright line there looks painted.
            # What does has been through lips and gums: shade in a mouth is red, never grey.
            reached = float(smooth_step(np.array(edges.gap), 0.08, 0.4))
            lit = shade * (0.4 + 0.6 * reached)
            colour = self._faded(colour * lit[..., None] ** _SHADE_TINT)
            cover = cover * (0.3 + 0.7 * reached)
            inside = self._faded(inside)
        return inside + (colour - inside) * cover[..., None]

    def _faded(self, colours: Field) -> Field:
        """As colourful as the portrait: grey in a black-and-white one."""
        if self._colourfulness == 1:
            return colours
        grey = colours.mean(axis=2, keepdims=True)
        return grey + (colours - grey) * self._colourfulness

    def _flesh(self, below_upper: Field, above_lower: Field, inward: Field, gap: float) -> Field:
        """Cavity and tongue, before the lips' shadow."""
        # Deepest in the middle of the opening; flesh near lips and corners catches light.
        depth = smooth_step(np.minimum(below_upper, above_lower), 0.0, 0.2)
        depth *= smooth_step(inward, 0.0, 0.35)
        inside = _CAVITY + (_DEEP - _CAVITY) * depth[..., None]
        # The tongue lies behind the lower lip, lit at its front and lost in the dark further back.
        tongue_top = np.float32(0.42 * min(1.0, gap / 0.6)) * np.sqrt(inward)
        tongue = smooth_step(tongue_top - above_lower, 0.0, 0.34) * np.float32(0.6)
        return inside + (_TONGUE * np.float32(self._light) - inside) * tongue[..., None]

    def _own_cover(self, x: Field, y: Field, gap: float) -> Field:
        """Where the portrait's own teeth show.

        At rest the portrait stays as it is; as the lips part, their old edges must not stay behind.
        """
        geometry = self._geometry
        moved = min(1.0, max(0.0, gap - geometry.rest_gap) / 0.2)
        bent = moved * np.clip(1.15 - x**2, 0, 1)
        upper = smooth_step(y - geometry.upper_at(x) - 0.06 * bent, -0.1, -0.05)
        return upper * smooth_step(geometry.lower_at(x) - y - 0.13 * bent, -0.1, -0.03)


def _modelled_teeth(x: Field, below_lip: Field, light: float) -> Field:
    """Colour and cover `[H, W, 4]` of a row of upper teeth that hangs behind the upper lip."""
    away = np.abs(x)
    # Middle incisors are the longest; each tooth ends in a slight curve of its own.
    borders = np.array(_TOOTH_BORDERS, np.float32)
    nearest = np.min(np.abs(away[..., None] - borders), axis=-1)
    length = _TOOTH_LENGTH * (1 - 0.45 * away**2) - 0.02 * np.exp(-((nearest / 0.03) ** 2))
    cover = smooth_step(length - below_lip, -0.02, 0.03)
    cover *= smooth_step(_TEETH_REACH - away, 0.0, 0.16)
    roundness = 1 - 0.34 * (away / _TEETH_REACH) ** 2
    seams = 1 - 0.1 * np.exp(-((nearest / 0.025) ** 2))
    upright = 0.9 + 0.1 * smooth_step(below_lip, 0.0, _TOOTH_LENGTH)
    colour = _TOOTH * light * (roundness * seams * upright)[..., None]
    return np.concatenate([colour, cover[..., None]], axis=2).astype(np.float32)


def _lip_shadow(below_upper: Field, above_lower: Field, inward: Field) -> Field:
    """How much light is left near the lips, most of all under the upper one, and in the corners."""
    under_upper = 0.42 + 0.58 * smooth_step(below_upper, -0.02, 0.2)
    over_lower = 0.72 + 0.28 * smooth_step(above_lower, 0.0, 0.1)
    return under_upper * over_lower * (0.35 + 0.65 * smooth_step(inward, 0.0, 0.45))


def _tint_of(picture: Image) -> Field:
    """Colour of the light and the film, as the skin shows it: RGB with a mean of 1."""
    colour = np.median(picture.reshape(-1, 3), axis=0)
    return colour / max(float(colour.mean()), 1.0)


def _light_of(picture: Image) -> float:
    """Brightness of the skin around, 0.25 to 1.05 of full light."""
    return float(np.clip(np.percentile(picture.mean(axis=2), 70) / _FULL_LIGHT, 0.25, 1.05))
