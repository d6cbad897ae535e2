"""The sizes of a transformer, read from its tensors; only what they cannot say, from its config."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from inference_sidecar.engines.infinitetalk.checkpoints.tensor_source import (
    TensorSource,
    count_layers,
)

AUDIO_LAYERS: Final = 12
AUDIO_WIDTH: Final = 768
"""What the voice encoder gives per frame; fixed by upstream."""
VAE_FRAMES: Final = 4
"""Video frames in a latent frame."""


@dataclass(frozen=True)
class DitConfig:
    """Everything that decides the shapes of a forward.

    audio_window: frames of voice around each frame, itself in the middle.
    audio_tokens: audio tokens per latent frame.
    """

    dim: int
    ffn_dim: int
    heads: int
    layers: int
    frequency_dim: int
    text_dim: int
    text_tokens: int
    patch: tuple[int, int, int]
    out_channels: int
    audio_window: int
    audio_tokens: int
    audio_dim: int
    epsilon: float

    @property
    def head_dim(self) -> int:
        """Width of one head; even, because rotary embedding rotates pairs."""
        return self.dim // self.heads

    @classmethod
    def of(cls, source: TensorSource, config: Mapping[str, object]) -> DitConfig:
        """Sizes from the tensors; heads, epsilon and text length from `config.json`."""
        dim, _, *patch = source.peek_shape("patch_embedding.weight")
        heads = _integer(config, "num_heads")
        if dim % heads or (dim // heads) % 2:
            raise ValueError(f"{heads} heads do not divide a width of {dim} into even parts.")
        head_rows, _ = source.peek_shape("head.head.weight")
        _, audio_inputs = source.peek_shape("audio_proj.proj1.weight")
        _, audio_dim = source.peek_shape("blocks.0.audio_cross_attn.kv_linear.weight")
        token_rows, _ = source.peek_shape("audio_proj.proj3.weight")
        return cls(
            dim=dim,
            ffn_dim=source.peek_shape("blocks.0.ffn.0.weight")[0],
            heads=heads,
            layers=count_layers(source, "blocks.{}.modulation"),
            frequency_dim=source.peek_shape("time_embedding.0.weight")[1],
            text_dim=source.peek_shape("text_embedding.0.weight")[1],
            text_tokens=_integer(config, "text_len", 512),
            patch=(patch[0], patch[1], patch[2]),
            out_channels=head_rows // math.prod(patch),
            audio_window=audio_inputs // (AUDIO_LAYERS * AUDIO_WIDTH),
            audio_tokens=token_rows // audio_dim,
            audio_dim=audio_dim,
            epsilon=_number(config, "eps", 1e-6),
        )


def _integer(config: Mapping[str, object], key: str, default: int | None = None) -> int:
    value = config.get(key, default)
    if not isinstance(value, int):
        raise TypeError(f"The transformer's config.json must say {key} as a whole number.")
    return value


def _number(config: Mapping[str, object], key: str, default: float) -> float:
    value = config.get(key, default)
    if not isinstance(value, int | float):
        raise TypeError(f"The transformer's config.json says {key}, but not as a number.")
    return float(value)
