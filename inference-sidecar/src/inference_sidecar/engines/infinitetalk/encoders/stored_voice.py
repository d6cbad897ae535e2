"""An embedded voice in a temporary file: at 37 kB per frame, 24 minutes would take 1.3 GB of
memory."""

from __future__ import annotations

import tempfile
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_NEIGHBOURS: Final = 2
"""Embeddings on either side of a frame that condition it."""
_EXTRA_MIRRORED: Final = 3
"""Upstream mirrors this many frames more than the window is short of."""


def frame_indices(start: int, frames: int, available: int, *, is_last: bool) -> NDArray[np.int64]:
    """The indices of the embeddings that condition each frame of a window, `[frames, 5]`.

    Before its start and beyond its end, the first and the last frame of a voice are repeated. In
    the last window the voice is first extended by its mirror image, so that lips do not freeze.
    """
    centres = np.arange(start, start + frames)[:, None]
    indices = centres + np.arange(-_NEIGHBOURS, _NEIGHBOURS + 1)
    missing = start + frames - available
    mirrored = min(missing + _EXTRA_MIRRORED, available) if is_last and missing >= 0 else 0
    indices = indices.clip(0, available + mirrored - 1)
    return np.where(indices < available, indices, 2 * available - 1 - indices)


class StoredVoice:
    """`interfaces.VoiceTrack` over an unnamed temporary file, which vanishes with the process."""

    def __init__(self, frames: int, layers: int, width: int) -> None:
        # The kernel can drop the pages when memory is short. The mapping keeps the file alive after
        # it is closed.
        with tempfile.TemporaryFile(prefix="voice-") as file:
            self._embedded: np.memmap[Any, np.dtype[np.float32]] = np.memmap(
                file, dtype=np.float32, mode="w+", shape=(frames, layers, width)
            )

    @property
    def frames(self) -> int:
        """See `interfaces.VoiceTrack.frames`."""
        return len(self._embedded)

    def store(self, layer: int, embedded: Tensor) -> None:
        """Stores the hidden states of one layer of the encoder, `[frames, width]`."""
        self._embedded[:, layer] = embedded.float().cpu().numpy()

    def window(self, start: int, frames: int, *, is_last: bool) -> Tensor:
        """See `interfaces.VoiceTrack.window`."""
        indices = frame_indices(start, frames, self.frames, is_last=is_last)
        return torch.from_numpy(self._embedded[indices])
