"""The render process: loads its engine once, renders one job after the other, dies with its parent.

Started by `render_process.py` as `python -m inference_sidecar.render_child ENGINE DESCRIPTOR`.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import Queue
from typing import Final, cast

from inference_sidecar.contracts import FrameSize
from inference_sidecar.encoder import Encoder, find_ffmpeg
from inference_sidecar.engine import Engine, Plan, Readiness, RenderRequest, next_smaller
from inference_sidecar.engines import EngineName, make_engine, read_settings
from inference_sidecar.errors import Cancelled, GpuOutOfMemory
from inference_sidecar.render_protocol import (
    DoneLine,
    FailedLine,
    Lines,
    NotLoadedLine,
    ProgressLine,
    ReadyLine,
    RenderedLine,
    RenderOrderLine,
    RenderResult,
    StartedLine,
    StoppedLine,
    explain,
    facts_of,
)

_PROGRESS_EVERY_SECONDS: Final = 0.1
_EXIT_NOT_LOADED: Final = 1


class OrderControl:
    """One order's `Control`: lets it be stopped, and reports how far it is, not too often."""

    def __init__(self, lines: Lines, order: int) -> None:
        self._lines = lines
        self._order = order
        self._is_stopped = threading.Event()
        self._reported_at = 0.0
        self._fraction = 0.0
        self.estimated_seconds = 0.0
        self.started_at_ms: int | None = None

    def stop(self) -> None:
        """Ends the render at its next check; called from another thread."""
        self._is_stopped.set()

    def check(self) -> None:
        """See `Control.check`. The first one means that the first forward begins."""
        if self._is_stopped.is_set():
            raise Cancelled
        if self.started_at_ms is None:
            self.started_at_ms = now_ms()
            self._lines.send(
                StartedLine(order=self._order, estimated_seconds=self.estimated_seconds)
            )

    def progress(self, fraction: float) -> None:
        """See `Control.progress`; a second try at a smaller size does not let it fall."""
        self._fraction = max(self._fraction, fraction)
        now = time.monotonic()
        if now - self._reported_at >= _PROGRESS_EVERY_SECONDS:
            self._reported_at = now
            self._lines.send(ProgressLine(order=self._order, fraction=self._fraction))


class RenderChild:
    """Takes orders from the parent and renders them, one at a time, in one thread."""

    def __init__(self, lines: Lines, engine: Engine, ffmpeg: Path) -> None:
        self._lines = lines
        self._engine = engine
        self._ffmpeg = ffmpeg
        self._orders: Queue[RenderOrderLine | None] = Queue()
        self._controls: dict[int, OrderControl] = {}
        self._facts = facts_of(Readiness("", "", "", 0, 0.0))

    def serve(self, on_parent_gone: Callable[[], None]) -> None:
        """Loads the engine, then renders until the parent is gone."""
        threading.Thread(target=self._listen, args=(on_parent_gone,), daemon=True).start()
        readiness = self._engine.load()
        self._facts = facts_of(readiness)
        self._lines.send(
            ReadyLine(
                engine=self._engine.name,
                facts=self._facts,
                seconds_per_video_second=readiness.seconds_per_video_second,
            )
        )
        while (order := self._orders.get()) is not None:
            self._carry_out(order)

    def _listen(self, on_parent_gone: Callable[[], None]) -> None:
        """Reads beside the render, so that a stop arrives while it runs."""
        while (line := self._lines.receive()) is not None:
            if isinstance(line, RenderOrderLine):
                self._controls[line.order] = OrderControl(self._lines, line.order)
                self._orders.put(line)
            elif (control := self._controls.get(line.order)) is not None:
                control.stop()
        self._orders.put(None)
        on_parent_gone()

    def _carry_out(self, order: RenderOrderLine) -> None:
        """Renders one order; no failure of a render ends the process."""
        control = self._controls[order.order]
        try:
            encoder, plan, is_degraded = self._render(order, control)
        except Exception as error:  # noqa: BLE001 - whatever an engine throws is a failed render
            self._report(order.order, error)
            return
        ended_at_ms = now_ms()
        self._lines.send(RenderedLine(order=order.order))
        # The device is free while the file is being finished: the next render must not wait for it.
        threading.Thread(
            target=self._finish,
            args=(order.order, encoder, plan, is_degraded, control.started_at_ms, ended_at_ms),
        ).start()

    def _render(self, order: RenderOrderLine, control: OrderControl) -> tuple[Encoder, Plan, bool]:
        """All frames, in an encoder to be finished; once more, smaller, if memory runs out."""
        request, output = order.request(), Path(order.output)
        plan = self._engine.plan(request)
        control.estimated_seconds = plan.estimated_seconds
        smaller = next_smaller(plan.size_class)
        try:
            return self._encode(request, plan, output, control), plan, False
        except GpuOutOfMemory:
            if smaller is None:
                raise
        # Outside of the handler: the error's traceback holds frames, and those hold device memory.
        gc.collect()
        plan = self._engine.plan(request, smaller)
        return self._encode(request, plan, output, control), plan, True

    def _encode(
        self, request: RenderRequest, plan: Plan, output: Path, control: OrderControl
    ) -> Encoder:
        encoder = Encoder(output, request.audio, plan, ffmpeg=self._ffmpeg)
        try:
            for chunk in self._engine.render(request, plan, control, None):
                control.check()
                encoder.write(chunk.frames)
        except BaseException:
            encoder.close()
            raise
        return encoder

    def _finish(
        self,
        order: int,
        encoder: Encoder,
        plan: Plan,
        is_degraded: bool,  # noqa: FBT001 - passed on as it is
        started_at_ms: int,
        ended_at_ms: int,
    ) -> None:
        try:
            with encoder:
                video = encoder.finish()
            result = RenderResult(
                engine=self._engine.name,
                engine_facts=self._facts,
                path=str(video.path),
                width=video.width,
                height=video.height,
                frames=video.frames,
                bytes=video.bytes,
                generation=FrameSize(width=plan.generation.width, height=plan.generation.height),
                degraded=is_degraded,
                started_at_ms=started_at_ms,
                ended_at_ms=ended_at_ms,
            )
        except Exception as error:  # noqa: BLE001 - a file that cannot be finished is a failed render
            self._report(order, error)
        else:
            self._controls.pop(order, None)
            self._lines.send(DoneLine(order=order, result=result))

    def _report(self, order: int, error: Exception) -> None:
        """Says how an order ended that made no video."""
        self._controls.pop(order, None)
        if isinstance(error, Cancelled):
            self._lines.send(StoppedLine(order=order))
            return
        code, message, context = explain(error)
        self._lines.send(FailedLine(order=order, code=code, message=message, context=context))


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def main() -> None:
    """Serves until the parent is gone, then ends at once; an engine that cannot load is told."""
    name, descriptor = cast("EngineName", sys.argv[1]), int(sys.argv[2])
    lines = Lines(descriptor)
    try:
        engine = make_engine(name, read_settings(name))
        child = RenderChild(lines, engine, find_ffmpeg(os.environ.get("FFMPEG_PATH")))
        # A render may be deep inside a kernel when the parent dies, so nothing is asked of it.
        child.serve(on_parent_gone=lambda: os._exit(0))
    except Exception as error:  # noqa: BLE001 - orders never raise, so this is the start
        _, message, context = explain(error)
        lines.send(NotLoadedLine(message=message, context=context))
        sys.exit(_EXIT_NOT_LOADED)


if __name__ == "__main__":
    main()
