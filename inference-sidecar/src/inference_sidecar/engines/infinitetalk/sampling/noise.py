"""The initial noise of each chunk, drawn on the CPU so that it is the same on every device."""

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
    """Draws the initial noise of each chunk."""

    def draw(self, chunk: int) -> Tensor:
        """The noise of a chunk, `[16, latent frames, H/8, W/8]` float32."""
        ...


class PerChunkNoise:
    """A generator of its own per chunk, so that any chunk can be drawn without those before it."""

    def __init__(self, seed: int, shape: tuple[int, ...]) -> None:
        self._seed = seed
        self._shape = shape

    def draw(self, chunk: int) -> Tensor:
        """See `Noise.draw`."""
        digest = hashlib.sha256(f"{self._seed}:{chunk}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))
        return torch.randn(self._shape, generator=generator, dtype=torch.float32)


class UpstreamNoise:
    """One random stream for the whole job, consumed exactly like upstream's.

    After every chunk but the first, upstream adds noise to the motion latent once, and once more
    per step, and then overwrites the result. Only the consumed random numbers matter.
    """

    def __init__(self, seed: int, shape: tuple[int, ...], settings: RenderSettings) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self._shape = shape
        motion = (shape[0], settings.motion_latent_frames, *shape[2:])
        self._discarded = (motion,) * (1 + settings.steps)
        self._next = 0

    def draw(self, chunk: int) -> Tensor:
        """See `Noise.draw`. Draws and discards skipped chunks. Raises `ValueError` for earlier
        ones."""
        if chunk < self._next:
            raise ValueError(f"The noise of chunk {chunk} was drawn before.")
        while True:
            noise = torch.randn(self._shape, generator=self._generator, dtype=torch.float32)
            if self._next > 0:
                for shape in self._discarded:
                    torch.randn(shape, generator=self._generator, dtype=torch.float32)
            self._next += 1
            if self._next > chunk:
                return noise


def make_noise(seed: int, shape: tuple[int, ...], settings: RenderSettings) -> Noise:
    """The noise source that the settings select."""
    if settings.seeds is SeedPolicy.UPSTREAM:
        return UpstreamNoise(seed, shape, settings)
    return PerChunkNoise(seed, shape)
