"""Matches the colours of a whole chunk to the portrait, with one gain and offset per Lab channel.

Upstream matches every frame by itself, and a hand or a dark sleeve that comes into the frame then
changes the colours of everything else. Here all frames of a chunk are changed alike. A chunk starts
with frames that the model was given from the chunk before: what became of their colours on the way
is measured and undone, so that the first new frame continues the last delivered one. From there the
correction runs to that of the chunk.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import torch
from torch import Tensor

from inference_sidecar.engines.infinitetalk.sampling.colour_match import lab_from_rgb, rgb_from_lab

_LEAST_GAIN: Final = 0.9
_MOST_GAIN: Final = 1.1
"""A chunk whose contrast differs by more shows something else, not another light."""
_BLENDED_FRAMES: Final = 12
"""New frames over which the correction runs from the last chunk's end to this chunk's."""


class _Correction(NamedTuple):
    """`lab * gain + offset`, float64 `[3]` each."""

    gain: Tensor
    offset: Tensor

    def towards(self, other: _Correction, part: float) -> _Correction:
        return _Correction(
            torch.lerp(self.gain, other.gain, part), torch.lerp(self.offset, other.offset, part)
        )


class ChunkColourMatch:
    """Matches chunks to one portrait. Frames and portrait are RGB in -1..1.

    motion: frames that a chunk passes on to the next one. strength: 0 to 1.
    """

    def __init__(self, portrait: Tensor, strength: float, motion: int) -> None:
        self._strength = strength
        self._motion = motion
        self._wanted = _mean_and_deviation(portrait[:, None])

    def __call__(
        self, frames: Tensor, drop: int, before: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """`[3, T, H, W]`, of which the first `drop` were passed on by the chunk before → the same
        shape, and what the next chunk is given as `before`: `[2, 3]` on the CPU."""
        if self._strength == 0:
            return frames, None
        wanted = self._wanted.to(frames.device)
        end = _correction(_mean_and_deviation(frames[:, drop:]), wanted)
        start = end
        if drop > 0 and before is not None:
            given = before.to(frames.device, torch.float64)
            start = _correction(_mean_and_deviation(frames[:, :drop]), given)
        # One frame at a time: a whole chunk in Lab takes several times the memory of its frames.
        matched = torch.cat(
            [
                self._apply(frames[:, at : at + 1], start.towards(end, _part(at - drop)))
                for at in range(frames.shape[1])
            ],
            dim=1,
        )
        return matched, _mean_and_deviation(matched[:, -self._motion :]).float().cpu()

    def _apply(self, frame: Tensor, correction: _Correction) -> Tensor:
        rgb = _unit(frame)
        gain, offset = (x.to(frame.dtype).view(3, 1, 1, 1) for x in correction)
        matched = rgb_from_lab(lab_from_rgb(rgb) * gain + offset).clamp(0, 1)
        return torch.lerp(rgb, matched, self._strength).mul(2).sub(1)


def _part(new_frame: int) -> float:
    """How far the correction has run at a new frame, which counts from 0."""
    return min(1.0, max(0.0, new_frame / _BLENDED_FRAMES))


def _correction(found: Tensor, wanted: Tensor) -> _Correction:
    deviation = found[1]
    gain = torch.where(deviation > 0, wanted[1] / deviation.where(deviation > 0, 1.0), 1.0)
    gain = gain.clamp(_LEAST_GAIN, _MOST_GAIN)
    return _Correction(gain, wanted[0] - found[0] * gain)


def _mean_and_deviation(frames: Tensor) -> Tensor:
    """Of each Lab channel over all pixels of all frames, `[2, 3]` float64."""
    means, squares = [], []
    for at in range(frames.shape[1]):
        lab = lab_from_rgb(_unit(frames[:, at : at + 1])).double()
        means.append(lab.mean(dim=(1, 2, 3)))
        squares.append(lab.square().mean(dim=(1, 2, 3)))
    mean = torch.stack(means).mean(dim=0)
    variance = torch.stack(squares).mean(dim=0) - mean.square()
    return torch.stack((mean, variance.clamp(min=0).sqrt()))


def _unit(rgb: Tensor) -> Tensor:
    return rgb.add(1).div(2).clamp(0, 1)
