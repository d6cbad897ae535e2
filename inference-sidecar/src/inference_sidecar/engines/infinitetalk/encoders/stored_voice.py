"""An embedded voice, kept in a file: 37 kB a frame would be 1.3 GB of memory for 24 minutes."""

from __future__ import annotations

import tempfile
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_NEIGHBOURS: Final = 2
"""Frames of voice on either side that a frame hears."""
_EXTRA_MIRRORED: Final = 3
"""Upstream mirrors this many frames more than the window lacks."""


def frame_indices(start: int, frames: int, available: int, *, is_last: bool) -> NDArray[np.int64]:
    """Which embedded frames each frame of a window hears, `[frames, 5]`.

    Before its beginning and beyond its end a voice goes on as its first and last frame. In the last
    window it is first extended by its own mirror image, so that lips do not freeze.
    """
    centres = np.arange(start, start + frames)[:, None]
    heard = centres + np.arange(-_NEIGHBOURS, _NEIGHBOURS + 1)
    lacking = start + frames - available
    mirrored = min(lacking + _EXTRA_MIRRORED, available) if is_last and lacking >= 0 else 0
    heard = heard.clip(0, available + mirrored - 1)
    return np.where(heard < available, heard, 2 * available - 1 - heard)


class StoredVoice:
    """`interfaces.VoiceTrack` over a temporary file that nobody else sees or must delete."""

    def __init__(self, frames: int, layers: int, width: int) -> None:
        # Windows are read from it and pages dropped as memory gets short; nothing is ever resident.
        # The mapping keeps the file alive after it is closed.
        with tempfile.TemporaryFile(prefix="voice-") as file:
            self._embedded: np.memmap[Any, np.dtype[np.float32]] = np.memmap(
                file, dtype=np.float32, mode="w+", shape=(frames, layers, width)
            )

    @property
    def frames(self) -> int:
        """See `interfaces.VoiceTrack.frames`."""
        return len(self._embedded)

    def store(self, layer: int, embedded: Tensor) -> None:
        """Keeps what one layer of the encoder says, `[frames, width]`."""
        self._embedded[:, layer] = embedded.float().cpu().numpy()

    def window(self, start: int, frames: int, *, is_last: bool) -> Tensor:
        """See `interfaces.VoiceTrack.window`."""
        heard = frame_indices(start, frames, self.frames, is_last=is_last)
        return torch.from_numpy(self._embedded[heard])
