"""The render process: loads its engine once, renders one job after another, dies with its parent.

Started by `render_process.py`:

    python -m inference_sidecar.rendering.render_child ENGINE DESCRIPTOR PARENT_PID
"""

from __future__ import annotations

import functools
import gc
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Queue
from typing import Final, cast

from inference_sidecar.engines.engine import (
    Chunk,
    Engine,
    Plan,
    Readiness,
    ResumeState,
    next_smaller,
)
from inference_sidecar.engines.registry import EngineName, make_engine, read_settings
from inference_sidecar.foundation.contracts import SPAN_FINISH_FILE, EngineFacts, FrameSize
from inference_sidecar.foundation.errors import Cancelled, GpuOutOfMemory, ResumeRefused
from inference_sidecar.foundation.find_ffmpeg import find_ffmpeg
from inference_sidecar.foundation.process_death import die_with_parent, end_at_uncaught_exceptions
from inference_sidecar.media.piecewise_encoder import PiecewiseEncoder
from inference_sidecar.media.repeated_video import PreparedVideo, RepeatedVideo
from inference_sidecar.rendering.exhaustion import is_exhausted
from inference_sidecar.rendering.kept_render import KeptRender
from inference_sidecar.rendering.order_control import OrderControl
from inference_sidecar.rendering.render_protocol import (
    DoneLine,
    FailedLine,
    Lines,
    NotLoadedLine,
    PlannedLine,
    ReadyLine,
    RenderedLine,
    RenderOrderLine,
    RenderResult,
    StoppedLine,
    TakenLine,
    details_of,
    explain,
    facts_of,
)
from inference_sidecar.rendering.stages import ToldStages

_log = logging.getLogger("avatar")

_EXIT_NOT_LOADED: Final = 1
_PIECES: Final = "pieces"
"""Folder beside the output that holds the finished pieces of a render."""


@dataclass(frozen=True)
class _Made:
    """All frames of an order, in an encoder that has yet to be finished.

    last: the last chunk, without its frames; None if an earlier process made them all.
    """

    encoder: PiecewiseEncoder | RepeatedVideo
    plan: Plan
    is_degraded: bool
    last: Chunk | None


