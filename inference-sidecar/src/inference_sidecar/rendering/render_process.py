"""The parent's side of rendering: keeps one render process alive and gives it one job at a time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from inference_sidecar.engines.engine import (
    FPS,
    QUALITIES,
    USUAL_QUALITY,
    Quality,
    RenderRequest,
)
from inference_sidecar.foundation.background_tasks import run_until
from inference_sidecar.foundation.contracts import (
    EngineFacts,
    Loading,
    OfferedQuality,
    Offers,
    PaceKey,
    StartStage,
    Timings,
)
from inference_sidecar.foundation.errors import DeadlineExceeded, RenderProcessDied, SidecarError
from inference_sidecar.foundation.log import Log, scrub_secrets
from inference_sidecar.foundation.log_failure import log_failure
from inference_sidecar.foundation.pace import LEAST_PACE, Pace
from inference_sidecar.rendering.child_link import ChildLink, OpenOrder
from inference_sidecar.rendering.render_progress import RenderProgress
from inference_sidecar.rendering.render_protocol import (
    DoneLine,
    KeptLine,
    PlannedLine,
    ProgressLine,
    ReadyLine,
    RenderedLine,
    RenderResult,
    StageBegunLine,
    StageLine,
    StartedLine,
    StoppedLine,
    TakenLine,
)
from inference_sidecar.rendering.render_spans import RenderSpans
from inference_sidecar.rendering.start_spans import spans_of_start
from inference_sidecar.rendering.time_spent import TimeSpent
from inference_sidecar.rendering.worker_start import WorkerStart
from inference_sidecar.telemetry.spans import SpanParent, Spans, error_name

_DEATH_SECONDS: Final = 5.0
"""How long a killed process may take to go: one inside a driver call may take for ever."""

_TROUBLE_CHARACTERS: Final = 500
_CANCELLED: Final = "Cancelled"
"""What a span says of a render that somebody stopped."""
_TAKE_ORDER_LEAST_SECONDS: Final = 3.0
"""However much the waits are divided for tests, a busy machine may take this long."""


class EngineNotLoaded(SidecarError):
    """The engine did not load. Loading is tried again, but no job waits for that."""

    code = "RENDER_PROCESS_DIED"


class KilledByAnotherRender(SidecarError):
    """The process died in the render of another job while it finished the file of this one."""

    code = "RENDER_PROCESS_DIED"


@dataclass
class _Render:
    """One render, which may outlive the process that began it.

    on_started is called once. kept: how many chunks survive the process. order: the current one.
    """

    request: RenderRequest
    output: Path
    deadline_seconds: float
    progress: RenderProgress
    on_started: Callable[[], None]
    on_progress: Callable[[float], None]
    log: Log
    spans: RenderSpans
    started_at_ms: int | None = None
    kept: int = 0
    order: tuple[ChildLink, OpenOrder] | None = None

    def note_stage(self, line: object) -> None:
        """Takes a line that may be about a stage."""
        if isinstance(line, StageBegunLine):
            self.spans.begin_stage(line)
        elif isinstance(line, StageLine):
            self.spans.end_stage(line)


@dataclass(eq=False)
class RenderProcess:
    """One render process at a time, replaced whenever it dies.

    trouble: why the engine did not load the last time; None when it did. pace_key: what its renders
    are compared by; None until it is loaded. time_spent: of this worker, not only of one process.
    device_uuid: by which the driver knows its device, as far as it has said so.
    _on_change is called whenever `is_ready`, `is_rendering`, `trouble` or the progress changes.
    """

    _engine: str
    _ffmpeg: str | None
    _timings: Timings
    _log: Log
    _on_change: Callable[[], None]
    _spans: Spans

    def __post_init__(self) -> None:
        self.facts: EngineFacts | None = None
        self.pace_key: PaceKey | None = None
        self.time_spent = TimeSpent()
        self.trouble: str | None = None
        self.device_uuid: str | None = None
        self._start: WorkerStart | None = None
        self._has_ended = False
        self._link: ChildLink | None = None
        self._died_in_render_of: ChildLink | None = None
        self._loaded = asyncio.Event()
        self._not_loading = asyncio.Event()
        self._turn = asyncio.Lock()
        self._pace: Pace | None = None
        self._readiness: ReadyLine | None = None
        self._progress: RenderProgress | None = None

    @property
    def is_ready(self) -> bool:
        """Whether the process is alive and its engine loaded."""
        return self._loaded.is_set()

    @property
    def seconds_per_video_second(self) -> float | None:
        """The base of every estimate: calibrated by the engine, then by every render."""
        return None if self._pace is None else self._pace.seconds_per_video_second

    @property
    def offers(self) -> Offers | None:
        """What jobs may ask of it, at the paces of today; None until the engine is loaded."""
        readiness = self._readiness
        if readiness is None:
            return None
        known = [
            OfferedQuality(quality=quality, seconds_per_video_second=pace)
            for quality, pace in self._paces(readiness).items()
        ]
        offers = readiness.offers
        return Offers(qualities=known, speakers=offers.speakers, video=offers.video)

    @property
    def slowest_pace(self) -> float | None:
        """Seconds per second of video of the slowest quality; None until the engine is loaded."""
        return None if self._readiness is None else max(self._paces(self._readiness).values())

    def _paces(self, readiness: ReadyLine) -> dict[Quality, float]:
        """Seconds per second of video of each quality that it offers."""
        offered = readiness.offers.paces or {USUAL_QUALITY}
        now = self.seconds_per_video_second or 0
        return {
            quality: max(LEAST_PACE, now * self._slowness(quality))
            for quality in QUALITIES
            if quality in offered
        }

    def _slowness(self, quality: str) -> float:
        """How many times as long as the usual quality this one takes, by the calibration."""
        readiness = self._readiness
        if readiness is None or readiness.seconds_per_video_second <= 0:
            return 1.0
        usual = readiness.seconds_per_video_second
        return readiness.offers.paces.get(quality, usual) / usual

    @property
    def startup(self) -> list[StartStage] | None:
        """How the process started; None until it is loaded."""
        return None if self._start is None else self._start.told()

    @property
    def starting(self) -> StartStage | None:
        """The stage that a start has reached; None while there is no start."""
        return None if self._start is None else self._start.current()

    @property
    def loading(self) -> Loading | None:
        """How much of the engine is read; None unless a start goes on that tells."""
        return None if self._start is None or self._start.end_ns else self._start.loading

    @property
    def is_rendering(self) -> bool:
        """Whether it has an order whose last frame is not yet made."""
        return self._progress is not None

    def remaining_seconds(self) -> tuple[float, float]:
        """Seconds left of the current render at least, and seconds of all of it."""
        if self._progress is None:
            return 0.0, 0.0
        return self._progress.least_remaining_seconds()

    async def keep_alive(self) -> None:
        """Starts the process, and another whenever it ends; when cancelled, ends it first."""
        backoff_seconds = 0.0
        try:
            while True:
                await asyncio.sleep(backoff_seconds)
                if await self._live_once():
                    backoff_seconds = 0.0
                else:
                    backoff_seconds = min(
                        max(self._timings.reload_backoff_seconds, 2 * backoff_seconds),
                        self._timings.reload_backoff_max_seconds,
                    )
        finally:
            self._loaded.clear()
            if self._link is not None:
                await self._end(self._link)
            # What is left is to upload, and no engine is loaded for that.
            self._has_ended = True
            self.time_spent.begin("idle")

    async def _end(self, link: ChildLink) -> None:
        link.kill()
        try:
            async with asyncio.timeout(_DEATH_SECONDS):
                await link.wait()
        except TimeoutError:
            self._log.error("render process does not die", pid=link.pid)

    async def _live_once(self) -> bool:
        """Runs one process to its end. True when it was of use: the next may start at once."""
        start = self._start = WorkerStart()
        try:
            link = self._link = await ChildLink.start(self._engine, self._ffmpeg, self._log)
            readiness = await link.ready(self._timings.engine_load_seconds, start, self._on_change)
        except (OSError, RenderProcessDied) as error:
            self._end_start(start, error_name(error))
            self._note_trouble(error)
            return False
        self._end_start(start)
        self.facts = readiness.facts
        self.device_uuid = readiness.device_uuid or self.device_uuid
        self.pace_key = _pace_key(self._engine, readiness)
        self._pace = Pace(readiness.seconds_per_video_second)
        self._readiness = readiness
        self._log.info(
            "engine ready",
            engine=self._engine,
            facts=readiness.facts.model_dump(by_alias=True),
            durationMs=start.lasted_ms,
            stages={stage.stage: stage.seconds for stage in self.startup or []},
            secondsPerVideoSecond=self.seconds_per_video_second,
        )
        self.trouble = None
        self._not_loading.clear()
        self._loaded.set()
        self.time_spent.begin("idle")
        self._on_change()
        try:
            status = await link.dispatch()
        finally:
            self._loaded.clear()
            # Set before whoever waits for this process learns of its end.
            self._died_in_render_of = link if self.is_rendering else None
            self.time_spent.begin("loading")
            self._on_change()
        self._log.warning("render process ended", exitStatus=status, **link.last_words())
        # A process that dies before its first order would otherwise be restarted without a pause.
        return link.was_used

    def _end_start(self, start: WorkerStart, error: str | None = None) -> None:
        start.finish(error)
        self._spans.write_start(spans_of_start(start, self._spans.worker_id, self._engine))

    def _note_trouble(self, error: OSError | RenderProcessDied) -> None:
        context = error.context if isinstance(error, RenderProcessDied) else {}
        keys = {"reason": str(error), **context}
        log_failure(
            self._log, "RENDER_PROCESS_DIED", "engine not loaded", engine=self._engine, **keys
        )
        said = str(context.get("text", "")).rpartition("\n")[2]
        words = " ".join(f"{keys['reason']} {said}".split())
        self.trouble = scrub_secrets(words)[:_TROUBLE_CHARACTERS]
        self._not_loading.set()
        self._on_change()

    async def render(
        self,
        request: RenderRequest,
        output: Path,
        *,
        deadline_seconds: float,
        progress: RenderProgress,
        on_started: Callable[[], None],
        on_progress: Callable[[float], None],
        log: Log,
        attempt: SpanParent,
    ) -> RenderResult:
        """Renders one job, after those that were asked for before.

        The device is free for the next job from the last frame on, before this returns. When
        cancelled, the render is stopped within one forward pass. deadline_seconds count from the
        first forward pass. If the process dies, the next one resumes after the last finished piece.
        progress: where it notes how far it is, and how long it has had the device.
        attempt: below which its spans hang.
        Raises `DeadlineExceeded`, `RenderProcessDied`, `KilledByAnotherRender`, `EngineNotLoaded`,
        and `ReportedFailure` with the code that the process reported.
        """
        spans = RenderSpans(attempt, self._engine, request)
        render = _Render(
            *(request, output, deadline_seconds, progress, on_started, on_progress, log, spans)
        )
        if self.is_rendering:
            spans.wait("rendering")
        async with self._turn:
            if not self.is_ready:
                spans.wait("loading")
            # The process may first have to be replaced; that time is not the render's.
            await self._loaded_link()
            self._progress = progress
            try:
                link, order = await self._until_rendered(render)
                spans.end()
                self._learn(request, progress)
            except TimeoutError:
                if render.order is not None:
                    await self._kill_and_wait(*render.order)
                spans.end(DeadlineExceeded.code)
                raise DeadlineExceeded(
                    "The render passed its deadline.",
                    context={"deadlineSeconds": deadline_seconds},
                ) from None
            except asyncio.CancelledError:
                if render.order is not None:
                    await self._stop(*render.order, render)
                spans.end(_CANCELLED)
                raise
            except SidecarError as error:
                spans.end(error_name(error))
                raise
            finally:
                self._progress = None
                progress.end()
                self._leave(progress)
                self._on_change()
        return await self._result(link, order, render)

    def _leave(self, progress: RenderProgress) -> None:
        """The device is not this render's any more. Twice is fine."""
        progress.leave()
        is_loading = not self.is_ready and not self._has_ended
        self.time_spent.begin("loading" if is_loading else "idle")

    def _learn(self, request: RenderRequest, progress: RenderProgress) -> None:
        """Adjusts the pace by the render that has just ended, as if it had been a usual one."""
        video_seconds = request.frames / FPS * (1 - progress.first_fraction)
        slowness = self._slowness(request.how.quality)
        if self._pace is not None and progress.elapsed_seconds > 0 and slowness > 0:
            self._pace.observe(video_seconds, progress.elapsed_seconds / slowness)

    async def _until_rendered(self, render: _Render) -> tuple[ChildLink, OpenOrder]:
        """Returns at the last frame. Raises `TimeoutError` past the deadline."""
        # The deadline counts from the first forward pass, but nothing may hang before that either.
        async with asyncio.timeout(render.deadline_seconds) as limit:
            while True:
                kept = render.kept
                link = await self._loaded_link()
                render.progress.order(
                    self._engine,
                    self.facts.device if self.facts else "",
                    self.pace_key.frames_per_chunk if self.pace_key else None,
                    self.seconds_per_video_second,
                )
                self.time_spent.begin("rendering")
                render.spans.order()
                order = await link.begin(
                    render.request,
                    render.output,
                    render.started_at_ms,
                    are_stages_wanted=render.spans.are_written,
                )
                render.order = link, order
                try:
                    await self._until_taken(link, order)
                    await self._follow(order, render, limit)
                except RenderProcessDied as error:
                    link.forget(order)
                    render.spans.lose_process(error_name(error))
                    render.order = None
                    self._leave(render.progress)
                    # Without a newly finished piece it would die in the same place for ever.
                    if render.kept == kept:
                        raise
                    render.log.warning(
                        "render process died, going on in another", chunk=render.kept
                    )
                except SidecarError:
                    link.forget(order)
                    raise
                else:
                    return link, order

    async def _loaded_link(self) -> ChildLink:
        """Waits for a loaded process. Raises `EngineNotLoaded` when loading fails meanwhile."""
        if not self._loaded.is_set():
            await run_until(self._not_loading.wait(), self._loaded.wait())
        if not self._loaded.is_set() or self._link is None:
            raise EngineNotLoaded("The engine did not load.")
        return self._link

    async def _until_taken(self, link: ChildLink, order: OpenOrder) -> None:
        """Kills a process that does not acknowledge an order; raises `RenderProcessDied` then."""
        within_seconds = max(_TAKE_ORDER_LEAST_SECONDS, self._timings.take_order_seconds)
        try:
            async with asyncio.timeout(within_seconds):
                while not isinstance(await order.next(), TakenLine):
                    pass
        except TimeoutError:
            await self._kill_and_wait(link, order)
            raise RenderProcessDied(
                f"The render process did not take the order within {within_seconds:g} s."
            ) from None

    async def _follow(self, order: OpenOrder, render: _Render, limit: asyncio.Timeout) -> None:
        """Returns at the last frame. Raises what `OpenOrder.next` raises."""
        while not isinstance(line := await order.next(), RenderedLine):
            render.note_stage(line)
            if isinstance(line, PlannedLine):
                render.progress.plan(line.size_class, is_cut=line.is_cut)
                render.spans.plan(line.size_class)
            elif isinstance(line, StartedLine):
                render.progress.start(line.estimated_seconds, line.fraction)
                render.spans.start(line.at_ms, render.kept if line.fraction > 0 else 0)
                if render.started_at_ms is None:
                    render.started_at_ms = line.at_ms
                    limit.reschedule(asyncio.get_running_loop().time() + render.deadline_seconds)
                    render.on_started()
            elif isinstance(line, ProgressLine):
                render.progress.advance(line.fraction)
                render.on_progress(line.fraction)
            elif isinstance(line, KeptLine):
                render.kept = line.chunks
            self._on_change()

    async def _result(self, link: ChildLink, order: OpenOrder, render: _Render) -> RenderResult:
        """The finished file. An encoder that hangs is bounded by the deadline, as the render is.

        If the process dies in the render of another job meanwhile, that job alone is to blame:
        raises `KilledByAnotherRender`.
        """
        try:
            async with asyncio.timeout(render.deadline_seconds):
                while not isinstance(line := await order.next(), DoneLine):
                    render.note_stage(line)
                return line.result
        except TimeoutError:
            link.kill()
            render.spans.lose_process(DeadlineExceeded.code)
            raise RenderProcessDied("The file was not finished in time.") from None
        except RenderProcessDied as error:
            render.spans.lose_process(error_name(error))
            if self._died_in_render_of is link:
                raise KilledByAnotherRender("The process died in another render.") from None
            raise
        finally:
            link.forget(order)

    async def _stop(self, link: ChildLink, order: OpenOrder, render: _Render) -> None:
        """Asks for an end within one forward pass, and enforces it."""
        try:
            async with asyncio.timeout(self._timings.obey_stop_seconds):
                await link.stop(order)
                while not isinstance(line := await order.next(), StoppedLine | RenderedLine):
                    render.note_stage(line)
        except TimeoutError:
            render.log.warning("render process did not stop, killing it")
            await self._kill_and_wait(link, order)
        except asyncio.CancelledError:
            link.kill()
            raise
        except SidecarError:
            return
        finally:
            link.forget(order)

    async def _kill_and_wait(self, link: ChildLink, order: OpenOrder) -> None:
        """Waits for its death: the next process must find the device free."""
        self._loaded.clear()
        link.kill()
        with contextlib.suppress(SidecarError):
            while True:
                await order.next()


def _pace_key(engine: str, readiness: ReadyLine) -> PaceKey | None:
    """None when the engine does not say at which size and in which chunks it renders."""
    size, frames, device = readiness.size_class, readiness.frames_per_chunk, readiness.facts.device
    if size is None or frames is None or not device:
        return None
    return PaceKey(engine=engine, size=size, device=device, frames_per_chunk=frames)
