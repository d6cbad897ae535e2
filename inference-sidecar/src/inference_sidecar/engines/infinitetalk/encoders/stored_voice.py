"""An embedded voice in a temporary file: at 37 kB per frame, 24 minutes would take 1.3 GB of
memory."""

from __future__ import annotations

import tempfile
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inference_sidecar.engines.infinitetalk.sampling.interfaces import AS_UPSTREAM
from inference_sidecar.engines.infinitetalk.sampling.render_settings import Tail, VoiceEnds

_NEIGHBOURS: Final = 2
"""Embeddings on either side of a frame that condition it."""
_EXTRA_MIRRORED: Final = 3
"""Upstream mirrors this many frames more than the window is short of."""


def frame_indices(
    start: int, frames: int, available: int, *, is_last: bool, tail: Tail = Tail.MIRROR
) -> NDArray[np.int64]:
    """The indices of the embeddings that condition each frame of a window, `[frames, 5]`.

    Before its start and beyond its end, the first and the last frame of a voice are repeated. In
    the last window the voice goes on first, so that lips do not freeze: with its mirror image, or
    with silence, whose indices are `available` and more.
    """
    centres = np.arange(start, start + frames)[:, None]
    indices = (centres + np.arange(-_NEIGHBOURS, _NEIGHBOURS + 1)).clip(min=0)
    if is_last and tail is Tail.SILENCE:
        return indices
    missing = start + frames - available
    mirrored = min(missing + _EXTRA_MIRRORED, available) if is_last and missing >= 0 else 0
    indices = indices.clip(0, available + mirrored - 1)
    return np.where(indices < available, indices, 2 * available - 1 - indices)


class StoredVoice:
    """`interfaces.VoiceTrack` over an unnamed temporary file, which vanishes with the process.

    frames: of the voice alone. silence: embedded silence, `[frames, layers, width]`, which is
    repeated; needed unless `ends` are upstream's.
    """

    def __init__(
        self,
        frames: int,
        layers: int,
        width: int,
        ends: VoiceEnds = AS_UPSTREAM,
        silence: Tensor | None = None,
    ) -> None:
        if silence is None and ends != AS_UPSTREAM:
            raise ValueError("A voice that ends in silence needs the embedding of silence.")
        self._ends = ends
        self._silence = None if silence is None else silence.float().cpu().numpy()
        # The kernel can drop the pages when memory is short. The mapping keeps the file alive after
        # it is closed.
        with tempfile.TemporaryFile(prefix="voice-") as file:
            self._embedded: np.memmap[Any, np.dtype[np.float32]] = np.memmap(
                file, dtype=np.float32, mode="w+", shape=(frames, layers, width)
            )

    @property
    def frames(self) -> int:
        """See `interfaces.VoiceTrack.frames`."""
        return self._ends.lead_frames + len(self._embedded) + self._ends.tail_frames

    def store(self, layer: int, embedded: Tensor) -> None:
        """Stores the hidden states of one layer of the encoder, `[frames, width]`."""
        self._embedded[:, layer] = embedded.float().cpu().numpy()

    def window(self, start: int, frames: int, *, is_last: bool) -> Tensor:
        """See `interfaces.VoiceTrack.window`."""
        tail = self._ends.tail
        indices = frame_indices(start, frames, self.frames, is_last=is_last, tail=tail)
        positions = indices - self._ends.lead_frames
        is_heard = (positions >= 0) & (positions < len(self._embedded))
        for first, end in self._ends.pauses:
            is_heard &= (positions < first) | (positions >= end)
        heard = self._embedded[np.where(is_heard, positions, 0)]
        if self._silence is not None:
            silent = positions[~is_heard] % len(self._silence)
            heard[~is_heard] = self._silence[silent]
        return torch.from_numpy(heard)


class SilentVoice:
    """`interfaces.VoiceTrack` of someone who says nothing. silence: embedded, repeated."""

    def __init__(self, silence: Tensor, frames: int) -> None:
        self._silence = silence.float().cpu()
        self._frames = frames

    @property
    def frames(self) -> int:
        """See `interfaces.VoiceTrack.frames`."""
        return self._frames

    def window(self, start: int, frames: int, *, is_last: bool) -> Tensor:
        """See `interfaces.VoiceTrack.window`."""
        del is_last
        centres = torch.arange(start, start + frames)[:, None]
        around = centres + torch.arange(-_NEIGHBOURS, _NEIGHBOURS + 1)
        return self._silence[around % len(self._silence)]
