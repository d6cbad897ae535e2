"""Projects embedded voices to the audio tokens of each latent frame."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from inference_sidecar.engines.infinitetalk.checkpoints.tensor_source import (
    LinearFactory,
    TensorSource,
)
from inference_sidecar.engines.infinitetalk.native.config import VAE_FRAMES, DitConfig
from inference_sidecar.engines.infinitetalk.native.layers import LayerNorm

_NORM_EPSILON = 1e-5


class AudioProjection(nn.Module):
    """Projects each voice around the first frame, and around each four later frames, to tokens."""

    def __init__(self, source: TensorSource, config: DitConfig, linear: LinearFactory) -> None:
        super().__init__()
        self._tokens = config.audio_tokens
        self._middle = config.audio_window // 2
        self.first = linear(source, "audio_proj.proj1")
        self.later = linear(source, "audio_proj.proj1_vf")
        self.second = linear(source, "audio_proj.proj2")
        self.third = linear(source, "audio_proj.proj3")
        has_norm = "audio_proj.norm.weight" in source
        self.norm = (
            LayerNorm(source, "audio_proj.norm", _NORM_EPSILON) if has_norm else nn.Identity()
        )

    def forward(self, voices: Tensor) -> Tensor:
        """`[voices, frames, window, layers, width]` → `[latent frames, voices * tokens,
        audio_dim]`.

        All voices go through one product: two products of half the rows round differently.
        """
        persons = voices.shape[0]
        first = self.first(voices[:, 0].flatten(1)).relu()
        around = torch.cat([self._around_four(voice[1:]) for voice in voices])
        later = self.later(around).relu().unflatten(0, (persons, -1))
        hidden = self.second(torch.cat((first[:, None], later), dim=1).flatten(0, 1)).relu()
        tokens = self.norm(self.third(hidden).unflatten(1, (self._tokens, -1)))
        return torch.cat(tuple(tokens.unflatten(0, (persons, -1))), dim=1)

    def _around_four(self, voice: Tensor) -> Tensor:
        """The windows of four frames that share a latent frame, joined without their overlap: the
        past of the first frame, the middle of all, the future of the last."""
        groups = voice.unflatten(0, (-1, VAE_FRAMES))
        first = groups[:, 0, : self._middle + 1]
        between = groups[:, 1:-1, self._middle]
        last = groups[:, -1, self._middle :]
        return torch.cat((first, between, last), dim=1).flatten(1)
