"""Divides a video into windows. No torch: the engine plans with it.

The first window of a scene delivers all its frames. Every later one starts from the last `motion`
frames of the window before, which are dropped from its output. The last window of a scene is
computed in full and then cut. A portrait is one scene.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from inference_sidecar.engines.engine import FPS
from inference_sidecar.engines.infinitetalk.sampling.render_settings import RenderSettings

_MOST_EXTRA_WINDOWS: Final = 2


@dataclass(frozen=True)
class Window:
    """One window of the model.

    start: index of its first frame in the video; its audio starts there too.
    drop: leading frames that the window before has already delivered; 0 where a scene begins.
    keep: frames delivered after those.
    is_last: the window reaches beyond the end of the audio, which goes on as `VoiceEnds` say.
    """

    index: int
    start: int
    drop: int
    keep: int
    is_last: bool

    @property
    def is_first_of_scene(self) -> bool:
        """Whether nothing comes from the window before."""
        return self.drop == 0


def plan_windows(
    frames: int, settings: RenderSettings, cuts: Sequence[int] = ()
) -> tuple[Window, ...]:
    """The windows of a video of `frames` frames; a single one for each scene that fits into it.

    cuts: the first frame of each scene but the first, ascending. Upstream refuses a voice that is
    not longer than a window, and always renders at least two windows.
    """
    if frames < 1:
        raise ValueError(f"A video has at least one frame, not {frames}.")
    windows: list[Window] = []
    for begin, end in pairwise((0, *cuts, frames)):
        if end <= begin:
            raise ValueError(f"Cuts are ascending frames of the video, not {list(cuts)}.")
        for nth in range(count_windows(end - begin, settings)):
            start = begin + nth * (settings.frames - settings.motion)
            drop = settings.motion if nth else 0
            keep = min(settings.frames, end - start) - drop
            # What a window looks at may end after the voice, although another scene follows.
            is_last = start + drop + keep == frames or start + settings.frames > frames
            windows.append(Window(len(windows), start, drop, keep, is_last))
    return tuple(windows)


def count_windows(frames: int, settings: RenderSettings) -> int:
    """Of one scene of so many frames."""
    return 1 + -(-max(0, frames - settings.frames) // (settings.frames - settings.motion))


def usable_cuts(cuts: Sequence[int], frames: int, settings: RenderSettings) -> tuple[int, ...]:
    """The cuts at which windows of their own begin.

    Scenes of less than a second are joined to the one before. A cut costs a part of a window, and
    what a client was told counts none: where they would cost more than a third of the windows (but
    two are always allowed), the shortest scenes are joined first.
    """
    kept: list[int] = []
    for cut in cuts:
        if cut - (kept[-1] if kept else 0) >= FPS and frames - cut >= FPS:
            kept.append(cut)
    usual = count_windows(frames, settings)
    allowed = usual + max(_MOST_EXTRA_WINDOWS, usual // 3)
    while kept and len(plan_windows(frames, settings, kept)) > allowed:
        lengths = [after - before for before, after in pairwise((0, *kept, frames))]
        shortest = min(range(len(lengths)), key=lengths.__getitem__)
        del kept[max(0, shortest - 1)]
    return tuple(kept)
