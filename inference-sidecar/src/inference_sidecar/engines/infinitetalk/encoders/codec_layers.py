"""Layers of diffusers' video codec that move less memory and compute the same.

Between its convolutions that codec works operation by operation: a norm with its activation reads
and writes each value a dozen times, in float32 in between, and each causal convolution copies its
input twice. On a GPU these copies take longer than the convolutions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import (
    WanAttentionBlock,
    WanCausalConv3d,
    WanDecoder3d,
    WanEncoder3d,
    WanResidualBlock,
    WanUpsample,
)
from torch import Tensor, nn
from torch.nn import functional

from inference_sidecar.engines.infinitetalk.kernels.fused import fused_or

_SMALLEST_NORM: Final = 1e-12
"""As `functional.normalize` has it."""

ChannelNorm = Callable[[Tensor, Tensor, bool], Tensor]
"""`[batch, channels, …]`, float32 `[channels]` and whether SiLU follows → the input's shape.

Scales the channels of each pixel to unit root mean square, then by a weight."""


def channel_norm(x: Tensor, weight: Tensor, is_activated: bool) -> Tensor:  # noqa: FBT001 - ChannelNorm
    """`ChannelNorm`, operation by operation."""
    length = torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=torch.float32)
    factor = x.shape[1] ** 0.5 / length.clamp(min=_SMALLEST_NORM)
    normed = x.float() * factor * weight.view(-1, *(1,) * (x.ndim - 2))
    return (functional.silu(normed) if is_activated else normed).to(x.dtype)


def put_channels_last(model: nn.Module) -> None:
    """`Module.to(memory_format=…)` takes one format, and refuses the convolutions of the other."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for weight in model.parameters():
        if weight.ndim in formats:
            weight.data = weight.data.contiguous(memory_format=formats[weight.ndim])


def use_fused_layers(model: nn.Module, device: torch.device) -> None:
    """Replaces the layers of a codec that lies on this device, in channels-last format."""
    norm = fastest_channel_norm(device)
    for module in list(model.modules()):
        part = cast("Any", module)
        if isinstance(module, WanResidualBlock):
            part.norm1, part.norm2 = (_Norm(one, norm) for one in (part.norm1, part.norm2))
            part.nonlinearity = nn.Identity()
        elif isinstance(module, WanEncoder3d | WanDecoder3d):
            part.norm_out, part.nonlinearity = _Norm(part.norm_out, norm), nn.Identity()
        elif isinstance(module, WanAttentionBlock):
            part.norm = _Norm(part.norm, norm, is_activated=False)
        for name, child in list(module.named_children()):
            if isinstance(child, WanCausalConv3d):
                setattr(module, name, _CausalConv(child))
            elif isinstance(child, WanUpsample):
                # Copying the nearest pixel needs no float32.
                plain = nn.Upsample(scale_factor=child.scale_factor, mode=child.mode)
                setattr(module, name, plain)


class _Norm(nn.Module):
    """A `WanRMS_norm` and the activation behind it."""

    def __init__(self, of: nn.Module, norm: ChannelNorm, *, is_activated: bool = True) -> None:
        super().__init__()
        weight = cast("Tensor", of.gamma).flatten().float()
        self.weight = nn.Parameter(weight, requires_grad=False)
        self._norm, self._is_activated = norm, is_activated

    def forward(self, x: Tensor) -> Tensor:
        return self._norm(x, self.weight, self._is_activated)


class _CausalConv(nn.Module):
    """A `WanCausalConv3d` that lets the convolution itself pad height and width."""

    def __init__(self, of: nn.Conv3d) -> None:
        super().__init__()
        self.weight, self.bias, self._stride = of.weight, of.bias, of.stride
        rows, _, columns, _, self._past, _ = cast("Any", of)._padding  # noqa: SLF001
        self._padding = (0, columns, rows)

    def forward(self, x: Tensor, cache_x: Tensor | None = None) -> Tensor:
        missing = self._past
        if cache_x is not None and missing:
            x = torch.cat((cache_x, x), dim=2)
            missing -= cache_x.shape[2]
        if missing:
            x = functional.pad(x, (0, 0, 0, 0, missing, 0))
        return functional.conv3d(x, self.weight, self.bias, self._stride, self._padding)


def fastest_channel_norm(device: torch.device) -> ChannelNorm:
    """Triton's, where it runs on this device and agrees with torch's; else torch's."""
    if device.type != "cuda":
        return channel_norm
    return fused_or(
        channel_norm,
        fused=_triton_norm,
        is_right=lambda norm: agrees(norm, device),
        what="The fused norms of the codec",
    )


def _triton_norm() -> ChannelNorm:
    # Triton is not installed beside a CPU build of torch.
    from inference_sidecar.engines.infinitetalk.kernels.codec_norm import (  # noqa: PLC0415
        fused_channel_norm,
    )

    return fused_channel_norm


def agrees(norm: ChannelNorm, device: torch.device) -> bool:
    """Whether it gives what torch gives, to the rounding of bf16, for an awkward shape."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(1, 96, 2, 3, 5, generator=generator).to(device, torch.bfloat16)
    x = x.contiguous(memory_format=torch.channels_last_3d)
    weight = torch.randn(96, generator=generator).to(device)
    pairs = ((norm(x, weight, on), channel_norm(x, weight, on)) for on in (False, True))
    return all(
        bool((mine.float() - theirs.float()).abs().max() <= 0.01 * theirs.float().abs().max())
        for mine, theirs in pairs
    )
