"""Which frames of the video each window makes. No torch: the engine plans with it.

The first window makes all its frames; every later one starts from the last `motion` frames of the
window before, which are dropped from its output. The last window is computed in full and cut.
"""

from __future__ import annotations

from dataclasses import dataclass

from inference_sidecar.engines.infinitetalk.sampling.render_settings import RenderSettings


@dataclass(frozen=True)
class Window:
    """One turn of the model.

    start: number of its first frame in the video; its audio starts there too.
    drop: leading frames that the window before has already delivered.
    keep: frames delivered after those.
    is_last: the audio is extended by its own mirror image, for the window looks beyond its end.
    """

    index: int
    start: int
    drop: int
    keep: int
    is_last: bool


def plan_windows(frames: int, settings: RenderSettings) -> tuple[Window, ...]:
    """The windows of a video of `frames` frames; one window if they fit into it.

    A voice shorter than a window must be padded with silence to the window's length by whoever
    embeds it. Upstream refuses such a voice, and always adds a second window to one that is longer.
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
