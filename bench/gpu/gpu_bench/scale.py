"""What is measured: the published shapes, or tiny ones that only show that the benchmark runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from inference_sidecar.engines.engine import Size
from inference_sidecar.engines.infinitetalk.capacity.flops import TransformerShape
from inference_sidecar.engines.infinitetalk.upstream_checks.tiny_weights.sizes import (
    PUBLISHED,
    TinySizes,
)


@dataclass(frozen=True)
class Scale:
    """Sizes and lengths of everything that runs.

    sizes: the smaller one first; whole chunks are rendered at it.
    square: side of the square matrices of B0.
    attended: sizes whose numbers of tokens attention is asked at. other_aspect: of the first size.
    """

    name: str
    weights: TinySizes
    sizes: tuple[Size, ...]
    frames: int
    motion: int
    steps: int
    square: int
    speech_seconds: int
    attended: tuple[Size, ...]
    other_aspect: Size

    @property
    def shape(self) -> TransformerShape:
        """For counting FLOPs."""
        return TransformerShape(
            dim=self.weights.dim,
            ffn_dim=self.weights.ffn,
            layers=self.weights.layers,
            heads=self.weights.heads,
            text_tokens=self.weights.text_tokens,
            audio_tokens=self.weights.audio_tokens,
            audio_dim=self.weights.audio_dim,
        )

    @property
    def config(self) -> dict[str, object]:
        """The matching `config.json` of the transformer."""
        return {"num_heads": self.weights.heads, "text_len": self.weights.text_tokens}


FULL: Final = Scale(
    name="published shapes of the 14B model, random weights",
    weights=PUBLISHED,
    sizes=(Size(832, 480), Size(1280, 720)),
    frames=81,
    motion=9,
    steps=4,
    square=8192,
    speech_seconds=60,
    attended=(Size(768, 432), Size(832, 480), Size(1280, 704)),
    other_aspect=Size(640, 640),
)

TINY: Final = Scale(
    name="tiny shapes: the figures mean nothing",
    weights=TinySizes(),
    sizes=(Size(32, 32), Size(48, 32)),
    frames=9,
    motion=5,
    steps=2,
    square=64,
    speech_seconds=1,
    attended=(Size(32, 32), Size(48, 32)),
    other_aspect=Size(32, 48),
)
