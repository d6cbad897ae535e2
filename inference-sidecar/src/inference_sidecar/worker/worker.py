"""The heart of the sidecar: pulls entries, claims their jobs, and hands them back at the end."""

from __future__ import annotations

import asyncio
import time
from typing import Final, Literal

from inference_sidecar.config import SidecarConfig
from inference_sidecar.foundation.background_tasks import BackgroundTasks, run_until
from inference_sidecar.foundation.contracts import (
    BEAT_MAX_JOBS,
    Beat,
    ClaimDrop,
    ClaimLater,
    RenderOrder,
    StopOrder,
)
from inference_sidecar.foundation.log import Log
from inference_sidecar.foundation.log_failure import log_failure
from inference_sidecar.rendering.render_process import RenderProcess
from inference_sidecar.store.spool import SpooledRender
from inference_sidecar.store.transfers import Transfers
from inference_sidecar.store.workplace import Workplace
from inference_sidecar.worker.attempt import Attempt
from inference_sidecar.worker.auto_reset_event import AutoResetEvent
from inference_sidecar.worker.broker import Broker
from inference_sidecar.worker.entry_queue import Delivery, EntryQueue
from inference_sidecar.worker.held_job import AttemptName, HeldJob, SpooledJob
from inference_sidecar.worker.job_services import JobServices
from inference_sidecar.worker.leases import Leases
from inference_sidecar.worker.orchestrator_requests import OrchestratorRequests, WorkerName
from inference_sidecar.worker.reports import Reports
from inference_sidecar.worker.uploads import Uploads

_LOOK_AGAIN_SECONDS: Final = 0.1
_LAST_REPORTS_SECONDS: Final = 5.0
"""How long a worker that ends waits for a broker that does not answer."""


