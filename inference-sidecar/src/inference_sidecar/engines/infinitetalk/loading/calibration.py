"""Measures at start-up, with real forwards, how long a chunk takes on this device."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch

from inference_sidecar.engines.engine import FPS, Size
from inference_sidecar.engines.infinitetalk.capacity.device import Device
from inference_sidecar.engines.infinitetalk.capacity.flops import (
    TransformerShape,
    decode_flops,
    encode_flops,
    forward_flops,
)
from inference_sidecar.engines.infinitetalk.loading.loaded_model import LoadedModel
from inference_sidecar.engines.infinitetalk.sampling.guidance import Guidance
from inference_sidecar.engines.infinitetalk.sampling.interfaces import Conditions, Text
from inference_sidecar.engines.infinitetalk.sampling.render_settings import RenderSettings

FIXED_SECONDS: Final = 5.0
"""Per job: speech, portrait and prompt are embedded once, and the video is muxed once."""
_TIMED: Final = 2
_LATENT_CHANNELS: Final = 16
_LATENT_PIXELS: Final = 8


@dataclass(frozen=True)
class Pace:
    """Measured seconds at one size, from which other sizes are scaled by their FLOPs.

    forward: one forward. decode: the frames of one chunk.
    """

    size: Size
    forward: float
    decode: float

    def seconds_per_chunk(
        self, size: Size, settings: RenderSettings, shape: TransformerShape
    ) -> float:
        """All forwards, the decoding, and the encoding of the frames that the next chunk starts
        from."""
        frames = settings.frames
        slower = (
            forward_flops(size, frames, shape).total / forward_flops(self.size, frames, shape).total
        )
        codec = decode_flops(size, frames) + encode_flops(size, settings.motion)
        per_flop = self.decode / decode_flops(self.size, frames)
        forwards = Guidance.of(settings).forwards(settings.steps)
        return forwards * self.forward * slower + codec * per_flop


def seconds_per_video_second(seconds_per_chunk: float, settings: RenderSettings) -> float:
    """For a long video: every chunk but the first delivers fewer frames than it computes."""
    return seconds_per_chunk * FPS / (settings.frames - settings.motion)


def calibrate(model: LoadedModel, size: Size, settings: RenderSettings, device: Device) -> Pace:
    """Times two forwards after a warm-up, then one decode after a warm-up.

    The inputs are noise. Kernels take as long for noise as for real inputs; zeros would be faster.
    """
    with torch.inference_mode():
        generator = torch.Generator().manual_seed(0)
        grid = (settings.latent_frames, size.height // _LATENT_PIXELS, size.width // _LATENT_PIXELS)
        latent = torch.randn(_LATENT_CHANNELS, *grid, generator=generator).to(device.torch)
        prompt = torch.randn(model.shape.text_tokens, model.text_dim, generator=generator)
        image = torch.randn(model.shape.image_tokens, 1280, generator=generator)
        anchor = torch.cat((latent.new_ones(4, *latent.shape[1:]), latent))
        denoiser = model.models.denoiser.condition(Conditions(prompt, None, image, anchor))
        voices = torch.randn(1, settings.frames, 5, 12, 768, generator=generator)
        audio = denoiser.embed_audio(voices)
        return Pace(
            size=size,
            forward=_seconds(
                lambda: denoiser.predict(latent, 500.0, Text.PROMPT, audio), device, _TIMED
            ),
            decode=_seconds(lambda: model.codec.decode(latent), device, 1),
        )


def _seconds(run: Callable[[], object], device: Device, times: int) -> float:
    """The slowest of `times` runs after a warm-up: job deadlines are derived from it."""
    run()
    seconds: list[float] = []
    for _ in range(times):
        device.synchronise()
        began = time.perf_counter()
        run()
        device.synchronise()
        seconds.append(time.perf_counter() - began)
    return max(seconds)
