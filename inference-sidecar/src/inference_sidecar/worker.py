"""The heart of the sidecar: pull an entry, claim it, fetch, render, spool; say what happened."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from nats.aio.msg import Msg
from pydantic import ValidationError

from inference_sidecar.broker import Broker
from inference_sidecar.config import SidecarConfig
from inference_sidecar.contracts import (
    CLAIM_SUBJECT,
    CLAIM_TRIES,
    ClaimRequest,
    FrameSize,
    GpuEntry,
    RenderCancelled,
    Rendered,
    RenderFailed,
    RenderOrder,
    RenderReleased,
    RenderStarted,
    StopOrder,
)
from inference_sidecar.engine import FPS, RenderRequest, Size
from inference_sidecar.errors import Cancelled, SidecarError, StoreError
from inference_sidecar.held_job import HeldJob, SpooledJob
from inference_sidecar.log import Log
from inference_sidecar.render_process import RenderProcess, ReportedFailure
from inference_sidecar.render_protocol import RenderResult
from inference_sidecar.spool import Spool, SpooledRender, sha256_of
from inference_sidecar.trace import continue_trace, trace_id_of
from inference_sidecar.transfers import Transfers
from inference_sidecar.uploads import Uploads


class Worker:
    """Renders one job at a time, fetches the next one meanwhile, uploads the last one meanwhile."""

    def __init__(self, config: SidecarConfig, broker: Broker, incarnation: str, log: Log) -> None:
        self._config = config
        self._timings = config.timings
        self._broker = broker
        self._incarnation = incarnation
        self._log = log
        self._work = config.spool_dir / "work"
        shutil.rmtree(self._work, ignore_errors=True)
        self._work.mkdir(parents=True)
        self._spool = Spool(config.spool_dir)
        self._transfers = Transfers()
        self._handles: dict[str, Msg] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._gpu = asyncio.Lock()
        self._changed = asyncio.Event()
        self._beat_due = asyncio.Event()
        self.held: dict[str, HeldJob] = {}
        self.is_draining = False
        self.process = RenderProcess(config.engine, log, self._notice)
        self.uploads = Uploads(
            config=config,
            broker=broker,
            spool=self._spool,
            transfers=self._transfers,
            settle=self._settle,
            on_change=self._notice,
            log=log,
        )

    def resume_spool(self) -> None:
        """Takes up what an earlier life rendered; before the first beat, so that it names it."""
        for render in self._spool.read_all():
            self._log.info("spooled render found", jobId=render.job_id, attempt=render.epoch)
            self.uploads.take(SpooledJob(render))

    async def work(self) -> None:
        """Pulls and hands out entries until cancelled."""
        while True:
            if not self._wants_entry():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._next_change(), 0.5)
                continue
            message = await self._broker.pull_entry()
            if message is not None:
                await self._take(message)

    def _notice(self) -> None:
        """Something changed: whoever waits for an entry or for the next beat looks again."""
        self._changed.set()
        self._beat_due.set()

    async def _next_change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    async def next_beat(self, spacing_seconds: float, every_seconds: float) -> None:
        """Returns when a beat is due: regularly, and soon after a change."""
        self._beat_due.clear()
        await asyncio.sleep(spacing_seconds)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._beat_due.wait(), every_seconds - spacing_seconds)

    def _wants_entry(self) -> bool:
        """Nothing waits behind one GPU while another is free: the next job is taken late."""
        if self.is_draining or not self.process.is_ready:
            return False
        if any(job.stage in {"fetching", "ready"} for job in self.held.values()):
            return False
        if not self.process.is_rendering:
            return True
        elapsed = time.monotonic() - (self.process.started_at or 0.0)
        remaining = self.process.remaining_seconds()
        return remaining <= max(
            self._timings.prefetch_before_end_seconds, (elapsed + remaining) / 10
        )

    async def _take(self, message: Msg) -> None:
        """Claims the job of an entry. One that is already in hand only gives a new handle."""
        try:
            entry = GpuEntry.model_validate_json(message.data)
        except ValidationError as error:
            await self._broker.bury(message, str(error))
            return
        job_id = entry.job_id
        if job_id in self.held or job_id in self.uploads.jobs:
            self._handles[job_id] = message
            return
        traceparent = continue_trace((message.headers or {}).get("traceparent"))
        log = self._log.bind(jobId=job_id, traceId=trace_id_of(traceparent))
        answer = await self._claim(entry, traceparent)
        kind = answer["answer"] if answer else None
        log.info("claim answered", answer=kind)
        if kind == "drop":
            await self._broker.ack(message)
        elif answer is None or kind != "render":
            delay = self._timings.later_nak_seconds
            if answer is not None and kind == "later":
                delay = answer["delayMs"] / 1000
            await self._broker.nak(message, delay)
        else:
            order = RenderOrder.model_validate(answer)
            job = HeldJob(job_id, entry.owner, order.epoch, order, traceparent)
            self.held[job_id] = job
            self._handles[job_id] = message
            self._notice()
            if self.is_draining:
                await self._release(job)
                return
            task = asyncio.create_task(self._run(job, log.bind(attempt=order.epoch)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _claim(self, entry: GpuEntry, traceparent: str) -> dict[str, Any] | None:
        request = ClaimRequest(
            job_id=entry.job_id,
            owner=entry.owner,
            worker_id=self._config.worker_id,
            incarnation=self._incarnation,
            seconds_per_video_second=self.process.seconds_per_video_second or 1.0,
        )
        timeout = max(0.5, self._timings.request_timeout_seconds)
        for attempt in range(CLAIM_TRIES):
            if attempt:
                await asyncio.sleep(self._timings.claim_again_seconds)
            answer = await self._broker.ask(CLAIM_SUBJECT, request, timeout, traceparent)
            if answer is not None:
                return answer
        return None

    async def _run(self, job: HeldJob, log: Log) -> None:
        """One attempt, from the inputs to the spool; every way it can end says so once."""
        folder = self._work / f"{job.job_id}-{job.epoch}"
        try:
            folder.mkdir()
            await self._fetch_inputs(job, folder, log)
            job.stage = "ready"
            self._notice()
            async with self._gpu:
                result = await self._render(job, folder)
            await self._into_spool(job, result, log)
        except Cancelled:
            if self.held.get(job.job_id) is job:
                log.info("attempt stopped")
                await self._publish(RenderCancelled, job)
                self._forget(job)
                self._handles.pop(job.job_id, None)
        except SidecarError as error:
            code = error.reported_code if isinstance(error, ReportedFailure) else error.code
            log.warning("attempt failed", code=code, err=str(error), context=error.context)
            await self._fail(job, code, str(error))
        except OSError:
            log.error("own disk failed, handing the job back")
            await self._release(job)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    async def _fetch_inputs(self, job: HeldJob, folder: Path, log: Log) -> None:
        """Waits for a store that is away; raises `InputGone` and `Cancelled`."""
        for source, name in ((job.order.image, "image.png"), (job.order.audio, "audio.wav")):
            while True:
                if job.stop.is_set():
                    raise Cancelled
                try:
                    await self._transfers.fetch(source, folder / name)
                    break
                except StoreError as error:
                    log.warning("input not fetched, trying again", err=str(error), code=error.code)
                    await asyncio.sleep(self._timings.input_again_seconds)

    async def _render(self, job: HeldJob, folder: Path) -> RenderResult:
        if job.stop.is_set():
            raise Cancelled
        order = job.order
        request = RenderRequest(
            job_id=job.job_id,
            image=folder / "image.png",
            audio=folder / "audio.wav",
            prompt=order.prompt,
            seed=order.seed,
            delivery=Size(order.delivery.width, order.delivery.height),
            frames=order.frames,
        )

        def started() -> None:
            job.stage, job.started_at = "rendering", time.monotonic()
            self._notice()
            self._in_background(self._publish(RenderStarted, job))

        try:
            return await self.process.render(
                request,
                folder / "video.mp4",
                deadline_seconds=order.deadline_seconds,
                stop=job.stop,
                on_started=started,
            )
        finally:
            job.ended_at = time.monotonic()

    async def _into_spool(self, job: HeldJob, result: RenderResult, log: Log) -> None:
        sha256 = await asyncio.to_thread(sha256_of, Path(result.path))
        rendered = Rendered(
            key=f"jobs/{job.job_id}/out/{job.epoch}/video.mp4",
            bytes=result.bytes,
            sha256=sha256,
            width=result.width,
            height=result.height,
            frames=result.frames,
            fps=FPS,
            video_seconds=result.frames / FPS,
            engine=self._config.engine,
            generation=FrameSize(width=result.generation[0], height=result.generation[1]),
            degraded=result.degraded,
            render_seconds=(result.ended_at_ms - result.started_at_ms) / 1000,
        )
        render = SpooledRender(
            job_id=job.job_id,
            owner=job.owner,
            epoch=job.epoch,
            traceparent=job.traceparent,
            rendered=rendered,
            render_started_at_ms=result.started_at_ms,
            render_ended_at_ms=result.ended_at_ms,
        )
        await asyncio.to_thread(self._spool.add, render, Path(result.path))
        if self.held.get(job.job_id) is not job:
            self._spool.remove(job.job_id)
            return
        log.info("rendered", durationMs=round(rendered.render_seconds * 1000))
        del self.held[job.job_id]
        self.uploads.take(SpooledJob(render))

    async def hear_stop(self, message: Msg) -> None:
        """The orchestrator says that an attempt is not ours, or not wanted, any more."""
        with contextlib.suppress(ValidationError):
            order = StopOrder.model_validate_json(message.data)
            held = self.held.get(order.job_id)
            if held is not None and held.epoch == order.epoch:
                held.stop.set()
            spooled = self.uploads.jobs.get(order.job_id)
            if spooled is not None and spooled.render.epoch == order.epoch:
                spooled.stop.set()

    async def keep_entries(self) -> None:
        """Tells the broker that our entries are still in our hands, until cancelled."""
        while True:
            await asyncio.sleep(self._timings.in_progress_every_seconds)
            for message in list(self._handles.values()):
                await self._broker.in_progress(message)

    async def drain(self) -> None:
        """SIGTERM: hand back what is not rendered, let uploads go on for the grace time."""
        self.is_draining = True
        self._notice()
        held = list(self.held.values())
        for job in held:
            self._forget(job)
            job.stop.set()
        await self.process.close()
        for job in held:
            await self._publish(RenderReleased, job)
            await self._settle(job.job_id, "nak-now")
        await self.uploads.drain(self._timings.drain_grace_seconds)
        await self._transfers.close()

    async def _fail(self, job: HeldJob, code: str, message: str) -> None:
        if self.held.get(job.job_id) is not job:
            return
        event = RenderFailed.model_validate(
            {**self._fact(job), "code": code, "message": message[:1000]}
        )
        await self._broker.publish_event(event, job.traceparent)
        self._forget(job)
        await self._settle(job.job_id, "nak")

    async def _release(self, job: HeldJob) -> None:
        if self.held.get(job.job_id) is not job:
            return
        await self._publish(RenderReleased, job)
        self._forget(job)
        await self._settle(job.job_id, "nak-now")

    def _forget(self, job: HeldJob) -> None:
        if self.held.get(job.job_id) is job:
            del self.held[job.job_id]
        self._notice()

    async def _settle(self, job_id: str, how: str) -> None:
        message = self._handles.pop(job_id, None)
        if message is None or how == "forget":
            return
        if how == "ack":
            await self._broker.ack(message)
        else:
            delay = 0.0 if how == "nak-now" else self._timings.after_failure_nak_seconds
            await self._broker.nak(message, delay)

    def _fact(self, job: HeldJob) -> dict[str, Any]:
        return {
            "job_id": job.job_id,
            "owner": job.owner,
            "epoch": job.epoch,
            "revision": 0,
            "at_ms": time.time_ns() // 1_000_000,
            "worker_id": self._config.worker_id,
        }

    async def _publish(
        self,
        event: type[RenderStarted | RenderCancelled | RenderReleased],
        job: HeldJob,
    ) -> None:
        await self._broker.publish_event(event(**self._fact(job)), job.traceparent)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
