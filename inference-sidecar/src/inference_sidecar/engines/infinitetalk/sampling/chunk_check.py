"""Looks at each chunk before it is delivered: a broken picture raises no error by itself.

A kernel for attention that is wrong on one device gives noise or numbers that are none, and an
unlucky mask gives black frames; both were delivered by others. The measures are a handful of
reductions on the frames' device, copied to the host as one small tensor. Levels are 0 to 255.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from inference_sidecar.engines.infinitetalk.sampling.render_settings import Check

_LUMA: Final = (0.2126, 0.7152, 0.0722)
_LEAST_LATENT: Final = 0.2
_MOST_LATENT: Final = 3.0
"""Latents are normalised: their deviation is about 1."""
_LEAST_LEVELS: Final = 1.0
_FLAT_PORTRAIT_LEVELS: Final = 2.0
"""A portrait below it may become a video without any contrast."""
_MOST_CLIPPED: Final = 0.6
_MOST_MORE_CLIPPED: Final = 0.3
"""Beyond the portrait's own share: a white background is white in the video too."""
_MOST_SHARPNESS: Final = 8.0
_DOUBTFUL_SHARPNESS: Final = 2.0
_LEAST_SHARPNESS_LEVELS: Final = 25.0
"""Of the portrait, in squared levels: what is sharper than a blurred portrait is not yet noise."""
_MOST_CHANGE_LEVELS: Final = 25.0


@dataclass(frozen=True)
class Finding:
    """Why a chunk must not be delivered.

    measure: what was looked at, in a word. value: what was found, None if no number. step: the
    first denoising step, from 1, in which it showed; None if it shows in the frames alone.
    """

    measure: str
    value: float | None = None
    step: int | None = None

    def __str__(self) -> str:
        found = "" if self.value is None else f" is {self.value:.3g}"
        where = "" if self.step is None else f" from step {self.step} on"
        return f"{self.measure}{found}{where}"


@dataclass(frozen=True)
class Measures:
    """Of one chunk. sharpness: energy of the Laplacian against the portrait's."""

    is_finite: bool
    latent_deviation: float
    deviation_levels: float
    clipped: float
    sharpness: float
    change_levels: float

    @property
    def is_doubtful(self) -> bool:
        """Whether the frames are sharper than a video of the portrait should be."""
        return self.sharpness > _DOUBTFUL_SHARPNESS

    def told(self) -> dict[str, float]:
        """What a result tells, by name; see `worst`."""
        return {
            "latentDeviationMost": self.latent_deviation,
            "contrastLevelsLeast": self.deviation_levels,
            "clippedMost": self.clipped,
            "sharpnessMost": self.sharpness,
            "changeLevelsMost": self.change_levels,
        }


def worst(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    """Of each measure the worse of two values. What is worse, its name says: `Least`, `Most`."""
    both = {**one, **other}
    return {
        name: (min if name.endswith("Least") else max)(
            values[name] for values in (one, other) if name in values
        )
        for name in both
    }


class ChunkCheck:
    """Checks chunks against one portrait, `[3, H, W]` in -1..1.

    How strictly, the settings decide: see `Check`.
    """

    def __init__(self, portrait: Tensor, check: Check) -> None:
        self._check = check
        luma = _luma(portrait[:, None])
        self._portrait_deviation = float(luma.std(correction=0))
        self._portrait_clipped = float(_clipped(portrait))
        self._portrait_sharpness = max(float(_sharpness(luma)), _LEAST_SHARPNESS_LEVELS)

    def measure(self, latent: Tensor, frames: Tensor) -> Measures:
        """Of a window's latent and all of its frames, `[3, T, H, W]` in -1..1."""
        luma = _luma(frames)
        # Twice the first frame, so that a single one changes by nothing.
        changes = luma.diff(dim=0, prepend=luma[:1]).abs().mean(dim=(1, 2))
        found = torch.stack(
            [
                (latent.isfinite().all() & frames.isfinite().all()).float(),
                latent.float().std(correction=0),
                luma.std(dim=(1, 2), correction=0).amin(),
                _clipped(frames),
                _sharpness(luma) / self._portrait_sharpness,
                changes.amax(),
            ]
        )
        finite, *others = found.tolist()
        return Measures(bool(finite), *others)

    def finding(self, measures: Measures, finite_steps: Sequence[bool]) -> Finding | None:
        """What is wrong with a chunk; None if nothing is.

        finite_steps: whether the velocities of each step were numbers.
        """
        if self._check is Check.OFF:
            return None
        if not all(finite_steps):
            return Finding("not a number", step=1 + finite_steps.index(False))
        if not measures.is_finite:
            return Finding("not a number")
        return self._of_picture(measures) if self._check is Check.PICTURE else None

    def _of_picture(self, found: Measures) -> Finding | None:
        if not _LEAST_LATENT <= found.latent_deviation <= _MOST_LATENT:
            return Finding("latent deviation", found.latent_deviation)
        is_flat = found.deviation_levels < _LEAST_LEVELS
        if is_flat and self._portrait_deviation >= _FLAT_PORTRAIT_LEVELS:
            return Finding("contrast in levels", found.deviation_levels)
        if found.clipped > max(_MOST_CLIPPED, self._portrait_clipped + _MOST_MORE_CLIPPED):
            return Finding("clipped share", found.clipped)
        if found.sharpness > _MOST_SHARPNESS:
            return Finding("noise against the portrait", found.sharpness)
        if found.change_levels > _MOST_CHANGE_LEVELS:
            return Finding("change between frames in levels", found.change_levels)
        return None


def _luma(frames: Tensor) -> Tensor:
    """`[3, T, H, W]` in -1..1 → `[T, H, W]` in levels."""
    weights = frames.new_tensor(_LUMA).view(3, 1, 1, 1)
    return (frames * weights).sum(dim=0).add_(1).mul_(127.5)


def _clipped(frames: Tensor) -> Tensor:
    """The share of the values that are level 0 or 255."""
    return (frames.abs() >= 1 - 1 / 255).float().mean()


def _sharpness(luma: Tensor) -> Tensor:
    """The mean square of the Laplacian, in squared levels."""
    kernel = luma.new_tensor([[0, 1, 0], [1, -4, 1], [0, 1, 0]]).view(1, 1, 3, 3)
    # A frame at a time: convolutions of a whole chunk take a workspace of several times its size.
    energies = [functional.conv2d(one[None, None], kernel).square().mean() for one in luma]
    return torch.stack(energies).mean()
