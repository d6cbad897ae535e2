"""The sizes of the models: one set for tests, and that of the published weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class TinySizes:
    """Sizes of the models. The number of heads is even, because upstream halves it.

    dim: with a head width of 12, a wrong base of the rotary embedding would hardly show.
    """

    dim: int = 48
    heads: int = 2
    layers: int = 2
    ffn: int = 32
    frequency_dim: int = 16
    text_tokens: int = 80
    text_dim: int = 32
    text_heads: int = 4
    text_layers: int = 2
    text_hidden: int = 48
    text_vocabulary: int = 448
    audio_hidden: int = 8
    audio_dim: int = 16
    audio_tokens: int = 4
    image_layers: int = 3
    image_hidden: int = 128
    codec_width: int = 4
    voice_hidden: int = 32
    epsilon: float = 1e-6


PUBLISHED: Final = TinySizes(
    dim=5120,
    heads=40,
    layers=40,
    ffn=13824,
    frequency_dim=256,
    text_tokens=512,
    text_dim=4096,
    text_heads=64,
    text_layers=24,
    text_hidden=10240,
    text_vocabulary=256384,
    audio_hidden=512,
    audio_dim=768,
    audio_tokens=32,
    image_layers=32,
    image_hidden=5120,
    codec_width=96,
)
"""The sizes of the published weights, to check names and shapes without them."""

Shapes = dict[str, tuple[int, ...]]
"""Shapes of tensors by published name."""