class RenderChild:
    """Renders the orders of the parent, one at a time, in one thread."""

    def __init__(self, lines: Lines, engine: Engine, ffmpeg: Path) -> None:
        self._lines = lines
        self._engine = engine
        self._ffmpeg = ffmpeg
        self._orders: Queue[RenderOrderLine | None] = Queue()
        self._controls: dict[int, OrderControl] = {}
        self._facts = facts_of(Readiness("", "", "", 0, 0.0))
        self._prepared: PreparedVideo | None = None
        self.is_loaded = False

    def serve(self, on_parent_gone: Callable[[], None]) -> None:
        """Loads the engine, then renders until the parent is gone.

        Raises what made loading fail, and the failure of a render after which this process can
        render nothing more.
        """
        threading.Thread(target=self._listen, args=(on_parent_gone,), daemon=True).start()
        readiness = self._engine.load(ToldStages(self._lines))
        self._facts = facts_of(readiness)
        self.is_loaded = True
        self._lines.send(
            ReadyLine(
                engine=self._engine.name,
                facts=self._facts,
                seconds_per_video_second=readiness.seconds_per_video_second,
                size_class=readiness.size_class,
                frames_per_chunk=readiness.frames_per_chunk,
                device_uuid=readiness.device_uuid,
                offers=readiness.offers,
            )
        )
        pieces = self._engine.warm_up()
        while (order := self._next_order(pieces)) is not None:
            self._carry_out(order)

    def _next_order(self, pieces: Iterator[None]) -> RenderOrderLine | None:
        """Waits for an order, and has the engine warm up meanwhile."""
        try:
            while self._orders.empty():
                next(pieces)
        except StopIteration:
            pass
        except Exception:  # noqa: BLE001 - it costs the first jobs time, and fails none
            _log.warning("The engine did not warm up; first jobs take longer.", exc_info=True)
        return self._orders.get()

    def _listen(self, on_parent_gone: Callable[[], None]) -> None:
        """Reads in a thread of its own, so that a stop arrives while a render runs."""
        while (line := self._lines.receive()) is not None:
            if isinstance(line, RenderOrderLine):
                control = self._controls[line.order] = OrderControl(
                    self._lines, line.order, are_stages_wanted=line.are_stages_wanted
                )
                control.started_at_ms = line.started_at_ms
                # From this thread, so that it also says that stops will be read.
                self._lines.send(TakenLine(order=line.order))
                self._orders.put(line)
            elif (control := self._controls.get(line.order)) is not None:
                control.stop()
        self._orders.put(None)
        on_parent_gone()

    def _carry_out(self, order: RenderOrderLine) -> None:
        """Renders one order. A failed render does not end the process, unless it is exhausted."""
        control = self._controls[order.order]
        try:
            made = self._render(order, control)
        except Exception as error:  # noqa: BLE001 - whatever an engine raises is a failed render
            self._report(order.order, error)
            return
        assert control.started_at_ms is not None  # noqa: S101 - narrows the type; each chunk is checked
        generation = made.plan.generation
        result_of = functools.partial(
            RenderResult,
            engine=self._engine.name,
            engine_facts=self._facts_with(made.last),
            generation=FrameSize(width=generation.width, height=generation.height),
            sampling=made.plan.sampling,
            degraded=made.is_degraded,
            warnings=made.plan.warnings,
            checks=dict(made.last.checks) if made.last is not None else {},
            started_at_ms=control.started_at_ms,
            ended_at_ms=control.now_ms(),
        )
        self._lines.send(RenderedLine(order=order.order))
        # The next render must not wait for the file: the device is free while it is finished.
        finishing = order.order, control, made, result_of
        threading.Thread(target=self._finish, args=finishing).start()

    def _facts_with(self, last: Chunk | None) -> EngineFacts:
        """What the engine found when it was loaded, and what has changed since."""
        changed = {} if last is None else details_of(last.details)
        return self._facts.model_copy(update={"details": {**self._facts.details, **changed}})

    def _render(self, order: RenderOrderLine, control: OrderControl) -> _Made:
        """Renders all frames into an encoder that has yet to be finished.

        Resumes from what an earlier process kept of the same render. If the device runs out of
        memory, it tries once more at the next smaller size.
        """
        request, folder = order.request, order.output.parent / _PIECES
        kept = KeptRender.read(folder)
        is_degraded = kept is not None and kept.is_degraded
        plan = self._engine.plan(request, kept.size_class if kept is not None else None)
        control.estimated_seconds = plan.estimated_seconds
        while True:
            self._lines.send(
                PlannedLine(order=order.order, size_class=plan.size_class, is_cut=bool(plan.cuts))
            )
            smaller = next_smaller(plan.size_class)
            try:
                return self._encode(order, plan, control, kept, is_degraded=is_degraded)
            except ResumeRefused:
                if kept is None:
                    raise
                kept, following = None, plan.size_class
            except GpuOutOfMemory:
                if is_degraded or smaller is None:
                    raise
                kept, is_degraded, following = None, True, smaller
            # Outside the handlers: the traceback refers to frames, and those hold device memory.
            gc.collect()
            plan = self._engine.plan(request, following)

    def _encode(
        self,
        order: RenderOrderLine,
        plan: Plan,
        control: OrderControl,
        kept: KeptRender | None,
        *,
        is_degraded: bool,
    ) -> _Made:
        request, folder = order.request, order.output.parent / _PIECES
        # It reads the media, and only a render that is kept or resumed needs it.
        fingerprint = functools.cache(lambda: self._engine.fingerprint(request, plan))
        resume = kept.resume if kept is not None else None
        first = 0
        if resume is not None:
            resume.require(fingerprint())
            first = resume.next_chunk
            control.resume_from(sum(plan.chunks[:first]) / plan.frames)

        def on_kept(next_chunk: int, state: bytes) -> None:
            safe = ResumeState(next_chunk, state, fingerprint())
            KeptRender(plan.size_class, is_degraded, safe).write(folder)
            control.kept(next_chunk)

        prepared = self._prepared
        if prepared is not None and prepared.fits(plan):
            encoder = RepeatedVideo(prepared, order.output)
        else:
            encoder = PiecewiseEncoder(
                order.output,
                request.audio,
                plan,
                ffmpeg=self._ffmpeg,
                folder=folder,
                first_chunk=first,
                on_kept=on_kept,
            )
        last: Chunk | None = None
        try:
            for chunk in self._engine.render(request, plan, control, resume):
                control.check()
                encoder.write(chunk)
                # Without its frames, which are as large as all else that a render holds.
                last = replace(chunk, frames=chunk.frames[:0])
        except BaseException:
            encoder.close()
            raise
        return _Made(encoder, plan, is_degraded, last)

    def _finish(
        self,
        order: int,
        control: OrderControl,
        made: _Made,
        result_of: Callable[..., RenderResult],
    ) -> None:
        try:
            with control.stage(SPAN_FINISH_FILE), made.encoder as encoder:
                video = encoder.finish()
                if made.plan.may_repeat and self._prepared is None:
                    self._prepared = PreparedVideo(made.plan, video.path.read_bytes())
                result = result_of(video=video)
        except Exception as error:  # noqa: BLE001 - a file that cannot be finished is a failed render
            self._report(order, error)
        else:
            self._controls.pop(order, None)
            self._lines.send(DoneLine(order=order, result=result))

    def _report(self, order: int, error: Exception) -> None:
        """Reports how an order ended that made no video. Raises it if the process is exhausted."""
        self._controls.pop(order, None)
        if isinstance(error, Cancelled):
            self._lines.send(StoppedLine(order=order))
            return
        if is_exhausted(error):
            # The next process gets the job, and has what this one lacks.
            raise error
        code, message, context = explain(error)
        self._lines.send(FailedLine(order=order, code=code, message=message, context=context))


def main() -> None:
    """Serves until the parent is gone, then ends at once. Reports a failed start."""
    name, descriptor, parent_pid = cast("EngineName", sys.argv[1]), *map(int, sys.argv[2:])
    die_with_parent(parent_pid)
    end_at_uncaught_exceptions()
    lines = Lines(descriptor)
    child: RenderChild | None = None
    try:
        engine = make_engine(name, read_settings(name))
        child = RenderChild(lines, engine, find_ffmpeg(os.environ.get("FFMPEG_PATH")))
        # A render may be inside a kernel when the parent dies, so it is not asked to end.
        child.serve(on_parent_gone=lambda: os._exit(0))
    except Exception as error:
        if child is not None and child.is_loaded:
            raise
        _, message, context = explain(error)
        lines.send(NotLoadedLine(message=message, context=context))
        os._exit(_EXIT_NOT_LOADED)


if __name__ == "__main__":
    main()
