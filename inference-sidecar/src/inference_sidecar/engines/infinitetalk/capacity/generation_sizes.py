"""The size that is generated for a size class and an aspect. No torch: the parent may import it.

The encoder scales the generated size to the delivered one. Arithmetic and memory follow the number
of tokens, one for every 16x16 pixels of a latent frame, so the square size of a class is chosen by
tokens: 576x576 has exactly as many as 768x432, and 960x960 as many as 1280x720.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from inference_sidecar.engines.engine import Size

Aspect = Literal["landscape", "portrait", "square"]

PIXELS_PER_TOKEN: Final = 16
"""The video codec reduces by 8, the transformer's patches by 2; both sides are multiples of it."""

GENERATION_SIZES: Final[Mapping[str, Mapping[Aspect, Size]]] = {
    "720p": {
        "landscape": Size(1280, 720),
        "portrait": Size(720, 1280),
        "square": Size(960, 960),
    },
    "480p": {
        "landscape": Size(832, 480),
        "portrait": Size(480, 832),
        "square": Size(640, 640),
    },
    "432p": {
        "landscape": Size(768, 432),
        "portrait": Size(432, 768),
        "square": Size(576, 576),
    },
    "352p": {
        "landscape": Size(640, 352),
        "portrait": Size(352, 640),
        "square": Size(480, 480),
    },
}
"""640x640 (480p) is the square that upstream was trained on; it has 2.5 % more tokens than
832x480."""


def aspect_of(delivery: Size) -> Aspect:
    """The aspect of a delivered size."""
    if delivery.width == delivery.height:
        return "square"
    return "landscape" if delivery.width > delivery.height else "portrait"


@dataclass(frozen=True)
class GenerationSizes:
    """The table above, divided in tests: tiny weights on a CPU render tiny frames."""

    divisor: int = 1

    def of(self, size_class: str, delivery: Size) -> Size:
        """The size to generate for a delivered size."""
        size = GENERATION_SIZES[size_class][aspect_of(delivery)]
        return Size(self._divided(size.width), self._divided(size.height))

    def _divided(self, side: int) -> int:
        tokens = round(side / self.divisor / PIXELS_PER_TOKEN)
        return max(1, tokens) * PIXELS_PER_TOKEN


def tokens_per_latent_frame(size: Size) -> int:
    """Tokens of one latent frame."""
    return (size.width // PIXELS_PER_TOKEN) * (size.height // PIXELS_PER_TOKEN)
