"""Divides a video into windows. No torch: the engine plans with it.

The first window delivers all its frames. Every later one starts from the last `motion` frames of
the window before, which are dropped from its output. The last window is computed in full and then
cut.
"""

from __future__ import annotations

from dataclasses import dataclass

from inference_sidecar.engines.infinitetalk.sampling.render_settings import RenderSettings


@dataclass(frozen=True)
class Window:
    """One window of the model.

    start: index of its first frame in the video; its audio starts there too.
    drop: leading frames that the window before has already delivered.
    keep: frames delivered after those.
    is_last: the window reaches beyond the end of the audio, which goes on as `VoiceEnds` say.
    """

    index: int
    start: int
    drop: int
    keep: int
    is_last: bool


def plan_windows(frames: int, settings: RenderSettings) -> tuple[Window, ...]:
    """The windows of a video of `frames` frames; a single one if they fit into it.

    Upstream refuses a voice that is not longer than a window, and always renders at least two
    windows.
    """
    if frames < 1:
        raise ValueError(f"A video has at least one frame, not {frames}.")
    stride = settings.frames - settings.motion
    more = -(-max(0, frames - settings.frames) // stride)
    windows = [Window(0, 0, 0, min(frames, settings.frames), more == 0)]
    for index in range(1, more + 1):
        start = index * stride
        keep = min(frames - start, settings.frames) - settings.motion
        windows.append(Window(index, start, settings.motion, keep, index == more))
    return tuple(windows)
