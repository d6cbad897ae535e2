"""The size that is generated for a size class and an aspect. No torch: the parent may import it.

The encoder scales the generated size to the delivered one. Arithmetic and memory follow the number
of tokens, one for every 16x16 pixels of a latent frame, so the square size of a class is chosen by
tokens: 576x576 has exactly as many as 768x432, and 960x960 as many as 1280x720.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from inference_sidecar.engines.engine import Size

PIXELS_PER_TOKEN: Final = 16
"""The video codec reduces by 8, the transformer's patches by 2; both sides are multiples of it."""

GENERATION_SIZES: Final[Mapping[str, tuple[Size, Size]]] = {
    "720p": (Size(1280, 720), Size(960, 960)),
    "480p": (Size(832, 480), Size(640, 640)),
    "432p": (Size(768, 432), Size(576, 576)),
    "352p": (Size(640, 352), Size(480, 480)),
}
"""Landscape and square; portrait is landscape upright. 640x640 (480p) is the square that upstream
was trained on; it has 2.5 % more tokens than 832x480."""


@dataclass(frozen=True)
class GenerationSizes:
    """The table above, divided in tests: tiny weights on a CPU render tiny frames."""

    divisor: int = 1

    def of(self, size_class: str, delivery: Size) -> Size:
        """The size to generate for a delivered size."""
        landscape, square = GENERATION_SIZES[size_class]
        width, height = square if delivery.width == delivery.height else landscape
        if delivery.width < delivery.height:
            width, height = height, width
        return Size(self._divided(width), self._divided(height))

    def _divided(self, side: int) -> int:
        tokens = round(side / self.divisor / PIXELS_PER_TOKEN)
        return max(1, tokens) * PIXELS_PER_TOKEN


def tokens_per_latent_frame(size: Size) -> int:
    """Tokens of one latent frame."""
    return (size.width // PIXELS_PER_TOKEN) * (size.height // PIXELS_PER_TOKEN)
