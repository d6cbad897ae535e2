"""Runs wav2vec 2.0's convolutions over a voice of any length, in pieces.

The first convolution outputs 3,200 values per second for each of 512 channels: 2 GB for five
minutes, and as much again for its norm and its activation. No convolution pads, so a feature
depends on a fixed number of samples, and pieces that overlap by that many give the same features as
the whole.

The exception is the first layer's norm, which in the base models spans the whole time. For those
the
first convolution runs twice: once for mean and variance, and once for the features.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, nn

_FEATURES_AT_A_TIME: Final = 1_000
"""20 s of voice: 130 MB for the first layer's output."""


def features_in_pieces(extractor: Any, waveform: Tensor, most: int = _FEATURES_AT_A_TIME) -> Tensor:  # noqa: ANN401 - transformers' module
    """`[1, samples]` → `[1, channels, features]`, equal to `extractor(waveform)` up to rounding.

    most: features computed at a time.
    """
    layers = list(extractor.conv_layers)
    reach, stride = _reach_and_stride(layers)
    features = (waveform.shape[1] - reach) // stride + 1
    if features <= most:
        return extractor(waveform)
    norm = getattr(layers[0], "layer_norm", None)
    is_over_time = isinstance(norm, nn.GroupNorm)
    statistics = _over_time(layers[0].conv, waveform, most * stride) if is_over_time else None
    pieces = []
    for start in range(0, features, most):
        end = min(features, start + most)
        piece = waveform[:, None, start * stride : (end - 1) * stride + reach]
        pieces.append(_features(layers, piece, statistics))
    return torch.cat(pieces, dim=2)


def _features(layers: list[Any], piece: Tensor, statistics: tuple[Tensor, Tensor] | None) -> Tensor:
    first, *others = layers
    if statistics is None:
        hidden = first(piece)
    else:
        mean, variance = statistics
        scale = first.layer_norm.weight.double() / (variance + first.layer_norm.eps).sqrt()
        shift = first.layer_norm.bias.double() - mean * scale
        normed = first.conv(piece).mul_(scale.float()[:, None]).add_(shift.float()[:, None])
        hidden = first.activation(normed)
    for layer in others:
        hidden = layer(hidden)
    return hidden


def _over_time(conv: nn.Conv1d, waveform: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Mean and variance of each channel over the whole voice, in float64.

    most: samples at a time. Every output of the convolution counts exactly once.
    """
    kernel, stride = conv.kernel_size[0], conv.stride[0]
    outputs = (waveform.shape[1] - kernel) // stride + 1
    at_a_time = max(1, most // stride)
    total = waveform.new_zeros(conv.out_channels, dtype=torch.float64)
    squares = torch.zeros_like(total)
    for start in range(0, outputs, at_a_time):
        end = min(outputs, start + at_a_time)
        piece = waveform[:, None, start * stride : (end - 1) * stride + kernel]
        values = conv(piece)[0].double()
        total += values.sum(dim=1)
        squares += values.square_().sum(dim=1)
    mean = total / outputs
    return mean, (squares / outputs - mean.square()).clamp(min=0)


def _reach_and_stride(layers: list[Any]) -> tuple[int, int]:
    """The number of samples that a feature depends on, and the distance between two features."""
    reach, stride = 1, 1
    for layer in layers:
        reach += (layer.conv.kernel_size[0] - 1) * stride
        stride *= layer.conv.stride[0]
    return reach, stride
