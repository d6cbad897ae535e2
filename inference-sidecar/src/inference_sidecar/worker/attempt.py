"""One attempt, from the claim to the spool: fetch the inputs, render, keep what was made."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from inference_sidecar.engines.engine import FPS, RenderRequest, Size
from inference_sidecar.foundation.contracts import (
    FAILURES,
    ClaimDrop,
    GpuEntry,
    PresignedInput,
    Rendered,
    RenderOrder,
    Timings,
)
from inference_sidecar.foundation.errors import RenderFailed, SidecarError, StoreError
from inference_sidecar.foundation.log import Log
from inference_sidecar.rendering.child_link import ReportedFailure
from inference_sidecar.rendering.render_process import EngineNotLoaded, RenderProcess, TakenAlong
from inference_sidecar.rendering.render_protocol import RenderResult, code_of
from inference_sidecar.store.spool import SpooledRender, sha256_of
from inference_sidecar.store.transfers import InputDamaged, StoreRefused, Transfers
from inference_sidecar.store.workplace import Workplace
from inference_sidecar.worker.handles import Handles
from inference_sidecar.worker.held_job import HeldJob
from inference_sidecar.worker.orchestrator_requests import OrchestratorRequests
from inference_sidecar.worker.reports import Reports

_DAMAGED_TRIES: Final = 3
"""An input that arrives damaged so often is damaged where it is stored."""


class AttemptGone(Exception):
    """The orchestrator does not know this attempt any more: nothing is said about it.

    is_terminal: the job is over, so its entry is acked; otherwise the entry is somebody else's.
    """

    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__()
        self.is_terminal = is_terminal


@dataclass(frozen=True)
class AttemptTools:
    """What every attempt works with.

    on_rendered takes a render that is safe in the spool; in_background runs what nobody waits for.
    """

    workplace: Workplace
    transfers: Transfers
    process: RenderProcess
    requests: OrchestratorRequests
    reports: Reports
    handles: Handles
    timings: Timings
    on_change: Callable[[], None]
    on_rendered: Callable[[HeldJob, SpooledRender], None]
    forget: Callable[[HeldJob], None]
    in_background: Callable[[Coroutine[Any, Any, None]], object]


class Attempt:
    """Runs once. Every way it can end says so once, and settles the queue entry accordingly."""

    def __init__(self, job: HeldJob, tools: AttemptTools, log: Log) -> None:
        self._job = job
        self._tools = tools
        self._log = log

    async def run(self) -> None:
        """To the spool, or to the last word about why not."""
        job, tools = self._job, self._tools
        render: SpooledRender | None = None
        try:
            try:
                render = await self._make()
            finally:
                # From here on a stop must not interrupt what is being said.
                job.is_over = True
        except asyncio.CancelledError:
            await self._end_early()
        except AttemptGone as gone:
            self._log.info("attempt is not ours any more")
            if gone.is_terminal:
                await tools.handles.ack(job.name.job_id)
            else:
                tools.handles.forget(job.name.job_id)
            tools.forget(job)
        except EngineNotLoaded:
            await self._release("engine not loaded, handing the job back")
        except TakenAlong:
            await self._release("process died in another render, handing the job back")
        except SidecarError as error:
            await self._fail(error)
        except OSError as error:
            await self._release("own disk failed, handing the job back", err=str(error))
        except Exception as error:  # noqa: BLE001 - a mistake of ours ends the attempt, not the worker
            self._log.error("attempt broke off", code="UNEXPECTED")
            await self._fail(RenderFailed(f"{type(error).__name__}: {error}"))
        else:
            await self._keep(render)
        finally:
            if job.folder is not None:
                tools.workplace.end(job.folder)

    async def _make(self) -> SpooledRender:
        job, tools = self._job, self._tools
        job.folder = tools.workplace.begin(job.name.job_id, job.name.epoch)
        await self._fetch_inputs(job.folder)
        job.stage = "ready"
        tools.on_change()
        result = await self._render(job.folder)
        job.is_rendered = True
        return await self._into_spool(result)

    async def _fetch_inputs(self, folder: Path) -> None:
        """Both at once. Raises what `_fetch` raises."""
        fetching = [asyncio.create_task(self._fetch(name, folder)) for name in ("image", "audio")]
        try:
            await asyncio.gather(*fetching)
        finally:
            # The folder is deleted next, so nothing may be on its way into it any more.
            for task in fetching:
                task.cancel()
            await asyncio.wait(fetching)

    async def _fetch(self, name: str, folder: Path) -> None:
        """Waits for a store that is away. Raises `InputGone`, `AttemptGone`, `InputDamaged`."""
        damaged = 0
        while True:
            try:
                await self._tools.transfers.fetch(self._input(name), folder / name)
            except InputDamaged:
                damaged += 1
                if damaged == _DAMAGED_TRIES:
                    raise
                self._log.warning("input arrived damaged, fetching it again")
            except StoreRefused as error:
                # A store that was away for long: the URL has expired meanwhile.
                self._log.warning("input refused, asking for a new URL", **error.context)
                await self._renew_order()
            except StoreError as error:
                self._log.warning("input not fetched, trying again", code=error.code)
            else:
                return
            await asyncio.sleep(self._tools.timings.input_again_seconds)

    def _input(self, name: str) -> PresignedInput:
        return self._job.order.image if name == "image" else self._job.order.audio

    async def _renew_order(self) -> None:
        """The claim again: the same answer while the attempt is ours, with fresh URLs."""
        name = self._job.name
        answer = await self._tools.requests.claim(
            GpuEntry(job_id=name.job_id, owner=name.owner),
            self._tools.process.seconds_per_video_second or 1.0,
            name.traceparent,
        )
        if isinstance(answer, RenderOrder) and answer.epoch == name.epoch:
            self._job.order = answer
        elif answer is not None:
            raise AttemptGone(is_terminal=isinstance(answer, ClaimDrop))

    async def _render(self, folder: Path) -> RenderResult:
        job, tools = self._job, self._tools
        order = job.order
        request = RenderRequest(
            job_id=job.name.job_id,
            image=folder / "image",
            audio=folder / "audio",
            prompt=order.prompt,
            seed=order.seed,
            delivery=Size(order.delivery.width, order.delivery.height),
            frames=order.frames,
        )

        def on_started() -> None:
            job.start_clock()
            self._log.info("render started")
            tools.in_background(tools.reports.started(job.name))

        def on_progress(fraction: float) -> None:
            job.percent = max(job.percent, min(100.0, round(fraction * 100, 1)))

        try:
            return await tools.process.render(
                request,
                folder / "video.mp4",
                deadline_seconds=order.deadline_seconds,
                on_started=on_started,
                on_progress=on_progress,
                log=self._log,
            )
        finally:
            job.stop_clock()

    async def _into_spool(self, result: RenderResult) -> SpooledRender:
        """Raises `OSError` when our disk fails; the render is lost then, the job is not."""
        job, name = self._job, self._job.name
        video = Path(result.path)
        rendered = Rendered(
            # The grant to upload names the key; this is what it will be.
            key=f"jobs/{name.job_id}/out/{name.epoch}/video.mp4",
            bytes=result.bytes,
            sha256=await asyncio.to_thread(sha256_of, video),
            width=result.width,
            height=result.height,
            frames=result.frames,
            fps=FPS,
            video_seconds=result.frames / FPS,
            engine=result.engine,
            engine_facts=result.engine_facts,
            generation=result.generation,
            degraded=result.degraded,
            render_seconds=max(0, result.ended_at_ms - result.started_at_ms) / 1000,
        )
        render = SpooledRender(
            job_id=name.job_id,
            owner=name.owner,
            epoch=name.epoch,
            traceparent=name.traceparent,
            deadline_seconds=job.order.deadline_seconds,
            rendered=rendered,
            render_started_at_ms=result.started_at_ms,
            render_ended_at_ms=result.ended_at_ms,
        )
        await asyncio.to_thread(self._tools.workplace.spool.add, render, video)
        return render

    async def _keep(self, render: SpooledRender | None) -> None:
        """The render is safe; unless it was stopped in the very last moment, it is uploaded."""
        assert render is not None  # noqa: S101 - narrows the type; nothing was raised
        self._log.info(
            "rendered",
            durationMs=round(render.rendered.render_seconds * 1000),
            degraded=render.rendered.degraded,
        )
        if self._job.ending == "stopped":
            self._tools.workplace.spool.remove(render.job_id)
            await self._end_early()
        else:
            self._tools.on_rendered(self._job, render)

    async def _end_early(self) -> None:
        """Stopped: say so and forget. Drained: whoever drains hands the job back himself."""
        job, tools = self._job, self._tools
        if job.ending != "stopped":
            return
        self._log.info("attempt stopped")
        await tools.reports.cancelled(job.name)
        tools.handles.forget(job.name.job_id)
        tools.forget(job)

    async def _fail(self, error: SidecarError) -> None:
        """A failure of the attempt, unless the only trouble is our own full disk."""
        tools, name = self._tools, self._job.name
        if not tools.workplace.has_room():
            await self._release("disk full, handing the job back", code="STORAGE_FULL")
            return
        code = error.reported_code if isinstance(error, ReportedFailure) else code_of(error)
        level = self._log.warning if FAILURES[code].outcome == "retry" else self._log.info
        level("attempt failed", code=code, reason=str(error), **error.context)
        await tools.reports.failed(name, code, str(error))
        await tools.handles.nak(name.job_id, tools.timings.after_failure_nak_seconds)
        tools.forget(self._job)

    async def _release(self, why: str, **keys: object) -> None:
        """Not the job's fault: nothing is counted, and somebody else may have it."""
        tools, name = self._tools, self._job.name
        self._log.warning(why, **keys)
        await tools.reports.released(name)
        await tools.handles.nak(name.job_id, tools.timings.later_nak_seconds)
        tools.forget(self._job)
