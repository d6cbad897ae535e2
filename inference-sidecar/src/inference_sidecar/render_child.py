"""The render process: loads its engine once, renders one job after the other, dies with its parent.

Started by `render_process.py` as `python -m inference_sidecar.render_child ENGINE DESCRIPTOR`.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from queue import Queue
from typing import Any, Final

from inference_sidecar.encoder import EncodedVideo, Encoder, find_ffmpeg
from inference_sidecar.engine import Engine, Plan, RenderRequest, next_smaller
from inference_sidecar.engines import load_engine
from inference_sidecar.errors import Cancelled, GpuOutOfMemory, SidecarError
from inference_sidecar.render_protocol import Lines, RenderResult, request_from_json

_PROGRESS_EVERY_SECONDS: Final = 0.1


class _Control:
    """Lets an engine be stopped, and reports how far it is, not too often."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._cancelled = threading.Event()
        self._reported_at = 0.0
        self._fraction = 0.0

    def cancel(self) -> None:
        self._cancelled.set()

    def check(self) -> None:
        if self._cancelled.is_set():
            raise Cancelled

    def progress(self, fraction: float) -> None:
        self._fraction = max(self._fraction, fraction)
        now = time.monotonic()
        if now - self._reported_at >= _PROGRESS_EVERY_SECONDS:
            self._reported_at = now
            self._lines.send("progress", fraction=self._fraction)


def main() -> None:
    """Renders what the parent orders until the pipe ends."""
    engine_name, descriptor = sys.argv[1], int(sys.argv[2])
    lines = Lines(descriptor)
    orders: Queue[dict[str, Any]] = Queue()
    current: list[_Control] = []
    threading.Thread(target=_listen, args=(lines, orders, current), daemon=True).start()

    engine = load_engine(engine_name)
    readiness = engine.load()
    ffmpeg = find_ffmpeg(os.environ.get("FFMPEG_PATH"))
    lines.send("ready", **asdict(readiness))
    while True:
        order = orders.get()
        control = _Control(lines)
        current[:] = [control]
        _answer(lines, engine, order, control, ffmpeg)
        current.clear()


def _listen(lines: Lines, orders: Queue[dict[str, Any]], current: list[_Control]) -> None:
    """Reads orders beside the render, so that a cancel arrives while it runs."""
    while (message := lines.receive()) is not None:
        if message["kind"] == "render":
            orders.put(message)
        else:
            for control in list(current):
                control.cancel()
    # The parent is gone. A render may be deep inside a kernel, so nothing is asked of it.
    os._exit(0)


def _answer(
    lines: Lines, engine: Engine, order: dict[str, Any], control: _Control, ffmpeg: Path
) -> None:
    """Renders one order and says how it ended; no failure of a render ends the process."""
    try:
        request, output = request_from_json(order)
        result = _render(lines, engine, request, output, control, ffmpeg)
    except Cancelled:
        lines.send("cancelled")
    except SidecarError as error:
        lines.send("failed", code=error.code, message=str(error), context=error.context)
    except Exception as error:  # noqa: BLE001 - whatever an engine throws is a failed render
        lines.send("failed", code="RENDER_FAILED", message=repr(error), context={})
    else:
        lines.send("done", **asdict(result))


def _render(
    lines: Lines,
    engine: Engine,
    request: RenderRequest,
    output: Path,
    control: _Control,
    ffmpeg: Path,
) -> RenderResult:
    plan = engine.plan(request)
    started_at_ms = time.time_ns() // 1_000_000
    lines.send("started", estimated_seconds=plan.estimated_seconds)
    degraded = False
    try:
        video = _encode(engine, request, plan, output, control, ffmpeg)
    except GpuOutOfMemory:
        smaller = next_smaller(plan.size_class)
        if smaller is None:
            raise
        plan = engine.plan(request, smaller)
        degraded = True
        video = _encode(engine, request, plan, output, control, ffmpeg)
    return RenderResult(
        path=str(video.path),
        width=video.width,
        height=video.height,
        frames=video.frames,
        bytes=video.bytes,
        generation=(plan.generation.width, plan.generation.height),
        degraded=degraded,
        started_at_ms=started_at_ms,
        ended_at_ms=time.time_ns() // 1_000_000,
    )


def _encode(
    engine: Engine,
    request: RenderRequest,
    plan: Plan,
    output: Path,
    control: _Control,
    ffmpeg: Path,
) -> EncodedVideo:
    with Encoder(output, request.audio, plan, ffmpeg=ffmpeg) as encoder:
        for chunk in engine.render(request, plan, control, None):
            control.check()
            encoder.write(chunk.frames)
        return encoder.finish()


if __name__ == "__main__":
    main()
