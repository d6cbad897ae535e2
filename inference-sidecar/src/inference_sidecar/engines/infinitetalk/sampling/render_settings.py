"""The settings of a render. No torch: the engine plans with them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum


class SeedPolicy(StrEnum):
    """How the noise of a chunk is drawn.

    PER_CHUNK: from seed and chunk index alone, so that a resumed chunk needs nothing else.
    UPSTREAM: from one random stream for the whole job, consumed like upstream's.
    """

    PER_CHUNK = "per-chunk"
    UPSTREAM = "upstream"


@dataclass(frozen=True)
class RenderSettings:
    """How frames are rendered.

    frames: of one window, 4n + 1 (the video codec packs four frames into one latent frame).
    motion: frames of the previous window that the next one starts from, 4n + 1.
    steps: denoising steps. shift: above 1, more of them are spent at high noise.
    text_guide, audio_guide: guidance scales; at 1 the extra forward is not computed.
    colour: strength of colour matching to the portrait, 0 to 1.
    skips_forwards: leaves out forwards that guidance cancels out. Upstream computes them, which
    changes only the last bit.
    """

    frames: int = 81
    motion: int = 9
    steps: int = 4
    shift: float = 5.0
    text_guide: float = 1.0
    audio_guide: float = 1.0
    colour: float = 1.0
    seeds: SeedPolicy = SeedPolicy.PER_CHUNK
    skips_forwards: bool = True

    def __post_init__(self) -> None:
        if self.frames < 5 or self.frames % 4 != 1:
            raise ValueError(f"A window has 4n + 1 frames, at least 5, not {self.frames}.")
        if self.motion % 4 != 1 or not 1 <= self.motion < self.frames:
            raise ValueError(
                f"The motion is 4n + 1 frames, fewer than the window's, not {self.motion}."
            )
        if self.steps < 1:
            raise ValueError(f"A render needs at least one step, not {self.steps}.")
        if not 0.0 <= self.colour <= 1.0:
            raise ValueError(f"The colour strength is between 0 and 1, not {self.colour}.")
        if not all(math.isfinite(x) for x in (self.shift, self.text_guide, self.audio_guide)):
            raise ValueError("Shift and guidance scales are finite numbers.")

    @property
    def latent_frames(self) -> int:
        """Latent frames of one window."""
        return (self.frames - 1) // 4 + 1

    @property
    def motion_latent_frames(self) -> int:
        """Latent frames of the motion frames."""
        return (self.motion - 1) // 4 + 1
