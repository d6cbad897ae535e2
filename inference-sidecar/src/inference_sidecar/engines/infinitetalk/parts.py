"""Everything a loaded engine renders with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from inference_sidecar.engines.infinitetalk.driver import Models
from inference_sidecar.engines.infinitetalk.interfaces import TextEncoder, VideoCodec, VoiceEncoder
from inference_sidecar.engines.infinitetalk.work import TransformerShape


class TilingCodec(VideoCodec, Protocol):
    """A video codec that can trade time for memory from one render to the next."""

    @property
    def is_tiled(self) -> bool:
        """Whether it works on overlapping squares."""
        ...

    @is_tiled.setter
    def is_tiled(self, wanted: bool) -> None: ...


@dataclass(frozen=True)
class Parts:
    """What `load_parts` makes.

    precision, attention, small_ops: what is really used, as the result says it.
    weights: names these very weights, for fingerprints.
    codec: the one in `models`, as the memory plan sees it; codec_bytes_per_value: 2 or 4.
    forward_memory: how much more a forward allocates than ours would.
    """

    models: Models
    codec: TilingCodec
    text: TextEncoder
    voice: VoiceEncoder
    shape: TransformerShape
    text_dim: int
    precision: str
    attention: str
    small_ops: str
    weights: str
    codec_bytes_per_value: int
    forward_memory: float = 1.0
