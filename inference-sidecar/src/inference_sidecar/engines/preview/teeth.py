"""The teeth of one mouth: the portrait's own if it shows any, otherwise modelled ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from inference_sidecar.engines.preview.mouth_geometry import MouthGeometry
from inference_sidecar.engines.raster import Field, Image, smooth_step

_TOOTH: Final = np.array([240.0, 224.0, 200.0], np.float32)
_TINT_SHARE: Final = 0.22
"""How much of the skin's tint teeth take on; pure ivory looks green next to a reddish face."""
_TOOTH_LENGTH: Final = 0.16
_TEETH_REACH: Final = 0.72
"""The lower edge of the upper teeth below the lip at rest, and their extent to the sides."""
_TOOTH_BORDERS: Final = (0.0, 0.25, 0.44, 0.61)
"""The borders between upper teeth, from the middle outwards, on both sides."""
_BRIGHT: Final = 0.8
"""Teeth are about as bright as the skin around them; anything above this fraction of it is a
tooth."""
_LEAST_TEETH: Final = 0.08
"""The least bright fraction of the inside if teeth are visible; less is a highlight on a lip."""
_DARK: Final = 0.6
_PROFILE_STEPS: Final = 24


@dataclass(frozen=True)
class Teeth:
    """Colour and alpha `[H, W, 4]` over the mouth's box at rest.

    upper: moves with the head. lower: moves with the jaw; only if the portrait shows a lower row.
    """

    upper: Field
    lower: Field | None
    are_own: bool


def find_teeth(
    picture: Image, x: Field, y: Field, geometry: MouthGeometry, light: float, tint: Field
) -> Teeth:
    """picture: the portrait under the box; x, y: its pixels in the mouth frame."""
    upper, lower = geometry.upper_at(x), geometry.lower_at(x)
    inside = smooth_step(y - upper, 0.02, 0.07) * smooth_step(lower - y, 0.05, 0.11)
    brightness = picture.mean(axis=2, dtype=np.float32)
    bright = brightness[inside > 0.5] > _BRIGHT * np.median(brightness)
    if geometry.rest_gap == 0 or not bright.size or bright.mean() < _LEAST_TEETH:
        modelled = _modelled_teeth(x, y - upper, light, tint)
        return Teeth(modelled, None, are_own=False)
    # The corners are always dark: a wedge of cheek there would look bright.
    inside *= smooth_step(1 - np.abs(x), 0.02, 0.2)
    own = np.concatenate([picture.astype(np.float32), inside[..., None]], axis=2)
    part = _gap_between_rows(brightness, x, (y - upper) / np.maximum(lower - upper, 0.01))
    if part is None:
        return Teeth(own, None, are_own=True)
    below = y - upper - part * (lower - upper)
    rows = own.copy(), own
    rows[0][..., 3] *= 1 - smooth_step(below, 0.0, 0.1)
    rows[1][..., 3] *= smooth_step(below, -0.1, 0.0)
    return Teeth(*rows, are_own=True)


def _gap_between_rows(brightness: Field, x: Field, part: Field) -> float | None:
    """The position of the darkness between two rows of teeth, 0 at the upper lip to 1 at the
    lower."""
    middle = np.abs(x) < 0.35
    steps = (np.arange(_PROFILE_STEPS) + 0.5) / _PROFILE_STEPS
    rows = [brightness[middle & (np.abs(part - step) < 0.5 / _PROFILE_STEPS)] for step in steps]
    if not all(row.size for row in rows):
        return None
    profile = np.array([np.median(row) for row in rows])
    darkest = int(profile[5:-5].argmin()) + 5
    lesser = min(profile[:darkest].max(), profile[darkest:].max())
    return float(steps[darkest]) if profile[darkest] < _DARK * lesser else None


def _modelled_teeth(x: Field, below_lip: Field, light: float, tint: Field) -> Field:
    """A row of upper teeth that hangs behind the upper lip."""
    away = np.abs(x)
    # The middle incisors are the longest, and each tooth ends in a slight curve.
    borders = np.array(_TOOTH_BORDERS, np.float32)
    nearest = np.min(np.abs(away[..., None] - borders), axis=-1)
    length = _TOOTH_LENGTH * (1 - 0.6 * away**2) - 0.025 * np.exp(-((nearest / 0.03) ** 2))
    cover = smooth_step(length - below_lip, -0.02, 0.03)
    cover *= smooth_step(_TEETH_REACH - away, 0.0, 0.2)
    roundness = 1 - 0.5 * (away / _TEETH_REACH) ** 2
    seams = 1 - 0.1 * np.exp(-((nearest / 0.025) ** 2))
    upright = 0.9 + 0.1 * smooth_step(below_lip, 0.0, _TOOTH_LENGTH)
    colour = _TOOTH * light * (roundness * seams * upright)[..., None] * tint**_TINT_SHARE
    return np.concatenate([colour, cover[..., None]], axis=2).astype(np.float32)