class Worker:
    """Renders one job at a time, fetches the next one meanwhile, uploads the last one meanwhile."""

    def __init__(
        self,
        config: SidecarConfig,
        workplace: Workplace,
        broker: Broker,
        name: WorkerName,
        heartbeat_due: AutoResetEvent,
        log: Log,
    ) -> None:
        timings = self._timings = config.timings
        self._engine = config.engine
        self._name = name
        self._broker = broker
        self._log = log
        self._queue = EntryQueue(broker, log)
        self._changed = AutoResetEvent()
        self._heartbeat_due = heartbeat_due
        self._draining = asyncio.Event()
        self._attempts = BackgroundTasks()
        self._rendering = BackgroundTasks()
        self._renewing = BackgroundTasks()
        self._pulling = BackgroundTasks()
        self._is_disk_full = False
        self._room_checked_at = -timings.room_again_seconds
        self._held: dict[str, HeldJob] = {}
        self.process = RenderProcess(config.engine, config.ffmpeg_path, timings, log, self._notify)
        self._services = JobServices(
            workplace=workplace,
            transfers=Transfers(timings.transfer_stall_seconds),
            process=self.process,
            requests=OrchestratorRequests(broker, name, timings),
            reports=Reports(broker.publisher, name.id, log),
            leases=Leases(broker, timings.in_progress_every_seconds),
            timings=timings,
            on_change=self._notify,
        )
        self._uploads = Uploads(self._services, log)

    @property
    def is_draining(self) -> bool:
        """Whether it takes no more jobs because it is about to end."""
        return self._draining.is_set()

    def resume_spool(self) -> None:
        """Takes up what an earlier process rendered; before the first heartbeat, which names it."""
        for render in self._services.workplace.spool.read_all():
            job = SpooledJob(render)
            self._log.info("spooled render found", **job.name.log_keys)
            self._uploads.take(job)

    def start(self) -> list[asyncio.Task[None]]:
        """Starts to take jobs. None of the tasks returned ends before `drain`, unless it failed."""
        return [
            self._rendering.start(self.process.keep_alive()),
            self._renewing.start(self._services.leases.renew()),
            self._pulling.start(self._take_entries()),
        ]

    async def _take_entries(self) -> None:
        """Pulls entries and claims their jobs, until the worker drains."""
        await self._queue.open()
        while not self.is_draining:
            if not self._wants_entry():
                await self._changed.wait_at_most(_LOOK_AGAIN_SECONDS)
                continue
            delivery = await self._next_entry()
            if delivery is not None:
                await self._take(delivery)
        await self._queue.close()

    def heartbeat(self) -> Beat:
        """The state of this worker and of every job it holds."""
        state: Literal["loading", "ready", "rendering", "draining"] = "ready"
        if self.is_draining:
            state = "draining"
        elif not self.process.is_ready:
            state = "loading"
        elif self.process.is_rendering:
            state = "rendering"
        held = [*self._held.values(), *self._uploads.jobs.values()]
        return Beat(
            worker_id=self._name.id,
            incarnation=self._name.incarnation,
            engine=self._engine,
            engine_facts=self.process.facts,
            state=state,
            seconds_per_video_second=self.process.seconds_per_video_second,
            at_ms=time.time_ns() // 1_000_000,
            jobs=[job.in_heartbeat() for job in held],
        )

    def stop_attempt(self, order: StopOrder) -> None:
        """The orchestrator has given the attempt to somebody else, or it is no longer wanted."""
        held = self._held.get(order.job_id)
        if held is not None and held.name.epoch == order.epoch:
            held.end("stopped")
        self._uploads.stop(order.job_id, order.epoch)

    async def drain(self) -> None:
        """Hands back at once what is not rendered, and lets uploads go on for the grace time.

        When it returns, nothing of this worker runs any more.
        """
        self._draining.set()
        self._notify()
        ended = [job for job in self._held.values() if not job.is_over and not job.is_rendered]
        for job in ended:
            job.end("drained")
        until = time.monotonic() + self._timings.drain_grace_seconds
        await self._rendering.stop()
        await asyncio.gather(*(self._hand_back(job) for job in ended))
        await self._attempts.wait(until - time.monotonic())
        await self._uploads.drain(until - time.monotonic(), _LAST_REPORTS_SECONDS)
        await self._attempts.stop()
        await self._pulling.wait(_LAST_REPORTS_SECONDS)
        await self._pulling.stop()
        await self._renewing.stop()
        await self._services.transfers.close()

    def _notify(self) -> None:
        """Something changed: an entry may be wanted, and a heartbeat is due."""
        self._changed.set()
        self._heartbeat_due.set()

    def _wants_entry(self) -> bool:
        """Prefetches as late as possible: no job waits behind one GPU while another is free."""
        if not self.process.is_ready or any(
            job.stage in {"fetching", "ready"} for job in self._held.values()
        ):
            return False
        if len(self._held) + len(self._uploads.jobs) >= BEAT_MAX_JOBS:
            # A job that no heartbeat can name would be taken for lost.
            return False
        remaining, whole = self.process.remaining_seconds()
        return (
            remaining <= max(self._timings.prefetch_before_end_seconds, whole / 10)
            and self._has_room()
        )

    def _has_room(self) -> bool:
        """Checks a full disk only now and then, and logs only the changes."""
        now = time.monotonic()
        if self._is_disk_full and now - self._room_checked_at < self._timings.room_again_seconds:
            return False
        self._room_checked_at = now
        is_full = not self._services.workplace.has_room()
        if is_full and not self._is_disk_full:
            log_failure(self._log, "STORAGE_FULL", "disk full, no job is taken")
        if self._is_disk_full and not is_full:
            self._log.info("there is room again")
        self._is_disk_full = is_full
        return not is_full

    async def _next_entry(self) -> Delivery | None:
        """The next entry; None when there is none, or when the worker drains meanwhile."""
        pulled = await run_until(self._draining.wait(), self._queue.next())
        return None if pulled.cancelled() else pulled.result()

    async def _take(self, delivery: Delivery) -> None:
        """Claims the job of an entry. For a job that is already held it only renews the lease."""
        job_id, message, log = delivery.entry.job_id, delivery.message, delivery.log
        if job_id in self._held or job_id in self._uploads.jobs:
            log.info("entry redelivered")
            self._services.leases.take(job_id, message)
            return
        if self.is_draining or not self._wants_entry():
            await self._broker.nak(message, 0)
            return
        answer = await self._services.requests.claim(
            delivery.entry,
            self.process.seconds_per_video_second or 1.0,
            delivery.traceparent,
            is_wanted=lambda: not self.is_draining,
        )
        epoch = {"attempt": answer.epoch} if isinstance(answer, RenderOrder) else {}
        log.info("claim answered", answer=answer.answer if answer else None, **epoch)
        match answer:
            case RenderOrder():
                await self._begin(delivery, answer)
            case ClaimDrop():
                await self._broker.ack(message)
            case ClaimLater():
                await self._broker.nak(message, answer.delay_ms / 1000)
            case None:
                await self._broker.nak(message, self._timings.later_nak_seconds)

    async def _begin(self, delivery: Delivery, order: RenderOrder) -> None:
        entry = delivery.entry
        name = AttemptName(entry.job_id, entry.owner, order.epoch, delivery.traceparent)
        job = self._held[entry.job_id] = HeldJob(name, order)
        self._services.leases.take(entry.job_id, delivery.message)
        if self.is_draining:
            await self._hand_back(job)
            return
        attempt = Attempt(
            job=job,
            services=self._services,
            on_rendered=self._hand_to_uploads,
            forget=self._forget,
            in_background=self._attempts.start,
            log=delivery.log.bind(attempt=order.epoch),
        )
        job.task = self._attempts.start(attempt.run())
        self._notify()

    async def _hand_back(self, job: HeldJob) -> None:
        try:
            async with asyncio.timeout(_LAST_REPORTS_SECONDS):
                await self._services.reports.released(job.name)
        except TimeoutError:
            self._log.warning("broker away, job not handed back", **job.name.log_keys)
        await self._services.leases.nak(job.name.job_id, 0)
        self._forget(job)

    def _hand_to_uploads(self, job: HeldJob, render: SpooledRender) -> None:
        self._forget(job)
        self._uploads.take(SpooledJob(render))

    def _forget(self, job: HeldJob) -> None:
        if self._held.get(job.name.job_id) is job:
            del self._held[job.name.job_id]
        self._notify()
