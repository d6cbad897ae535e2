"""How much arithmetic a render takes. Pure functions, shared by estimates and benchmarks.

A multiplication and an addition count as two FLOPs. Cross-attention's keys and values of the prompt
and the portrait are cached for the job and not counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from inference_sidecar.engines.engine import Size
from inference_sidecar.engines.infinitetalk.capacity.generation_sizes import tokens_per_latent_frame


@dataclass(frozen=True)
class TransformerShape:
    """The sizes that decide arithmetic and memory. The defaults are those of the published
    weights."""

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
class ForwardFlops:
    """FLOPs of one forward, by kind: each has another ceiling on a device."""

    linear: float
    attention: float

    @property
    def total(self) -> float:
        """Both together."""
        return self.linear + self.attention


def tokens_of(size: Size, frames: int) -> int:
    """Tokens of one chunk."""
    return tokens_per_latent_frame(size) * ((frames - 1) // 4 + 1)


def forward_flops(size: Size, frames: int, shape: TransformerShape = FULL_SIZE) -> ForwardFlops:
    """FLOPs of one forward, without the attention map of upstream, which one person does not
    need."""
    dim, tokens = shape.dim, tokens_of(size, frames)
    latent_frames = (frames - 1) // 4 + 1
    self_attention = 4 * dim * dim
    cross_attention = 2 * dim * dim
    feed_forward = 2 * dim * shape.ffn_dim
    audio_attention = 2 * dim * dim
    audio_keys = 2 * (shape.audio_tokens * latent_frames) * shape.audio_dim * 2 * dim
    per_token = self_attention + cross_attention + feed_forward + audio_attention
    linear = 2 * tokens * per_token + audio_keys
    keys = tokens + shape.text_tokens + shape.image_tokens + shape.audio_tokens
    return ForwardFlops(linear * shape.layers, 4 * tokens * keys * dim * shape.layers)


DECODE_FLOPS_PER_PIXEL_FRAME: Final = 0.275e15 / (832 * 480 * 81)
"""Of the Wan 2.1 video decoder, counted over its layers at 832x480 and 81 frames."""
ENCODE_FLOPS_PER_PIXEL_FRAME: Final = 0.164e15 / (832 * 480 * 81)
"""Of its encoder."""


def decode_flops(size: Size, frames: int) -> float:
    """FLOPs of decoding this many frames."""
    return DECODE_FLOPS_PER_PIXEL_FRAME * size.width * size.height * frames


def encode_flops(size: Size, frames: int) -> float:
    """FLOPs of encoding this many frames."""
    return ENCODE_FLOPS_PER_PIXEL_FRAME * size.width * size.height * frames
