"""Where a chunk's noise comes from. Drawn on the CPU: the same on every device."""

from __future__ import annotations

import hashlib
from typing import Protocol

import torch
from torch import Tensor

from inference_sidecar.engines.infinitetalk.sampling.render_settings import (
    RenderSettings,
    SeedPolicy,
)


class Noise(Protocol):
    """Gives each chunk its noise."""

    def draw(self, chunk: int) -> Tensor:
        """The noise of a chunk, `[16, latent frames, H/8, W/8]` float32."""
        ...


class PerChunkNoise:
    """A generator of its own for every chunk: any chunk can be drawn without those before it."""

    def __init__(self, seed: int, shape: tuple[int, ...]) -> None:
        self._seed = seed
        self._shape = shape

    def draw(self, chunk: int) -> Tensor:
        """See `Noise.draw`."""
        digest = hashlib.sha256(f"{self._seed}:{chunk}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))
        return torch.randn(self._shape, generator=generator, dtype=torch.float32)


class UpstreamNoise:
    """One stream for the job, consumed as upstream consumes it.

    After every chunk but the first, upstream noises the motion latent once and once more per step,
    then overwrites the result: only the random numbers are used up.
    """

    def __init__(self, seed: int, shape: tuple[int, ...], settings: RenderSettings) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self._shape = shape
        motion = (shape[0], settings.motion_latent_frames, *shape[2:])
        self._wasted = (motion,) * (1 + settings.steps)
        self._next = 0

    def draw(self, chunk: int) -> Tensor:
        """See `Noise.draw`; chunks that were skipped are drawn and thrown away."""
        if chunk < self._next:
            raise ValueError(f"The noise of chunk {chunk} has been drawn already.")
        while True:
            noise = torch.randn(self._shape, generator=self._generator, dtype=torch.float32)
            if self._next > 0:
                for shape in self._wasted:
                    torch.randn(shape, generator=self._generator, dtype=torch.float32)
            self._next += 1
            if self._next > chunk:
                return noise


def make_noise(seed: int, shape: tuple[int, ...], settings: RenderSettings) -> Noise:
    """The noise that the settings ask for."""
    if settings.seeds is SeedPolicy.UPSTREAM:
        return UpstreamNoise(seed, shape, settings)
    return PerChunkNoise(seed, shape)
