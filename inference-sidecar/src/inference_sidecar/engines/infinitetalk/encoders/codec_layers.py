"""Replacements for layers of diffusers' video codec that compute the same with less memory traffic.

Between convolutions, that codec runs one operation at a time: a norm with its activation reads and
writes each value a dozen times, partly in float32, and each causal convolution copies its input
twice. On a GPU this traffic takes longer than the convolutions.
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
"""The epsilon of `functional.normalize`."""

ChannelNorm = Callable[[Tensor, Tensor, bool], Tensor]
"""Takes `[batch, channels, …]`, the weight (float32 `[channels]`) and whether SiLU follows; returns
the input's shape.

Normalises the channels of each pixel to unit root mean square and multiplies by the weight."""


def channel_norm(x: Tensor, weight: Tensor, is_activated: bool) -> Tensor:  # noqa: FBT001 - ChannelNorm
    """`ChannelNorm` with torch, one operation at a time."""
    length = torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=torch.float32)
    factor = x.shape[1] ** 0.5 / length.clamp(min=_SMALLEST_NORM)
    normed = x.float() * factor * weight.view(-1, *(1,) * (x.ndim - 2))
    return (functional.silu(normed) if is_activated else normed).to(x.dtype)


def put_channels_last(model: nn.Module) -> None:
    """Converts 2D and 3D convolutions; `Module.to(memory_format=…)` takes only one of the
    formats."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for weight in model.parameters():
        if weight.ndim in formats:
            weight.data = weight.data.contiguous(memory_format=formats[weight.ndim])


def use_fused_layers(model: nn.Module, device: torch.device) -> None:
    """Replaces the layers of a codec on this device, which must be in channels-last format."""
    norm = fastest_channel_norm(device)
    for module in list(model.modules()):
        layer = cast("Any", module)
        if isinstance(module, WanResidualBlock):
            layer.norm1, layer.norm2 = (_Norm(one, norm) for one in (layer.norm1, layer.norm2))
            layer.nonlinearity = nn.Identity()
        elif isinstance(module, WanEncoder3d | WanDecoder3d):
            layer.norm_out, layer.nonlinearity = _Norm(layer.norm_out, norm), nn.Identity()
        elif isinstance(module, WanAttentionBlock):
            layer.norm = _Norm(layer.norm, norm, is_activated=False)
        for name, child in list(module.named_children()):
            if isinstance(child, WanCausalConv3d):
                setattr(module, name, _CausalConv(child))
            elif isinstance(child, WanUpsample):
                # diffusers upsamples in float32, which copying the nearest pixel does not need.
                plain = nn.Upsample(scale_factor=child.scale_factor, mode=child.mode)
                setattr(module, name, plain)


class _Norm(nn.Module):
    """A `WanRMS_norm` with the activation that follows it."""

    def __init__(self, of: nn.Module, norm: ChannelNorm, *, is_activated: bool = True) -> None:
        super().__init__()
        weight = cast("Tensor", of.gamma).flatten().float()
        self.weight = nn.Parameter(weight, requires_grad=False)
        self._norm, self._is_activated = norm, is_activated

    def forward(self, x: Tensor) -> Tensor:
        return self._norm(x, self.weight, self._is_activated)


class _CausalConv(nn.Module):
    """A `WanCausalConv3d` whose convolution pads height and width itself."""

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
    """Triton's if it runs on this device and agrees with torch's, otherwise torch's."""
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
    """Whether a norm agrees with torch's up to bf16 rounding, for a shape that no block size
    divides."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(1, 96, 2, 3, 5, generator=generator).to(device, torch.bfloat16)
    x = x.contiguous(memory_format=torch.channels_last_3d)
    weight = torch.randn(96, generator=generator).to(device)
    pairs = ((norm(x, weight, on), channel_norm(x, weight, on)) for on in (False, True))
    return all(
        bool((mine.float() - theirs.float()).abs().max() <= 0.01 * theirs.float().abs().max())
        for mine, theirs in pairs
    )
