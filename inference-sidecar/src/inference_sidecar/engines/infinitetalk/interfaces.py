"""What the chunk loop needs of the models, as small protocols.

Two sets of parts implement them: `native` with `encoders` (the product), and `reference` (the
classes of upstream). Tensors have no batch dimension. Latents, pixels and embeddings travel in
float32 unless said otherwise; how a part computes inside is its own business. Pixels are RGB in
-1..1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


class Text(Enum):
    """Which of the two prompts a forward sees."""

    PROMPT = auto()
    NEGATIVE = auto()


@dataclass(frozen=True)
class Conditions:
    """What stays the same during a job.

    prompt, negative: text embeddings `[tokens, text_dim]`, unpadded. No negative is needed where
    guidance never asks for it.
    image: what the image encoder said of the portrait, `[257, 1280]`.
    anchor: mask and latent of the portrait, `[4 + 16, latent frames, H/8, W/8]`.
    person_masks: which pixels belong to whom, `[persons + 1, H/8, W/8]` with the background last;
    None with one person, to whom everything belongs.
    """

    prompt: Tensor
    negative: Tensor | None
    image: Tensor
    anchor: Tensor
    person_masks: Tensor | None = None


class ConditionedDenoiser(Protocol):
    """A denoiser that has made everything it can from a job's conditions, once."""

    def listen(self, voices: Tensor) -> Tensor:
        """Audio tokens of a window's voices, `[persons, frames, 5, 12, 768]`; once a chunk."""
        ...

    def predict(self, latent: Tensor, timestep: float, text: Text, audio: Tensor) -> Tensor:
        """One forward: the velocity at `timestep` (1000 is pure noise), shaped like `latent`."""
        ...


class Denoiser(Protocol):
    """The diffusion transformer."""

    def condition(self, conditions: Conditions) -> ConditionedDenoiser:
        """Prepares a job. What it caches lives as long as the result."""
        ...


class VideoCodec(Protocol):
    """The video autoencoder: four frames to one latent frame, eight pixels to one in each side."""

    def encode(self, frames: Tensor) -> Tensor:
        """`[3, T, H, W]` → normalised latents `[16, 1 + (T - 1) // 4, H/8, W/8]`."""
        ...

    def decode(self, latent: Tensor) -> Tensor:
        """Normalised latents → `[3, T, H, W]`, clamped to -1..1."""
        ...


class ImageEncoder(Protocol):
    """The image half of CLIP."""

    def embed(self, image: Tensor) -> Tensor:
        """`[3, H, W]` → `[257, 1280]`."""
        ...


class TextEncoder(Protocol):
    """The prompt encoder; its results depend on nothing else and may be kept."""

    def embed(self, texts: Sequence[str]) -> list[Tensor]:
        """One `[tokens, text_dim]` per text, unpadded."""
        ...


class VoiceTrack(Protocol):
    """The embedded voice of one person, one entry per video frame."""

    @property
    def frames(self) -> int:
        """How many video frames the voice lasts."""
        ...

    def window(self, start: int, frames: int, *, is_last: bool) -> Tensor:
        """`[frames, 5, 12, 768]`: each frame with the two before and after it.

        is_last: beyond its end the voice goes on as its own mirror image, not as its last frame.
        """
        ...


class VoiceEncoder(Protocol):
    """The speech encoder."""

    def embed(self, samples: NDArray[np.floating], frames: int) -> VoiceTrack:
        """Embeds a whole voice at 16 kHz, mono. Attention is global: pieces would not do."""
        ...
