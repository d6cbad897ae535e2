"""How far a video has moved away from its first chunk, and how visible the joins are.

Measured, not corrected: colours and sharpness wander in videos of more than a minute, and whoever
reads a result can see by how much.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from inference_sidecar.engines.infinitetalk.sampling.colour_match import lab_from_rgb

_POOLED: Final = 16
"""Cells on each side of the picture in which changes from frame to frame are looked at."""
_EVERY_PIXEL: Final = 4
"""Colours are averaged over every fourth pixel of every fourth row."""
_STEADY_LEVELS: Final = 0.1
"""Added to the spread of changes, so that a still picture makes no join conspicuous."""


@dataclass(frozen=True)
class Drift:
    """What is known after a chunk.

    first: of the first chunk, mean Lab and sharpness, `[4]`. last: the last frame in levels,
    pooled, `[16, 16]`. Both on the CPU.
    """

    first: Tensor
    last: Tensor

    @classmethod
    def after(
        cls, frames: Tensor, sharpness: float, before: Drift | None
    ) -> tuple[Drift, dict[str, float]]:
        """Of the new frames of a chunk, `[3, T, H, W]` in -1..1, and what is told of them.

        Lab distance and sharpness are against the first chunk. The score of the join says by how
        many deviations the change at it exceeds the changes within the chunk.
        """
        grey = frames.mean(dim=0).add(1).mul(127.5)
        cells = functional.adaptive_avg_pool2d(grey[:, None], _POOLED)[:, 0].cpu()
        some = frames[:, ::_EVERY_PIXEL, ::_EVERY_PIXEL, ::_EVERY_PIXEL]
        lab = lab_from_rgb(some.add(1).div(2).clamp(0, 1)).mean(dim=(1, 2, 3)).float().cpu()
        now = torch.cat((lab, torch.tensor([sharpness])))
        if before is None:
            return cls(now, cells[-1]), {}
        ratio = sharpness / float(before.first[3]) if before.first[3] > 0 else 1.0
        told = {
            "driftLabMost": float((lab - before.first[:3]).norm()),
            "driftSharpnessLeast": ratio,
            "driftSharpnessMost": ratio,
            "joinMost": _score_of_join(cells, before.last),
        }
        return cls(before.first, cells[-1]), told


def _score_of_join(cells: Tensor, last: Tensor) -> float:
    changes = torch.cat((last[None], cells)).diff(dim=0).abs().mean(dim=(1, 2))
    join, within = changes[0], changes[1:]
    if len(within) < 2:
        return 0.0
    return float((join - within.mean()) / (within.std() + _STEADY_LEVELS))
