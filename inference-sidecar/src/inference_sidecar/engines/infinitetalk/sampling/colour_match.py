"""Matches the colours of frames to the portrait, in CIE Lab, on the frames' device.

Every chunk starts from generated frames; without matching, small colour shifts add up within a
minute. The arithmetic is upstream's: mean and standard deviation of each Lab channel, frame by
frame; `chunk_colour` matches a chunk as a whole. Upstream runs it with scikit-image on the CPU,
which takes 0.13 s per frame.
"""

from __future__ import annotations

from functools import cache
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

# sRGB primaries and the D65 white of the 2 degree observer (IEC 61966-2-1, CIE 15).
_XYZ_FROM_RGB: Final = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
_WHITE: Final = (0.95047, 1.0, 1.08883)
_DARK: Final = 0.008856
"""Below this fraction of white, CIE Lab replaces the cube root with a line."""
_SLOPE: Final = 7.787
_OFFSET: Final = 16 / 116


class ColourMatch:
    """Matches frames to one portrait. Frames and portrait are RGB in -1..1."""

    def __init__(self, portrait: Tensor, strength: float) -> None:
        self._strength = strength
        lab = lab_from_rgb(_unit(portrait)[:, None])
        self._std, self._mean = _std_and_mean(lab)

    def __call__(self, frames: Tensor) -> Tensor:
        """`[3, T, H, W]` → the same shape, matched by the configured strength."""
        if self._strength == 0:
            return frames
        self._std, self._mean = self._std.to(frames.device), self._mean.to(frames.device)
        # One frame at a time: a whole chunk in Lab takes several times the memory of its frames.
        matched = [self._match(frames[:, at : at + 1]) for at in range(frames.shape[1])]
        return torch.cat(matched, dim=1)

    def _match(self, frame: Tensor) -> Tensor:
        rgb = _unit(frame)
        lab = lab_from_rgb(rgb)
        std, mean = _std_and_mean(lab)
        # A channel without variation cannot be stretched and takes the portrait's mean.
        stretch = torch.where(std == 0, 0.0, self._std / std.where(std != 0, 1.0))
        matched = rgb_from_lab((lab - mean) * stretch + self._mean).clamp(0, 1)
        return torch.lerp(rgb, matched, self._strength).mul(2).sub(1)


def _unit(rgb: Tensor) -> Tensor:
    """-1..1 → 0..1, clamped."""
    return rgb.add(1).div(2).clamp(0, 1)


def _std_and_mean(lab: Tensor) -> tuple[Tensor, Tensor]:
    """Over the pixels of each frame, `[3, T, 1, 1]`; in float64, because a million pixels add
    up."""
    std, mean = torch.std_mean(lab.double(), dim=(2, 3), correction=0, keepdim=True)
    return std.to(lab.dtype), mean.to(lab.dtype)


class _Constants(NamedTuple):
    xyz_from_rgb: Tensor
    rgb_from_xyz: Tensor
    white: Tensor


@cache
def _constants(device: torch.device, dtype: torch.dtype) -> _Constants:
    """Copied to the device once: a copy per frame would synchronise with the device each time."""
    matrix = torch.tensor(_XYZ_FROM_RGB, dtype=torch.float64)
    inverse = torch.tensor(np.linalg.inv(_XYZ_FROM_RGB))
    white = torch.tensor(_WHITE, dtype=dtype).view(3, 1, 1, 1)
    return _Constants(*(each.to(device, dtype) for each in (matrix, inverse, white)))


def lab_from_rgb(rgb: Tensor) -> Tensor:
    """sRGB in 0..1, `[3, T, H, W]`, to CIE Lab."""
    constants = _constants(rgb.device, rgb.dtype)
    linear = torch.where(rgb > 0.04045, ((rgb + 0.055) / 1.055).clamp(min=0) ** 2.4, rgb / 12.92)
    ratio = _mix(constants.xyz_from_rgb, linear) / constants.white
    bent = torch.where(ratio > _DARK, ratio.clamp(min=0) ** (1 / 3), _SLOPE * ratio + _OFFSET)
    x, y, z = bent.unbind(0)
    return torch.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)))


def rgb_from_lab(lab: Tensor) -> Tensor:
    """CIE Lab to sRGB, which may lie outside 0..1."""
    constants = _constants(lab.device, lab.dtype)
    lightness, a, b = lab.unbind(0)
    y = (lightness + 16) / 116
    bent = torch.stack((a / 500 + y, y, (y - b / 200).clamp(min=0)))
    ratio = torch.where(bent > 0.2068966, bent**3, (bent - _OFFSET) / _SLOPE)
    linear = _mix(constants.rgb_from_xyz, ratio * constants.white)
    bright = 1.055 * linear.clamp(min=0) ** (1 / 2.4) - 0.055
    return torch.where(linear > 0.0031308, bright, linear * 12.92)


def _mix(matrix: Tensor, channels: Tensor) -> Tensor:
    return torch.einsum("ij,jthw->ithw", matrix, channels)
