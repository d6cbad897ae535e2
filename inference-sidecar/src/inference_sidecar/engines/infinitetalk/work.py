"""How much arithmetic a render takes. Pure: estimates and benchmarks share these numbers.

A multiplication and an addition count as two. Cross-attention's keys and values of the prompt and
the portrait are cached over the job, so they are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from inference_sidecar.engines.engine import Size
from inference_sidecar.engines.infinitetalk.sizes import tokens_per_latent_frame


@dataclass(frozen=True)
class TransformerShape:
    """The sizes that decide work and memory. The defaults are those of the published weights."""

    dim: int = 5120
    ffn_dim: int = 13_824
    layers: int = 40
    heads: int = 40
    text_tokens: int = 512
    image_tokens: int = 257
    audio_tokens: int = 32
    audio_dim: int = 768


FULL_SIZE: Final = TransformerShape()


@dataclass(frozen=True)
class ForwardWork:
    """FLOPs of one forward, by what limits them."""

    linear: float
    attention: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.linear + self.attention


def tokens_of(size: Size, frames: int) -> int:
    """Tokens of one chunk."""
    return tokens_per_latent_frame(size) * ((frames - 1) // 4 + 1)


def forward_work(size: Size, frames: int, shape: TransformerShape = FULL_SIZE) -> ForwardWork:
    """One forward of one pass, without the map of who is looked at: one person needs none."""
    dim, tokens = shape.dim, tokens_of(size, frames)
    latent_frames = (frames - 1) // 4 + 1
    own = 4 * dim * dim
    crossed = 2 * dim * dim
    feed_forward = 2 * dim * shape.ffn_dim
    heard = 2 * dim * dim
    audio_keys = 2 * (shape.audio_tokens * latent_frames) * shape.audio_dim * 2 * dim
    linear = 2 * tokens * (own + crossed + feed_forward + heard) + audio_keys
    keys = tokens + shape.text_tokens + shape.image_tokens + shape.audio_tokens
    return ForwardWork(linear * shape.layers, 4 * tokens * keys * dim * shape.layers)


DECODE_FLOPS_PER_PIXEL_FRAME: Final = 0.275e15 / (832 * 480 * 81)
"""Of the Wan 2.1 video decoder, counted from its layers at 832x480 and 81 frames."""
ENCODE_FLOPS_PER_PIXEL_FRAME: Final = 0.164e15 / (832 * 480 * 81)
"""Of its encoder."""


def decode_work(size: Size, frames: int) -> float:
    """FLOPs of decoding so many frames."""
    return DECODE_FLOPS_PER_PIXEL_FRAME * size.width * size.height * frames


def encode_work(size: Size, frames: int) -> float:
    """FLOPs of encoding so many frames."""
    return ENCODE_FLOPS_PER_PIXEL_FRAME * size.width * size.height * frames
