"""The heart of the sidecar: pulls entries, claims their jobs, and hands over on the way out."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Coroutine
from typing import Any, Final, Literal

from nats.aio.msg import Msg
from pydantic import ValidationError

from inference_sidecar.config import SidecarConfig
from inference_sidecar.foundation.contracts import (
    BEAT_MAX_JOBS,
    Beat,
    ClaimDrop,
    ClaimLater,
    GpuEntry,
    RenderOrder,
    StopOrder,
)
from inference_sidecar.foundation.log import Log
from inference_sidecar.foundation.trace import continue_trace, trace_id_of
from inference_sidecar.rendering.render_process import RenderProcess
from inference_sidecar.store.spool import SpooledRender
from inference_sidecar.store.transfers import Transfers
from inference_sidecar.store.workplace import Workplace
from inference_sidecar.worker.attempt import Attempt, AttemptTools
from inference_sidecar.worker.bell import Bell
from inference_sidecar.worker.broker import Broker, describe_mismatch
from inference_sidecar.worker.dead_letters import bury
from inference_sidecar.worker.entry_queue import EntryQueue
from inference_sidecar.worker.handles import Handles
from inference_sidecar.worker.held_job import AttemptName, HeldJob, SpooledJob
from inference_sidecar.worker.orchestrator_requests import OrchestratorRequests, WorkerName
from inference_sidecar.worker.reports import Reports
from inference_sidecar.worker.uploads import Uploads

_LOOK_AGAIN_SECONDS: Final = 0.1
_LAST_WORDS_SECONDS: Final = 5.0
"""How long a worker that ends tries to tell a broker that does not answer."""


class Worker:
    """Renders one job at a time, fetches the next one meanwhile, uploads the last one meanwhile."""

    def __init__(
        self,
        config: SidecarConfig,
        workplace: Workplace,
        broker: Broker,
        name: WorkerName,
        log: Log,
    ) -> None:
        timings = self._timings = config.timings
        self._engine = config.engine
        self._name = name
        self._workplace = workplace
        self._broker = broker
        self._log = log
        self._queue = EntryQueue(broker, log)
        self._changed = Bell()
        self._draining = asyncio.Event()
        self._background: set[asyncio.Task[None]] = set()
        self._is_room_missed = False
        self._room_checked_at = -timings.room_again_seconds
        self.beat_due = Bell()
        self.held: dict[str, HeldJob] = {}
        self.handles = Handles(broker, timings.in_progress_every_seconds)
        self.process = RenderProcess(config.engine, config.ffmpeg_path, timings, log, self._notice)
        self._transfers = Transfers(timings.transfer_stall_seconds)
        self._requests = OrchestratorRequests(broker, name, timings)
        self._reports = Reports(broker, name.id)
        self.uploads = Uploads(
            spool=workplace.spool,
            transfers=self._transfers,
            requests=self._requests,
            reports=self._reports,
            handles=self.handles,
            timings=timings,
            on_change=self._notice,
            log=log,
        )
        self._tools = AttemptTools(
            workplace=workplace,
            transfers=self._transfers,
            process=self.process,
            requests=self._requests,
            reports=self._reports,
            handles=self.handles,
            timings=timings,
            on_change=self._notice,
            on_rendered=self._hand_to_uploads,
            forget=self._forget,
            in_background=self._in_background,
        )

    def resume_spool(self) -> None:
        """Takes up what an earlier life rendered; before the first beat, so that it names it."""
        for render in self._workplace.spool.read_all():
            self._log.info(
                "spooled render found",
                jobId=render.job_id,
                attempt=render.epoch,
                traceId=trace_id_of(render.traceparent),
            )
            self.uploads.take(SpooledJob(render))

    async def work(self) -> None:
        """Pulls entries and claims their jobs, until the worker drains."""
        await self._queue.open()
        while not self._draining.is_set():
            if not self._wants_entry():
                await self._changed.heard_within(_LOOK_AGAIN_SECONDS)
                continue
            message = await self._next_entry()
            if message is not None:
                await self._take(message)
        await self._queue.close()

    def beat(self) -> Beat:
        """What there is to say about this worker now."""
        state: Literal["loading", "ready", "rendering", "draining"] = "ready"
        if self._draining.is_set():
            state = "draining"
        elif not self.process.is_ready:
            state = "loading"
        elif self.process.is_rendering:
            state = "rendering"
        return Beat(
            worker_id=self._name.id,
            incarnation=self._name.incarnation,
            engine=self._engine,
            engine_facts=self.process.facts,
            state=state,
            seconds_per_video_second=self.process.seconds_per_video_second,
            at_ms=time.time_ns() // 1_000_000,
            jobs=[job.in_beat() for job in (*self.held.values(), *self.uploads.jobs.values())],
        )

    async def hear_stop(self, message: Msg) -> None:
        """The orchestrator says that an attempt is not ours, or not wanted, any more."""
        try:
            order = StopOrder.model_validate_json(message.data)
        except ValidationError as error:
            self._log.warning("stop order not understood", reason=describe_mismatch(error))
            return
        held = self.held.get(order.job_id)
        if held is not None and held.name.epoch == order.epoch:
            held.end("stopped")
        self.uploads.stop(order.job_id, order.epoch)

    async def drain(self) -> None:
        """Hands back at once what is not rendered, and lets uploads go on for the grace time."""
        self._draining.set()
        self._notice()
        ended = [job for job in self.held.values() if not job.is_over and not job.is_rendered]
        for job in ended:
            job.end("drained")
        self.process.kill()
        until = time.monotonic() + self._timings.drain_grace_seconds
        handing_back = [asyncio.create_task(self._hand_back(job)) for job in ended]
        await asyncio.wait([*handing_back, asyncio.create_task(asyncio.sleep(0))])
        if self._background:
            await asyncio.wait(self._background, timeout=until - time.monotonic())
        await self.uploads.drain(max(0.0, until - time.monotonic()), _LAST_WORDS_SECONDS)
        for task in self._background:
            task.cancel()
        await self._transfers.close()

    def _notice(self) -> None:
        """Something changed: an entry may be wanted, and a beat is due."""
        self._changed.ring()
        self.beat_due.ring()

    def _wants_entry(self) -> bool:
        """Nothing waits behind one GPU while another is free: the next job is taken late."""
        if not self.process.is_ready or any(
            job.stage in {"fetching", "ready"} for job in self.held.values()
        ):
            return False
        if len(self.held) + len(self.uploads.jobs) >= BEAT_MAX_JOBS:
            # What no beat can name would be deemed lost.
            return False
        remaining, whole = self.process.remaining_seconds()
        return (
            remaining <= max(self._timings.prefetch_before_end_seconds, whole / 10)
            and self._has_room()
        )

    def _has_room(self) -> bool:
        """Looks now and then only; says so once when the disk is full, and once when it is not."""
        now = time.monotonic()
        if self._is_room_missed and now - self._room_checked_at < self._timings.room_again_seconds:
            return False
        self._room_checked_at = now
        is_missed = not self._workplace.has_room()
        if is_missed and not self._is_room_missed:
            self._log.error("disk full, no job is taken", code="STORAGE_FULL")
        if self._is_room_missed and not is_missed:
            self._log.info("there is room again")
        self._is_room_missed = is_missed
        return not is_missed

    async def _next_entry(self) -> Msg | None:
        """The next entry; None when there is none, or when the worker drains meanwhile."""
        pulled = asyncio.ensure_future(self._queue.next())
        drained = asyncio.ensure_future(self._draining.wait())
        try:
            await asyncio.wait({pulled, drained}, return_when="FIRST_COMPLETED")
            return pulled.result() if pulled.done() else None
        finally:
            drained.cancel()
            if not pulled.done():
                pulled.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await pulled

    async def _take(self, message: Msg) -> None:
        """Claims the job of an entry. One that is already in hand only gives a new handle."""
        try:
            entry = GpuEntry.model_validate_json(message.data)
        except ValidationError as error:
            await bury(self._broker, message, describe_mismatch(error), self._log)
            return
        job_id = entry.job_id
        if job_id in self.held or job_id in self.uploads.jobs:
            log, _ = self._about(message, job_id)
            log.info("entry came again")
            self.handles.take(job_id, message)
            return
        if self._draining.is_set() or not self._wants_entry():
            await self._broker.nak(message, 0)
            return
        log, traceparent = self._about(message, job_id)
        answer = await self._requests.claim(
            entry,
            self.process.seconds_per_video_second or 1.0,
            traceparent,
            is_wanted=lambda: not self._draining.is_set(),
        )
        told = {"attempt": answer.epoch} if isinstance(answer, RenderOrder) else {}
        log.info("claim answered", answer=answer.answer if answer else None, **told)
        match answer:
            case RenderOrder():
                name = AttemptName(job_id, entry.owner, answer.epoch, traceparent)
                await self._begin(HeldJob(name, answer), message, log)
            case ClaimDrop():
                await self._broker.ack(message)
            case ClaimLater():
                await self._broker.nak(message, answer.delay_ms / 1000)
            case None:
                await self._broker.nak(message, self._timings.later_nak_seconds)

    def _about(self, message: Msg, job_id: str) -> tuple[Log, str]:
        """A logger for the job of an entry, and the trace to go on with."""
        traceparent = continue_trace((message.headers or {}).get("traceparent"))
        return self._log.bind(jobId=job_id, traceId=trace_id_of(traceparent)), traceparent

    async def _begin(self, job: HeldJob, message: Msg, log: Log) -> None:
        self.held[job.name.job_id] = job
        self.handles.take(job.name.job_id, message)
        if self._draining.is_set():
            await self._hand_back(job)
            return
        attempt = Attempt(job, self._tools, log.bind(attempt=job.name.epoch))
        job.task = self._in_background(attempt.run())
        self._notice()

    async def _hand_back(self, job: HeldJob) -> None:
        try:
            async with asyncio.timeout(_LAST_WORDS_SECONDS):
                await self._reports.released(job.name)
        except TimeoutError:
            self._log.warning(
                "broker away, job not handed back",
                jobId=job.name.job_id,
                attempt=job.name.epoch,
                traceId=trace_id_of(job.name.traceparent),
            )
        await self.handles.nak(job.name.job_id, 0)
        self._forget(job)

    def _hand_to_uploads(self, job: HeldJob, render: SpooledRender) -> None:
        self._forget(job)
        self.uploads.take(SpooledJob(render))

    def _forget(self, job: HeldJob) -> None:
        if self.held.get(job.name.job_id) is job:
            del self.held[job.name.job_id]
        self._notice()

    def _in_background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task
