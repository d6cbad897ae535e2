"""Names and shapes of the video autoencoder's tensors."""

from __future__ import annotations

from typing import Final

from inference_sidecar.engines.infinitetalk.upstream_checks.tiny_weights.layer_shapes import conv
from inference_sidecar.engines.infinitetalk.upstream_checks.tiny_weights.sizes import (
    Shapes,
    TinySizes,
)

_LATENT_CHANNELS: Final = 16


def codec_shapes(sizes: TinySizes) -> Shapes:
    """The video autoencoder: four levels of one, two, four and four times the width."""
    width = sizes.codec_width
    top, latent = 4 * width, _LATENT_CHANNELS
    shapes = conv("conv1", 2 * latent, 2 * latent, 1, 1, 1) | conv("conv2", latent, latent, 1, 1, 1)
    shapes |= conv("encoder.conv1", 3, width, 3, 3, 3) | conv("decoder.conv1", latent, top, 3, 3, 3)
    shapes |= _codec_encoder_levels(width) | _codec_decoder_levels(width)
    for half, channels, outputs in (("encoder", top, 2 * latent), ("decoder", width, 3)):
        shapes |= _residual(f"{half}.middle.0", top, top) | _residual(f"{half}.middle.2", top, top)
        shapes[f"{half}.middle.1.norm.gamma"] = (top, 1, 1)
        shapes |= conv(f"{half}.middle.1.to_qkv", top, 3 * top, 1, 1)
        shapes |= conv(f"{half}.middle.1.proj", top, top, 1, 1)
        shapes[f"{half}.head.0.gamma"] = (channels, 1, 1, 1)
        shapes |= conv(f"{half}.head.2", channels, outputs, 3, 3, 3)
    return shapes


def _codec_encoder_levels(width: int) -> Shapes:
    shapes: Shapes = {}
    inputs, index = width, 0
    for level, factor in enumerate((1, 2, 4, 4)):
        outputs = factor * width
        for _ in range(2):
            shapes |= _residual(f"encoder.downsamples.{index}", inputs, outputs)
            inputs, index = outputs, index + 1
        if level < 3:
            shapes |= conv(f"encoder.downsamples.{index}.resample.1", outputs, outputs, 3, 3)
            if level > 0:
                shapes |= conv(f"encoder.downsamples.{index}.time_conv", outputs, outputs, 3, 1, 1)
            index += 1
    return shapes


def _codec_decoder_levels(width: int) -> Shapes:
    shapes: Shapes = {}
    inputs, index = 4 * width, 0
    for level, factor in enumerate((4, 4, 2, 1)):
        outputs = factor * width
        for _ in range(3):
            shapes |= _residual(f"decoder.upsamples.{index}", inputs, outputs)
            inputs, index = outputs, index + 1
        if level < 3:
            shapes |= conv(f"decoder.upsamples.{index}.resample.1", outputs, outputs // 2, 3, 3)
            if level < 2:
                shapes |= conv(
                    f"decoder.upsamples.{index}.time_conv", outputs, 2 * outputs, 3, 1, 1
                )
            inputs, index = outputs // 2, index + 1
    return shapes


def _residual(prefix: str, inputs: int, outputs: int) -> Shapes:
    shapes: Shapes = {
        f"{prefix}.residual.0.gamma": (inputs, 1, 1, 1),
        f"{prefix}.residual.3.gamma": (outputs, 1, 1, 1),
    }
    shapes |= conv(f"{prefix}.residual.2", inputs, outputs, 3, 3, 3)
    shapes |= conv(f"{prefix}.residual.6", outputs, outputs, 3, 3, 3)
    if inputs != outputs:
        shapes |= conv(f"{prefix}.shortcut", inputs, outputs, 1, 1, 1)
    return shapes
