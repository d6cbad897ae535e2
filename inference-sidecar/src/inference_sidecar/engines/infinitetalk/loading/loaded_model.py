"""Everything that a loaded engine renders with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from inference_sidecar.engines.engine import Size
from inference_sidecar.engines.infinitetalk.capacity.flops import TransformerShape
from inference_sidecar.engines.infinitetalk.recipes import Recipe
from inference_sidecar.engines.infinitetalk.sampling.chunk_loop import Models
from inference_sidecar.engines.infinitetalk.sampling.interfaces import (
    TextEncoder,
    VideoCodec,
    VoiceEncoder,
)
from inference_sidecar.engines.infinitetalk.sampling.render_settings import RenderSettings


class TilingCodec(VideoCodec, Protocol):
    """A video codec that can trade time for memory from one render to the next."""

    @property
    def is_tiled(self) -> bool:
        """Whether it works on overlapping tiles."""
        ...

    @is_tiled.setter
    def is_tiled(self, wanted: bool) -> None: ...


@dataclass(frozen=True)
class LoadedModel:
    """The result of `load_model`.

    precision, attention, block_ops: what is really used, as readiness reports it.
    weights: fingerprint of the transformer's weights. recipe: how they are to be sampled.
    audio_branch: precision of the layers that hear the voice.
    touch: has the device prepare for a size, within a second; None where nothing is to be prepared.
    codec: the one in `models`, with its tiling switch; codec_bytes_per_value: 2 or 4.
    has_multi: whether two people can speak. is_native: whether the transformer is ours, which can
    gate a voice and scale what it adds.
    forward_memory: memory of one forward relative to the native transformer's.
    """

    models: Models
    codec: TilingCodec
    text: TextEncoder
    voice: VoiceEncoder
    shape: TransformerShape
    text_dim: int
    precision: str
    attention: str
    block_ops: str
    weights: str
    recipe: Recipe
    codec_bytes_per_value: int
    forward_memory: float = 1.0
    audio_branch: str = ""
    touch: Callable[[Size, RenderSettings], None] | None = None
    has_multi: bool = False
    is_native: bool = True
