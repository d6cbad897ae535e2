"""Predicts whether a render fits into the device's memory. Pure arithmetic, without torch.

The figures follow from the tensors that exist at the same time. They were measured on the
allocations of the code itself, and a test measures them again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from inference_sidecar.engines.engine import Size
from inference_sidecar.engines.infinitetalk.capacity.flops import TransformerShape, tokens_of
from inference_sidecar.engines.infinitetalk.settings import Precision

GIB: Final = 2**30
RESERVE_BYTES: Final = GIB
"""Workspaces of libraries, and memory fragmentation."""

_BYTES_PER_VALUE: Final = {"fp8": 2, "bf16": 2, "fp32": 4}
"""Of activations. With fp8, linear layers multiply in 8 bits, and activations stay bf16."""
_ACTIVATIONS_PER_TOKEN: Final = {"fp8": 14.0, "bf16": 13.0, "fp32": 11.5}
"""Values that exist at a block's peak, in multiples of the model's width. Norms and rotary tables
are float32 and count double beside bf16. fp8 adds the quantised input of a layer. fp32 is for CPUs,
where rotary tables are float64."""

DECODE_VALUES_PER_PIXEL: Final = {2: 6_700, 4: 5_400}
"""Of the last stage of the video decoder for the four frames it processes at a time, by bytes per
value. In bf16 its norms still compute in float32. Encoding takes three quarters of that."""
TILE_PIXELS: Final = 256 * 256
"""Pixels that a tiled codec processes at a time."""
_FRAME_COPIES: Final = 3
"""Decoded frames, the colour-matched frames, and the pieces they are concatenated from."""


@dataclass(frozen=True)
class MemoryNeed:
    """Bytes on top of the weights. Forward and codec never run at the same time."""

    cached: int
    forward: int
    codec: int
    frames: int
    is_tiled: bool

    @property
    def total(self) -> int:
        """The peak, including the reserve."""
        return self.cached + max(self.forward, self.codec + self.frames) + RESERVE_BYTES


def forward_bytes(size: Size, frames: int, precision: Precision, shape: TransformerShape) -> int:
    """Bytes that one forward allocates."""
    widths = tokens_of(size, frames) * shape.dim * _BYTES_PER_VALUE[precision]
    return round(widths * _ACTIVATIONS_PER_TOKEN[precision])


def cached_bytes(precision: Precision, shape: TransformerShape, prompts: int) -> int:
    """Bytes of the keys and values of prompt and portrait in all blocks, cached for a job."""
    tokens = prompts * shape.text_tokens + shape.image_tokens
    return 2 * shape.layers * tokens * shape.dim * _BYTES_PER_VALUE[precision]


def codec_bytes(size: Size, bytes_per_value: int, *, is_tiled: bool) -> int:
    """Bytes that decoding allocates on top of its frames; encoding takes less."""
    pixels = size.width * size.height
    at_a_time = min(pixels, TILE_PIXELS) if is_tiled else pixels
    return at_a_time * DECODE_VALUES_PER_PIXEL[bytes_per_value] * bytes_per_value


def frames_bytes(size: Size, frames: int, *, is_tiled: bool) -> int:
    """Bytes of all float32 copies of one chunk's frames that exist at once."""
    copies = _FRAME_COPIES + (1 if is_tiled else 0)
    return copies * 3 * frames * size.width * size.height * 4


@dataclass(frozen=True)
class MemoryPlan:
    """What a loaded model needs at any size.

    codec_bytes_per_value: 2 for bf16, 4 for float32. prompts: 2 if guidance needs a negative
    prompt.
    forward_memory: memory of one forward relative to the native transformer's.
    """

    precision: Precision
    shape: TransformerShape
    frames: int
    prompts: int
    codec_bytes_per_value: int
    forward_memory: float = 1.0

    def need(self, size: Size, *, is_tiled: bool) -> MemoryNeed:
        """Bytes on top of the weights, to render at this size."""
        forward = forward_bytes(size, self.frames, self.precision, self.shape)
        return MemoryNeed(
            cached=cached_bytes(self.precision, self.shape, self.prompts),
            forward=round(forward * self.forward_memory),
            codec=codec_bytes(size, self.codec_bytes_per_value, is_tiled=is_tiled),
            frames=frames_bytes(size, self.frames, is_tiled=is_tiled),
            is_tiled=is_tiled,
        )

    def fit(self, size: Size, free_bytes: int) -> MemoryNeed | None:
        """The need that fits, tiled only if necessary; None if not even tiling fits.

        A tiled codec works on overlapping tiles: a little slower, with blended seams.
        """
        for is_tiled in (False, True):
            need = self.need(size, is_tiled=is_tiled)
            if need.total <= free_bytes:
                return need
        return None


def gib(amount: float) -> str:
    """Bytes as text in GiB, for messages."""
    return f"{amount / GIB:.1f} GiB"
