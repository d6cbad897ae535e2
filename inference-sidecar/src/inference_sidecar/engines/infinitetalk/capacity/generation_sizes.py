"""The size that is generated for a size class and an aspect. No torch: the parent may import it.

The encoder scales the generated size to the delivered one, and cuts at most 4.5 % of one side.
Arithmetic and memory follow the number of tokens, one for every 16x16 pixels of a latent frame, so
the other aspects of a class are chosen by tokens: 576x576 has exactly as many as 768x432.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from inference_sidecar.engines.engine import Size

PIXELS_PER_TOKEN: Final = 16
"""The video codec reduces by 8, the transformer's patches by 2; both sides are multiples of it."""

GENERATION_SIZES: Final[Mapping[str, tuple[Size, ...]]] = {
    "720p": (Size(1280, 704), Size(960, 960), Size(1152, 768), Size(1088, 832)),
    "480p": (Size(832, 480), Size(640, 640), Size(768, 512), Size(704, 576)),
    "432p": (Size(768, 432), Size(576, 576), Size(704, 464), Size(640, 512)),
    "352p": (Size(640, 352), Size(480, 480), Size(576, 384), Size(528, 416)),
}
"""16:9, square, 3:2 and 5:4; each stands for its upright one too. Those of 480p and the squares are
buckets that upstream was trained on."""


@dataclass(frozen=True)
class GenerationSizes:
    """The table above, divided in tests: tiny weights on a CPU render tiny frames."""

    divisor: int = 1

    def of(self, size_class: str, delivery: Size) -> Size:
        """The size to generate for a delivered size."""
        ratio = max(delivery) / min(delivery)
        width, height = min(
            GENERATION_SIZES[size_class],
            key=lambda size: abs(math.log(size.width / size.height / ratio)),
        )
        if delivery.width < delivery.height:
            width, height = height, width
        return Size(self._divided(width), self._divided(height))

    def _divided(self, side: int) -> int:
        tokens = round(side / self.divisor / PIXELS_PER_TOKEN)
        return max(1, tokens) * PIXELS_PER_TOKEN


def tokens_per_latent_frame(size: Size) -> int:
    """Tokens of one latent frame."""
    return (size.width // PIXELS_PER_TOKEN) * (size.height // PIXELS_PER_TOKEN)
