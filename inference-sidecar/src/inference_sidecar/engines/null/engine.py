"""The `null` engine: the whole protocol, without a model and without decoding the media."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference_sidecar.engines.engine import (
    FPS,
    SIZE_CLASSES,
    UNTIMED,
    Chunk,
    Control,
    Plan,
    Readiness,
    RenderRequest,
    ResumeState,
    Size,
    fingerprint_of,
    split_frames,
)
from inference_sidecar.engines.left_out import offers_of_all, warn_of_left_out
from inference_sidecar.engines.null.busy_log import BusyLog
from inference_sidecar.engines.null.directives import Directives, parse_directives
from inference_sidecar.engines.null.settings import NullSettings
from inference_sidecar.engines.stages import LoadStages
from inference_sidecar.foundation.contracts import JobWarning
from inference_sidecar.foundation.errors import GpuOutOfMemory, NoFace, RenderFailed

_CHUNK_FRAMES: Final = 3 * FPS
_SHRINK: Final = {"720p": 10, "480p": 20, "432p": 20, "352p": 20}
"""A tenth of the delivery size, as the result shows: encoding must cost next to nothing."""
_FORWARD_SECONDS: Final = 0.02
"""How long one simulated forward pass takes; a cancellation waits no longer than this."""
_LOAD_STEPS: Final = 10
_VERSION: Final = "null-1"
_WARNINGS: Final = (JobWarning(code="ASKED_FOR", message="The prompt asked for a warning."),)


class NullEngine:
    """Draws a bar that moves one step per frame. For tests and benchmarks only."""

    name = "null"

    def __init__(self, settings: NullSettings) -> None:
        self._settings = settings
        self._busy = BusyLog(settings.null_busy_log)

    def load(self, stages: LoadStages = UNTIMED) -> Readiness:
        """Loads nothing, but takes as long as the settings say."""
        with stages.stage("weights"):
            for step in range(_LOAD_STEPS):
                time.sleep(self._settings.null_load_seconds / _LOAD_STEPS)
                stages.loading("weights", (step + 1) / _LOAD_STEPS)
        with stages.stage("engine"):
            pass
        with stages.stage("calibrate"):
            pace = self._settings.null_seconds_per_video_second
        return Readiness(
            *("cpu", "uint8", "none", 0, pace),
            size_class=SIZE_CLASSES[0],
            frames_per_chunk=_CHUNK_FRAMES,
            offers=offers_of_all(pace),
        )

    def warm_up(self) -> Iterator[None]:
        """Nothing: a first job is as fast as any other."""
        return iter(())

    def plan(self, request: RenderRequest, size_class: str | None = None) -> Plan:
        """Plans chunks of three seconds. Raises `NoFace` for `null:noface`, as others would."""
        self._busy.begin()
        directives = parse_directives(request.prompt)
        if "noface" in directives.flags:
            raise NoFace("No face was found in the image; the prompt asked for that.")
        chosen = size_class or SIZE_CLASSES[0]
        return Plan(
            generation=_shrunk(request.delivery, _SHRINK[chosen]),
            delivery=_shrunk(request.delivery, _SHRINK[SIZE_CLASSES[0]]),
            chunks=split_frames(request.frames, _CHUNK_FRAMES),
            estimated_seconds=directives.seconds,
            size_class=chosen,
            warnings=(
                *(_WARNINGS if "warn" in directives.flags else ()),
                *warn_of_left_out(self.name, request, takes_speaker=False),
            ),
            may_repeat="prepared" in directives.flags,
        )

    def render(
        self, request: RenderRequest, plan: Plan, control: Control, resume: ResumeState | None
    ) -> Iterator[Chunk]:
        """Yields the bars at the pace that the prompt asks for; failures happen half-way."""
        if resume is not None:
            resume.require(self.fingerprint(request, plan))
        with control.stage("prepare"):
            directives = parse_directives(request.prompt)
        first = resume.next_chunk if resume is not None else 0
        failing_chunk = max(first, len(plan.chunks) // 2)
        for index in range(first, len(plan.chunks)):
            control.check()
            with control.stage("chunk", chunk=index, frames=plan.chunks[index]):
                seconds = directives.seconds * plan.chunks[index] / plan.frames
                self._pass_time(seconds / 2, control)
                if index == failing_chunk:
                    _simulate_failure(directives, plan)
                self._pass_time(seconds / 2, control)
                start = sum(plan.chunks[:index])
                frames = _bars(start, plan.chunks[index], plan.generation)
            yield Chunk(index, frames, b"")
            control.progress((index + 1) / len(plan.chunks))
        self._busy.add()

    def fingerprint(self, request: RenderRequest, plan: Plan) -> str:
        """See `Engine.fingerprint`."""
        return fingerprint_of(request, plan, _VERSION)

    def _pass_time(self, seconds: float, control: Control) -> None:
        """Waits in steps of one forward pass; `control` can stop it between them."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, _FORWARD_SECONDS))
            self._busy.add()
            control.check()


def _shrunk(size: Size, divisor: int) -> Size:
    """The size divided and made even, as H.264 with 4:2:0 requires."""
    return Size(size.width // divisor // 2 * 2, size.height // divisor // 2 * 2)


def _simulate_failure(directives: Directives, plan: Plan) -> None:
    """Fails in the way that the prompt asks for, if any."""
    flags = directives.flags
    if "oom-always" in flags or ("oom" in flags and plan.size_class == SIZE_CLASSES[0]):
        raise GpuOutOfMemory("The prompt asked for it.", context={"sizeClass": plan.size_class})
    if "fail" in flags:
        raise RenderFailed("The prompt asked for it.")
    if "crash" in flags:
        os.kill(os.getpid(), signal.SIGKILL)
    while "hang" in flags:
        # Like a kernel that hangs: it never checks `control`, so only a kill from outside ends it.
        time.sleep(60)


def _bars(start: int, count: int, size: Size) -> NDArray[np.uint8]:
    """`count` frames from frame number `start`: bright bars that move two pixels per frame."""
    columns = np.arange(size.width)[None, :] - 2 * (start + np.arange(count)[:, None])
    rows = np.where(columns % size.width < size.width // 8, 220, 40).astype(np.uint8)
    # One dimension at a time: to copy a view that repeats single bytes takes 25 times as long.
    pixels = np.repeat(rows[:, :, None], 3, axis=2)
    return np.repeat(pixels[:, None], size.height, axis=1)
