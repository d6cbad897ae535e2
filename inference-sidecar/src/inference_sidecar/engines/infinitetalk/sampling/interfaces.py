"""The protocols of the models that the chunk loop drives, and of the encoders before it.

`native` and `encoders` implement them for the product; `upstream` and `upstream_checks` wrap
upstream's classes. Tensors have no batch dimension. Latents, pixels and embeddings are float32 at
these interfaces unless stated otherwise; a model may compute in another dtype internally. Pixels
are RGB in -1..1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from inference_sidecar.engines.infinitetalk.sampling.render_settings import VoiceEnds

AS_UPSTREAM: Final = VoiceEnds()
"""No silence around a voice, and its mirror image after it."""
SAMPLE_RATE: Final = 16_000
"""Of the mono audio that a voice encoder takes, in Hz."""


class Text(Enum):
    """Which of the two prompts a forward sees."""

    PROMPT = auto()
    NEGATIVE = auto()


@dataclass(frozen=True)
class Listeners:
    """Which pixels hear which of two voices.

    masks: the pixels of each person, `[persons + 1, H/8, W/8]`, 0 or 1, with the background last.
    Every person has at least one token.
    is_gated: the pixels of the first person hear the first voice and all others the second, which
    weights for a single voice can do too; otherwise each token hears the person that it looks at.
    """

    masks: Tensor
    is_gated: bool = False


@dataclass(frozen=True)
class Conditions:
    """The conditioning that is constant during a job.

    prompt, negative: text embeddings `[tokens, text_dim]`, unpadded. The negative may be None if
    guidance does not use it.
    image: the image encoder's embedding of the portrait, `[257, 1280]`.
    anchor: mask and latent of the portrait, `[4 + 16, latent frames, H/8, W/8]`.
    listeners: who hears which of two voices; None for one voice, which all pixels hear.
    strength: of what the voice adds; 1 is as the weights were trained, 0 as if there were none.
    """

    prompt: Tensor
    negative: Tensor | None
    image: Tensor
    anchor: Tensor
    listeners: Listeners | None = None
    strength: float = 1.0


class ConditionedDenoiser(Protocol):
    """A denoiser with everything precomputed that depends only on a job's conditions."""

    def embed_audio(self, voices: Tensor) -> Tensor:
        """Audio tokens of a window's voices, `[persons, frames, 5, 12, 768]`; once per chunk.

        With one voice, all tokens hear it, whoever the listeners are.
        """
        ...

    def anchored(
        self, image: Tensor, anchor: Tensor, listeners: Listeners | None
    ) -> ConditionedDenoiser:
        """The same job with another picture; see `Conditions`. What depends on the prompts alone
        is kept."""
        ...

    def predict(self, latent: Tensor, timestep: float, text: Text, audio: Tensor) -> Tensor:
        """One forward: the velocity at `timestep` (1000 is pure noise), shaped like `latent`."""
        ...


class Denoiser(Protocol):
    """The diffusion transformer."""

    def condition(self, conditions: Conditions) -> ConditionedDenoiser:
        """Prepares a job. Its caches live as long as the result."""
        ...


class VideoCodec(Protocol):
    """The video autoencoder: 4 frames per latent frame, 8x8 pixels per latent pixel."""

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
    """The prompt encoder; its results depend on the text alone and may be cached."""

    def embed(self, texts: Sequence[str]) -> list[Tensor]:
        """One `[tokens, text_dim]` per text, unpadded."""
        ...


class VoiceTrack(Protocol):
    """The embedded voice of one person, one entry per video frame."""

    @property
    def frames(self) -> int:
        """Length of the voice in video frames, with the silence around it."""
        ...

    def window(self, start: int, frames: int, *, is_last: bool) -> Tensor:
        """`[frames, 5, 12, 768]`: each frame with the two before and the two after it.

        is_last: continues the voice beyond its end, as its `VoiceEnds` say, instead of repeating
        its last frame.
        """
        ...


class VoiceEncoder(Protocol):
    """The speech encoder."""

    def embed(
        self, samples: NDArray[np.floating], frames: int, ends: VoiceEnds = AS_UPSTREAM
    ) -> VoiceTrack:
        """Embeds a whole mono voice at `SAMPLE_RATE`. Its attention is global, so the voice cannot
        be embedded in pieces, and silence is joined to what is embedded, not to the samples."""
        ...

    def silent(self, frames: int) -> VoiceTrack:
        """A voice that says nothing: silence, embedded once per process."""
        ...
