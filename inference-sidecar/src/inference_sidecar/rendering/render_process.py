"""The parent's side of rendering: keeps one render process alive and gives it one job at a time."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from inference_sidecar.engines.engine import FPS, RenderRequest
from inference_sidecar.foundation.background_tasks import run_until
from inference_sidecar.foundation.contracts import EngineFacts, Timings
from inference_sidecar.foundation.errors import DeadlineExceeded, RenderProcessDied, SidecarError
from inference_sidecar.foundation.log import Log
from inference_sidecar.foundation.log_failure import log_failure
from inference_sidecar.foundation.pace import Pace
from inference_sidecar.rendering.child_link import ChildLink, OpenOrder
from inference_sidecar.rendering.render_protocol import (
    DoneLine,
    KeptLine,
    ProgressLine,
    RenderedLine,
    RenderResult,
    StartedLine,
    StoppedLine,
)

_DEATH_SECONDS: Final = 5.0
"""How long a killed process may take to go: one inside a driver call may take for ever."""


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
    on_started: Callable[[], None]
    on_progress: Callable[[float], None]
    log: Log
    started_at_ms: int | None = None
    kept: int = 0
    order: tuple[ChildLink, OpenOrder] | None = None


@dataclass(eq=False)
class RenderProcess:
    """One render process at a time, replaced whenever it dies.

    _on_change is called whenever `is_ready`, `is_rendering` or the progress changes.
    """

    _engine: str
    _ffmpeg: str | None
    _timings: Timings
    _log: Log
    _on_change: Callable[[], None]

    def __post_init__(self) -> None:
        self.facts: EngineFacts | None = None
        self.is_rendering = False
        self._link: ChildLink | None = None
        self._died_in_render_of: ChildLink | None = None
        self._loaded = asyncio.Event()
        self._not_loading = asyncio.Event()
        self._turn = asyncio.Lock()
        self._pace: Pace | None = None
        self._started_at: float | None = None
        self._fraction = 0.0
        self._first_fraction = 0.0
        self._estimated_seconds = 0.0

    @property
    def is_ready(self) -> bool:
        """Whether the process is alive and its engine loaded."""
        return self._loaded.is_set()

    @property
    def seconds_per_video_second(self) -> float | None:
        """The base of every estimate: calibrated by the engine, then by every render."""
        return None if self._pace is None else self._pace.seconds_per_video_second

    def remaining_seconds(self) -> tuple[float, float]:
        """Seconds left of the current render, and seconds of all of it, by its own pace."""
        if not self.is_rendering:
            return 0.0, 0.0
        elapsed = time.monotonic() - self._started_at if self._started_at is not None else 0.0
        done = self._fraction - self._first_fraction
        if done <= 0:
            rest = self._estimated_seconds * (1 - self._first_fraction)
            return max(0.0, rest - elapsed), self._estimated_seconds
        return elapsed * (1 - self._fraction) / done, elapsed / done

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

    async def _end(self, link: ChildLink) -> None:
        link.kill()
        try:
            async with asyncio.timeout(_DEATH_SECONDS):
                await link.wait()
        except TimeoutError:
            self._log.error("render process does not die", pid=link.pid)

    async def _live_once(self) -> bool:
        """Runs one process to its end. True when it was of use: the next may start at once."""
        began = time.monotonic()
        try:
            link = self._link = await ChildLink.start(self._engine, self._ffmpeg)
            readiness = await link.ready(self._timings.engine_load_seconds)
        except (OSError, RenderProcessDied) as error:
            context = error.context if isinstance(error, RenderProcessDied) else {}
            log_failure(
                self._log,
                "RENDER_PROCESS_DIED",
                "engine not loaded",
                engine=self._engine,
                **{"reason": str(error), **context},
            )
            self._not_loading.set()
            self._on_change()
            return False
        self.facts = readiness.facts
        self._pace = Pace(readiness.seconds_per_video_second)
        self._log.info(
            "engine ready",
            engine=self._engine,
            facts=readiness.facts.model_dump(by_alias=True),
            durationMs=round((time.monotonic() - began) * 1000),
            secondsPerVideoSecond=self.seconds_per_video_second,
        )
        self._not_loading.clear()
        self._loaded.set()
        self._on_change()
        try:
            status = await link.dispatch()
        finally:
            self._loaded.clear()
            # Set before whoever waits for this process learns of its end.
            self._died_in_render_of = link if self.is_rendering else None
            self._on_change()
        self._log.warning("render process ended", exitStatus=status)
        # A process that dies before its first order would otherwise be restarted without a pause.
        return link.was_used

    async def render(
        self,
        request: RenderRequest,
        output: Path,
        *,
        deadline_seconds: float,
        on_started: Callable[[], None],
        on_progress: Callable[[float], None],
        log: Log,
    ) -> RenderResult:
        """Renders one job, after those that were asked for before.

        The device is free for the next job from the last frame on, before this returns. When
        cancelled, the render is stopped within one forward pass. deadline_seconds count from the
        first forward pass. If the process dies, the next one resumes after the last finished piece.
        Raises `DeadlineExceeded`, `RenderProcessDied`, `KilledByAnotherRender`, `EngineNotLoaded`,
        and `ReportedFailure` with the code that the process reported.
        """
        render = _Render(request, output, deadline_seconds, on_started, on_progress, log)
        async with self._turn:
            # The process may first have to be replaced; that time is not the render's.
            await self._loaded_link()
            self.is_rendering, self._started_at = True, None
            self._fraction = self._first_fraction = 0.0
            try:
                link, order = await self._until_rendered(render)
                self._learn(request.frames / FPS * (1 - self._first_fraction))
            except TimeoutError:
                if render.order is not None:
                    await self._kill_and_wait(*render.order)
                raise DeadlineExceeded(
                    "The render passed its deadline.",
                    context={"deadlineSeconds": deadline_seconds},
                ) from None
            except asyncio.CancelledError:
                if render.order is not None:
                    await self._stop(*render.order, log)
                raise
            finally:
                self.is_rendering = False
                self._on_change()
        return await self._result(link, order, deadline_seconds)

    def _learn(self, video_seconds: float) -> None:
        """Adjusts the pace by the render that has just ended."""
        if self._pace is not None and self._started_at is not None:
            self._pace.observe(video_seconds, time.monotonic() - self._started_at)

    async def _until_rendered(self, render: _Render) -> tuple[ChildLink, OpenOrder]:
        """Returns at the last frame. Raises `TimeoutError` past the deadline."""
        # The deadline counts from the first forward pass, but nothing may hang before that either.
        async with asyncio.timeout(render.deadline_seconds) as limit:
            while True:
                kept = render.kept
                link = await self._loaded_link()
                order = await link.begin(render.request, render.output, render.started_at_ms)
                render.order = link, order
                try:
                    await self._follow(order, render, limit)
                except RenderProcessDied:
                    link.forget(order)
                    render.order = None
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
        await run_until(self._not_loading.wait(), self._loaded.wait())
        if not self._loaded.is_set() or self._link is None:
            raise EngineNotLoaded("The engine did not load.")
        return self._link

    async def _follow(self, order: OpenOrder, render: _Render, limit: asyncio.Timeout) -> None:
        """Returns at the last frame. Raises what `OpenOrder.next` raises."""
        while not isinstance(line := await order.next(), RenderedLine):
            if isinstance(line, StartedLine):
                self._started_at = time.monotonic()
                self._estimated_seconds = line.estimated_seconds
                self._fraction = self._first_fraction = line.fraction
                if render.started_at_ms is None:
                    render.started_at_ms = line.at_ms
                    limit.reschedule(asyncio.get_running_loop().time() + render.deadline_seconds)
                    render.on_started()
            elif isinstance(line, ProgressLine):
                self._fraction = line.fraction
                render.on_progress(line.fraction)
            elif isinstance(line, KeptLine):
                render.kept = line.chunks
            self._on_change()

    async def _result(
        self, link: ChildLink, order: OpenOrder, deadline_seconds: float
    ) -> RenderResult:
        """The finished file. An encoder that hangs is bounded by the deadline, as the render is.

        If the process dies in the render of another job meanwhile, that job alone is to blame:
        raises `KilledByAnotherRender`.
        """
        try:
            async with asyncio.timeout(deadline_seconds):
                while not isinstance(line := await order.next(), DoneLine):
                    pass
                return line.result
        except TimeoutError:
            link.kill()
            raise RenderProcessDied("The file was not finished in time.") from None
        except RenderProcessDied:
            if self._died_in_render_of is link:
                raise KilledByAnotherRender("The process died in another render.") from None
            raise
        finally:
            link.forget(order)

    async def _stop(self, link: ChildLink, order: OpenOrder, log: Log) -> None:
        """Asks for an end within one forward pass, and enforces it."""
        try:
            async with asyncio.timeout(self._timings.obey_stop_seconds):
                await link.stop(order)
                while not isinstance(await order.next(), StoppedLine | RenderedLine):
                    pass
        except TimeoutError:
            log.warning("render process did not stop, killing it")
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
