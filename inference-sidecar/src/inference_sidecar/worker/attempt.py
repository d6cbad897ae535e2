"""One attempt, from the claim to the spool: fetch the inputs, render, keep the result."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from inference_sidecar.engines.engine import FPS, RenderRequest, Size, Voice
from inference_sidecar.foundation.contracts import (
    ATTRIBUTE_BYTES,
    ATTRIBUTE_TRIES,
    SPAN_FETCH_AUDIO,
    SPAN_FETCH_IMAGE,
    FailureCode,
    PresignedInput,
    Rendered,
    RenderOrder,
)
from inference_sidecar.foundation.errors import InputGone, RenderFailed, SidecarError, StoreError
from inference_sidecar.foundation.log import Log
from inference_sidecar.foundation.log_failure import log_failure
from inference_sidecar.rendering.render_process import EngineNotLoaded, KilledByAnotherRender
from inference_sidecar.rendering.render_protocol import RenderResult
from inference_sidecar.store.spool import SpooledRender, sha256_of
from inference_sidecar.store.transfers import InputDamaged, StoreRefused
from inference_sidecar.telemetry.spans import Span, SpanParent
from inference_sidecar.worker.held_job import HeldJob
from inference_sidecar.worker.how_asked import how_of
from inference_sidecar.worker.job_services import JobServices

_DAMAGED_TRIES: Final = 3
"""An input that arrives damaged this often is damaged in the store."""

_MISSING_TRIES: Final = 3
"""An input that is missing this often is gone. A store that has just started may not find, for a
moment, what it holds: SeaweedFS answers 404 while it does not know a new volume yet."""

_IMAGE: Final = "image"
_AUDIO: Final = "audio"
_SOURCE: Final = "source.mp4"


class AttemptGone(Exception):
    """The attempt is not ours any more, so nothing is reported about it."""


@dataclass(frozen=True)
class Attempt:
    """Runs once. However it ends, it reports that once.

    on_rendered: takes over a render that is safe in the spool. forget: called when the worker does
    not hold the job any more. in_background: runs what nobody waits for.
    """

    job: HeldJob
    services: JobServices
    on_rendered: Callable[[HeldJob, SpooledRender], None]
    forget: Callable[[HeldJob], None]
    in_background: Callable[[Coroutine[Any, Any, None]], object]
    log: Log

    async def run(self) -> None:
        """Ends with the render in the spool, or with a report of why it is not."""
        job, services = self.job, self.services
        render: SpooledRender | None = None
        job.is_begun = True
        try:
            try:
                if job.ending is not None:
                    # The stop came in one breath with the order.
                    raise asyncio.CancelledError
                render = await self._make()
            finally:
                # From here on a stop must not interrupt the report.
                job.is_over = True
        except asyncio.CancelledError:
            await self._end_early()
        except AttemptGone:
            self.log.info("attempt is not ours any more")
            self.forget(job)
        except EngineNotLoaded as error:
            services.on_trouble()
            await self._release("engine not loaded, handing the job back", error)
        except KilledByAnotherRender as error:
            await self._release("process died in another render, handing the job back", error)
        except SidecarError as error:
            await self._fail(error)
        except OSError as error:
            services.on_trouble()
            why = "own disk failed, handing the job back"
            await self._release(why, "UNEXPECTED", reason=str(error))
        except Exception as error:  # noqa: BLE001 - a mistake of ours ends the attempt, not the worker
            log_failure(self.log, "UNEXPECTED", "attempt broke off")
            await self._fail(RenderFailed(f"{type(error).__name__}: {error}"))
        else:
            await self._keep(render)
        finally:
            if job.folder is not None:
                services.workplace.end(job.folder)

    async def _make(self) -> SpooledRender:
        job, services = self.job, self.services
        job.folder = services.workplace.begin(job.name.job_id, job.name.epoch)
        await self._fetch_inputs(job.folder)
        job.stage = "ready"
        services.on_change()
        result = await self._render(job.folder)
        job.is_rendered = True
        return await asyncio.to_thread(self._into_spool, result)

    async def _fetch_inputs(self, folder: Path) -> None:
        """Fetches all at the same time. Raises what `_fetch` raises."""
        fetching = [
            asyncio.create_task(self._fetch(name, folder)) for name in _inputs(self.job.order)
        ]
        try:
            await asyncio.gather(*fetching)
        finally:
            # The folder is deleted next, so nothing may still be written into it.
            for task in fetching:
                task.cancel()
            await asyncio.wait(fetching)

    async def _fetch(self, name: str, folder: Path) -> None:
        """Tries until the store answers. Raises `InputGone`, `AttemptGone`, `InputDamaged`."""
        of = SPAN_FETCH_IMAGE if name in {_IMAGE, _SOURCE} else SPAN_FETCH_AUDIO
        attributes = {ATTRIBUTE_BYTES: self._input(name).bytes}
        with self._below.begin(of, attributes, kind="client") as span:
            await self._fetch_watched(name, folder, span)

    async def _fetch_watched(self, name: str, folder: Path, span: Span) -> None:
        damaged = missing = tries = 0
        while True:
            tries += 1
            span.set({ATTRIBUTE_TRIES: tries})
            try:
                await self.services.transfers.fetch(self._input(name), folder / name)
            except InputDamaged as error:
                damaged += 1
                if damaged == _DAMAGED_TRIES:
                    raise
                log_failure(self.log, error, "input arrived damaged, fetching it again")
            except InputGone as error:
                missing += 1
                if missing == _MISSING_TRIES:
                    raise
                log_failure(self.log, error, "input not found, looking again")
            except StoreRefused as error:
                # The URL expires while a store is away for long.
                log_failure(self.log, error, "input refused, asking for a new URL")
                await self._renew_order()
            except StoreError as error:
                log_failure(self.log, error, "input not fetched, trying again")
            else:
                return
            await asyncio.sleep(self.services.timings.input_again_seconds)

    @property
    def _below(self) -> SpanParent:
        return self.job.name.below(self.services.spans)

    def _input(self, name: str) -> PresignedInput:
        return _inputs(self.job.order)[name]

    async def _renew_order(self) -> None:
        """While the attempt is ours, the answer is the same order but for fresh URLs."""
        answer = await self.services.requests.renew(self.job.name)
        if isinstance(answer, RenderOrder) and answer.epoch == self.job.name.epoch:
            self.job.order = answer
        elif answer is not None:
            raise AttemptGone

    async def _render(self, folder: Path) -> RenderResult:
        job, services = self.job, self.services
        order = job.order
        request = RenderRequest(
            job_id=job.name.job_id,
            image=folder / _IMAGE,
            audio=folder / _AUDIO,
            prompt=order.prompt,
            seed=order.seed,
            delivery=Size(order.delivery.width, order.delivery.height),
            frames=order.frames,
            voices=tuple(
                Voice(folder / _voice(at), voice.start_seconds)
                for at, voice in enumerate(order.voices or [])
            ),
            video=folder / _SOURCE if order.source is not None else None,
            how=how_of(order.how),
        )

        def on_started() -> None:
            job.start_clock()
            self.log.info("render started")
            self.in_background(services.reports.started(job.name))

        def on_progress(fraction: float) -> None:
            job.percent = max(job.percent, min(100.0, round(fraction * 100, 1)))

        try:
            return await services.process.render(
                request,
                folder / "video.mp4",
                deadline_seconds=order.deadline_seconds,
                progress=job.progress,
                on_started=on_started,
                on_progress=on_progress,
                log=self.log,
                attempt=self._below,
            )
        finally:
            job.stop_clock()

    def _into_spool(self, result: RenderResult) -> SpooledRender:
        """Blocks, and raises `OSError` when our disk fails; that loses the render, not the job."""
        job, name = self.job, self.job.name
        video = result.video
        rendered = Rendered(
            # The upload grant will name this key.
            key=f"jobs/{name.job_id}/out/{name.epoch}/video.mp4",
            bytes=video.bytes,
            sha256=sha256_of(video.path),
            width=video.width,
            height=video.height,
            frames=video.frames,
            fps=FPS,
            video_seconds=video.frames / FPS,
            engine=result.engine,
            engine_facts=result.engine_facts,
            generation=result.generation,
            sampling=result.sampling,
            degraded=result.degraded,
            resumed=job.progress.first_fraction > 0 or None,
            warnings=list(result.warnings) or None,
            checks=result.checks or None,
            render_seconds=max(0, result.ended_at_ms - result.started_at_ms) / 1000,
        )
        render = SpooledRender(
            **asdict(name),
            deadline_seconds=job.order.deadline_seconds,
            rendered=rendered,
            render_started_at_ms=result.started_at_ms,
            render_ended_at_ms=result.ended_at_ms,
            used=job.progress.used(),
        )
        self.services.workplace.spool.add(render, video.path)
        return render

    async def _keep(self, render: SpooledRender | None) -> None:
        """Hands the render to the uploads, unless a stop came at the very last moment."""
        assert render is not None  # noqa: S101 - narrows the type; nothing was raised
        self.log.info(
            "rendered",
            durationMs=round(render.rendered.render_seconds * 1000),
            degraded=render.rendered.degraded,
        )
        if self.job.ending == "stopped":
            self.services.workplace.spool.remove(render.job_id)
            await self._end_early()
        else:
            self.on_rendered(self.job, render)

    async def _end_early(self) -> None:
        """Reports a stopped attempt. A drained one is handed back by `Worker.drain`."""
        job = self.job
        if job.ending != "stopped":
            return
        self.log.info("attempt stopped")
        self._end(is_told=await self.services.reports.cancelled(job.name, job.progress.used()))

    async def _fail(self, error: SidecarError) -> None:
        """Reports the failure, unless our own full disk may be the cause of it."""
        services, job = self.services, self.job
        if not services.workplace.has_room():
            services.on_trouble()
            await self._release("disk full, handing the job back", "STORAGE_FULL")
            return
        log_failure(self.log, error, "attempt failed")
        used = job.progress.used()
        self._end(is_told=await services.reports.failed(job.name, used, error.code, str(error)))

    async def _release(self, why: str, failure: SidecarError | FailureCode, **keys: object) -> None:
        """Hands the job back without counting the attempt, which is not to blame."""
        job = self.job
        log_failure(self.log, failure, why, **keys)
        self._end(is_told=await self.services.reports.released(job.name, job.progress.used()))

    def _end(self, *, is_told: bool) -> None:
        if is_told:
            self.services.ended.add(self.job.in_heartbeat())
        self.forget(self.job)


def _voice(at: int) -> str:
    return f"voice-{at + 1}"


def _inputs(order: RenderOrder) -> dict[str, PresignedInput]:
    """What is fetched, by the names of the files."""
    inputs: dict[str, PresignedInput] = {_IMAGE: order.image, _AUDIO: order.audio}
    for at, voice in enumerate(order.voices or []):
        inputs[_voice(at)] = PresignedInput(url=voice.url, bytes=voice.bytes, sha256=voice.sha256)
    if order.source is not None:
        inputs[_SOURCE] = order.source
    return inputs
