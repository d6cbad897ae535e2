"""Prepares the device for a size that has not been rendered yet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch

from inference_sidecar.engines.engine import Size
from inference_sidecar.engines.infinitetalk.native.denoiser import NativeDenoiser
from inference_sidecar.engines.infinitetalk.sampling.interfaces import VideoCodec
from inference_sidecar.engines.infinitetalk.sampling.render_settings import RenderSettings

_LATENT_CHANNELS: Final = 16
_LATENT_PIXELS: Final = 8
_DECODED_LATENT_FRAMES: Final = 3
"""The codec treats the first, the second and all later latent frames differently."""


def toucher(denoiser: NativeDenoiser, codec: VideoCodec) -> Callable[[Size, RenderSettings], None]:
    """See `LoadedModel.touch`: one block of one forward, and a decode of a few frames."""

    def touch(size: Size, settings: RenderSettings) -> None:
        height, width = size.height // _LATENT_PIXELS, size.width // _LATENT_PIXELS
        denoiser.touch(settings.frames, (settings.latent_frames, height, width))
        codec.decode(torch.randn(_LATENT_CHANNELS, _DECODED_LATENT_FRAMES, height, width))

    return touch
