"""The picture that each window is anchored to: a portrait, a frame of a video, a slow zoom.

A window knows what it shows from its anchor (mask and latent) and from CLIP's embedding of the same
picture; how it goes on, from the motion frames. Pictures are `[3, H, W]` in -1..1.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol

from torch import Tensor
from torch.nn import functional

from inference_sidecar.engines.engine import FPS
from inference_sidecar.engines.infinitetalk.sampling.interfaces import Listeners
from inference_sidecar.engines.infinitetalk.sampling.windows import Window

_PERIOD_FRAMES: Final = 40 * FPS
_MOST_ZOOM: Final = 1.06


class VideoEnd(StrEnum):
    """What follows where the voice outlasts the source video.

    HOLD: its last frame, like upstream. PINGPONG: it runs backwards, and forwards again.
    """

    HOLD = "hold"
    PINGPONG = "pingpong"


class Anchor(NamedTuple):
    """What a window shows.

    is_new: it is another picture than that of the window before; the first one is new.
    listeners: who is where in it, if not where the job says.
    """

    picture: Tensor
    is_new: bool
    listeners: Listeners | None = None


class Anchors(Protocol):
    """Gives each window its picture. One object serves one render, its windows in order."""

    def at(self, window: Window) -> Anchor:
        """The picture of a window."""
        ...


class StillAnchor:
    """One picture for all windows."""

    def __init__(self, portrait: Tensor) -> None:
        self._portrait = portrait
        self._is_given = False

    def at(self, window: Window) -> Anchor:
        """See `Anchors.at`."""
        del window
        is_new, self._is_given = not self._is_given, True
        return Anchor(self._portrait, is_new)


class VideoAnchors:
    """The frame of a video, 25 a second, at which a window starts.

    frame: the picture with this index. length: frames of the video, at least one. listeners: who is
    where, by the index of the picture; in the others, where the job says.
    """

    def __init__(
        self,
        frame: Callable[[int], Tensor],
        length: int,
        end: VideoEnd = VideoEnd.HOLD,
        listeners: Mapping[int, Listeners] = MappingProxyType({}),
    ) -> None:
        self._frame = frame
        self._length = length
        self._end = end
        self._listeners = listeners
        self._last: int | None = None

    def at(self, window: Window) -> Anchor:
        """See `Anchors.at`."""
        index = source_index(window.start, self._length, self._end)
        is_new, self._last = index != self._last, index
        return Anchor(self._frame(index), is_new, self._listeners.get(index))


class MovingAnchor:
    """A slow zoom into the portrait and out again, for videos in which a still one drifts.

    Upstream's own advice for videos of more than a minute. Whether 6 % in 40 s is right is
    unproven.
    """

    def __init__(self, portrait: Tensor) -> None:
        self._portrait = portrait

    def at(self, window: Window) -> Anchor:
        """See `Anchors.at`."""
        return Anchor(zoomed(self._portrait, zoom_at(window.start)), is_new=True)


def source_index(frame: int, length: int, end: VideoEnd) -> int:
    """The frame of a video of this length that is shown at a frame of the render."""
    if frame < length:
        return frame
    if end is VideoEnd.HOLD or length == 1:
        return length - 1
    there_and_back = 2 * (length - 1)
    place = frame % there_and_back
    return place if place < length else there_and_back - place


def cuts_shown(cuts: Sequence[int], frames: int, length: int, end: VideoEnd) -> tuple[int, ...]:
    """Where a render of so many frames shows the cuts of a video of this length: a video that runs
    backwards shows them again. Cuts are the first frames of scenes."""
    scenes = [bisect_right(cuts, source_index(frame, length, end)) for frame in range(frames)]
    return tuple(at for at in range(1, frames) if scenes[at] != scenes[at - 1])


def zoom_at(frame: int) -> float:
    """1 at the first frame, the largest half a period later."""
    return 1 + (_MOST_ZOOM - 1) * (1 - math.cos(2 * math.pi * frame / _PERIOD_FRAMES)) / 2


def zoomed(picture: Tensor, zoom: float) -> Tensor:
    """The middle of a picture, enlarged to its size."""
    _, height, width = picture.shape
    theta = picture.new_tensor([[1 / zoom, 0, 0], [0, 1 / zoom, 0]])[None]
    grid = functional.affine_grid(theta, [1, 3, height, width], align_corners=False)
    enlarged = functional.grid_sample(
        picture[None], grid, mode="bicubic", padding_mode="border", align_corners=False
    )
    return enlarged[0].clamp(-1, 1)
