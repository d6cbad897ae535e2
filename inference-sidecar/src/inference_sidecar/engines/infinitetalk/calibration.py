"""How long a chunk takes on this device, from real forwards at start-up."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch

from inference_sidecar.engines.engine import FPS, Size
from inference_sidecar.engines.infinitetalk.device import Device
from inference_sidecar.engines.infinitetalk.interfaces import ConditionedDenoiser, Conditions, Text
from inference_sidecar.engines.infinitetalk.parts import Parts
from inference_sidecar.engines.infinitetalk.render_settings import RenderSettings
from inference_sidecar.engines.infinitetalk.work import (
    TransformerShape,
    decode_work,
    encode_work,
    forward_work,
)

FIXED_SECONDS: Final = 5.0
"""Per job: speech, portrait and prompt are embedded once, the video is muxed once."""
_TIMED: Final = 2
_LATENT_CHANNELS: Final = 16
_LATENT_PIXELS: Final = 8


@dataclass(frozen=True)
class Pace:
    """Seconds at one size; other sizes follow by their arithmetic.

    decode: of the frames of one chunk.
    """

    size: Size
    forward: float
    decode: float

    def seconds_per_chunk(
        self, size: Size, settings: RenderSettings, passes: int, shape: TransformerShape
    ) -> float:
        """All forwards, decoding, and encoding the frames that the next chunk starts from."""
        frames = settings.frames
        slower = (
            forward_work(size, frames, shape).total / forward_work(self.size, frames, shape).total
        )
        codec = decode_work(size, frames) + encode_work(size, settings.motion)
        per_flop = self.decode / decode_work(self.size, frames)
        return settings.steps * passes * self.forward * slower + codec * per_flop


def seconds_per_video_second(seconds_per_chunk: float, settings: RenderSettings) -> float:
    """The pace of a long video: every chunk but the first gives fewer frames than it makes."""
    return seconds_per_chunk * FPS / (settings.frames - settings.motion)


def calibrate(parts: Parts, size: Size, settings: RenderSettings, device: Device) -> Pace:
    """One forward to warm up and two that count, then one decode likewise.

    The inputs are noise: a kernel takes as long for those, and longer than for zeros.
    """
    with torch.inference_mode():
        generator = torch.Generator().manual_seed(0)
        grid = (settings.latent_frames, size.height // _LATENT_PIXELS, size.width // _LATENT_PIXELS)
        latent = torch.randn(_LATENT_CHANNELS, *grid, generator=generator).to(device.torch)
        denoiser = _conditioned(parts, latent, generator)
        voices = torch.randn(1, settings.frames, 5, 12, 768, generator=generator)
        audio = denoiser.listen(voices)
        return Pace(
            size=size,
            forward=_seconds(
                lambda: denoiser.predict(latent, 500.0, Text.PROMPT, audio), device, _TIMED
            ),
            decode=_seconds(lambda: parts.codec.decode(latent), device, 1),
        )


def _conditioned(
    parts: Parts, latent: torch.Tensor, generator: torch.Generator
) -> ConditionedDenoiser:
    mask = latent.new_ones(4, *latent.shape[1:])
    return parts.models.denoiser.condition(
        Conditions(
            prompt=torch.randn(parts.shape.text_tokens, parts.text_dim, generator=generator),
            negative=None,
            image=torch.randn(parts.shape.image_tokens, 1280, generator=generator),
            anchor=torch.cat((mask, latent)),
        )
    )


def _seconds(work: Callable[[], object], device: Device, times: int) -> float:
    """The slower of so many runs after a first one: a deadline follows from it."""
    work()
    seconds: list[float] = []
    for _ in range(times):
        device.synchronise()
        began = time.perf_counter()
        work()
        device.synchronise()
        seconds.append(time.perf_counter() - began)
    return max(seconds)
