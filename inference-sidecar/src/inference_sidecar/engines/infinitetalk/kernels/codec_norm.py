"""The GPU kernel for the video codec's norms. Importing it needs Triton."""

# ruff: noqa: N803
# pyright: basic

from __future__ import annotations

from typing import Any, cast

import torch
import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]
from torch import Tensor

from inference_sidecar.engines.infinitetalk.kernels.fused import power_of_two

_VALUES = 4096
"""Per program: 32 for each thread of four warps."""


@triton.jit
def channel_norm_kernel(  # noqa: ANN201
    x,  # noqa: ANN001
    weight,  # noqa: ANN001
    out,  # noqa: ANN001
    pixels,  # noqa: ANN001
    root,  # noqa: ANN001
    CHANNELS: tl.constexpr,
    SILU: tl.constexpr,
    PIXELS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """x: pixels, channels last. root: square root of the number of channels."""
    pixel = tl.program_id(0).to(tl.int64) * PIXELS + tl.arange(0, PIXELS)
    channel = tl.arange(0, BLOCK)
    inside = (pixel < pixels)[:, None] & (channel < CHANNELS)[None, :]
    at = pixel[:, None] * CHANNELS + channel[None, :]
    values = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
    length = tl.maximum(tl.sqrt(tl.sum(values * values, axis=1)), 1e-12)
    factor = tl.load(weight + channel, mask=channel < CHANNELS, other=0.0)
    values = values * (root / length)[:, None] * factor[None, :]
    if SILU:
        values = values / (1.0 + tl.exp(-values))
    tl.store(out + at, values.to(out.dtype.element_ty), mask=inside)


def fused_channel_norm(x: Tensor, weight: Tensor, is_activated: bool) -> Tensor:  # noqa: FBT001
    """`codec_layers.ChannelNorm`; `[batch, channels, (frames,) height, width]`."""
    channels_last = torch.channels_last_3d if x.ndim == 5 else torch.channels_last
    x = x.contiguous(memory_format=channels_last)
    out = torch.empty_like(x)
    channels = x.shape[1]
    pixels = x.numel() // channels
    block = power_of_two(channels)
    at_once = max(1, _VALUES // block)
    kernel = cast("Any", channel_norm_kernel)
    kernel[(-(-pixels // at_once),)](
        x,
        weight,
        out,
        pixels,
        channels**0.5,
        CHANNELS=channels,
        SILU=is_activated,
        PIXELS=at_once,
        BLOCK=block,
    )
    return out
