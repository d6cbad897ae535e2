"""The heart of the sidecar: asks for jobs, renders them, and hands them back at the end."""

from __future__ import annotations

import asyncio
import time
from typing import Final, Literal

from inference_sidecar.config import SidecarConfig
from inference_sidecar.foundation.background_tasks import BackgroundTasks
from inference_sidecar.foundation.contracts import (
    BEAT_MAX_JOBS,
    Beat,
    RenderOrder,
    StopOrder,
    WorkerCounts,
)
from inference_sidecar.foundation.log import Log
from inference_sidecar.foundation.log_failure import log_failure
from inference_sidecar.foundation.trace import attempt_trace
from inference_sidecar.rendering.render_process import RenderProcess
from inference_sidecar.store.spool import SpooledRender
from inference_sidecar.store.transfers import Transfers
from inference_sidecar.store.workplace import Workplace
from inference_sidecar.telemetry.gpu_watch import GpuWatch
from inference_sidecar.telemetry.spans import Spans
from inference_sidecar.worker.asks import Asks
from inference_sidecar.worker.attempt import Attempt
from inference_sidecar.worker.auto_reset_event import AutoResetEvent
from inference_sidecar.worker.broker import Broker
from inference_sidecar.worker.ended_attempts import EndedAttempts
from inference_sidecar.worker.held_job import (
    AttemptName,
    HeldJob,
    SpooledJob,
    waiting_behind_a_render,
)
from inference_sidecar.worker.job_services import JobServices
from inference_sidecar.worker.lifetime import Lifetime
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
        spans: Spans,
        gpus: GpuWatch,
        heartbeat_due: AutoResetEvent,
        lifetime: Lifetime,
        wake_id: str | None,
        log: Log,
    ) -> None:
        """wake_id: the wake-up that it works for; None where nobody wakes workers."""
        timings = self._timings = config.timings
        self._engine = config.engine
        self._name = name
        self._pool = config.worker_pool
        self._release = config.release
        self._wake_id = wake_id
        self._jobs_rendered = 0
        self._lifetime = lifetime
        self._gpus = gpus
        self._log = log
        self._asks = Asks(broker, name, config.worker_pool, timings, log)
        self._changed = AutoResetEvent()
        self._heartbeat_due = heartbeat_due
        self._is_leaving = False
        self._is_ending = False
        self._idle_since: float | None = None
        self._attempts = BackgroundTasks()
        self._rendering = BackgroundTasks()
        self._asking = BackgroundTasks()
        self._watching = BackgroundTasks()
        self._is_disk_full = False
        self._room_checked_at = -timings.room_again_seconds
        self._in_trouble_until = 0.0
        self._held: dict[str, HeldJob] = {}
        self.process = RenderProcess(
            config.engine, config.ffmpeg_path, timings, log, self._notify, spans
        )
        self._services = JobServices(
            workplace=workplace,
            transfers=Transfers(timings.transfer_stall_seconds),
            process=self.process,
            requests=OrchestratorRequests(broker, name, config.worker_pool, timings, log),
            reports=Reports(broker.publisher, name.id, spans, log),
            ended=EndedAttempts(timings.ended_named_seconds),
            spans=spans,
            timings=timings,
            on_change=self._notify,
            on_trouble=self._note_trouble,
        )
        self._uploads = Uploads(self._services, log)

    @property
    def is_draining(self) -> bool:
        """Whether it takes no more jobs because it is about to end."""
        return self._is_leaving or self._is_ending

    def resume_spool(self) -> None:
        """Takes up what an earlier process rendered; before the first heartbeat, which names it."""
        for render in self._services.workplace.spool.read_all():
            job = SpooledJob(render)
            self._log.info("spooled render found", **job.name.log_keys)
            self._uploads.take(job)

    def start(self) -> list[asyncio.Task[None]]:
        """Starts to take jobs.

        A task returned ends before `drain` if it failed, or if the worker has left.
        """
        return [
            self._rendering.start(self.process.keep_alive()),
            self._asking.start(self._take_jobs()),
            # An attempt or an upload that fails to report its end would be held for ever.
            self._watching.start(self._attempts.watch()),
            self._watching.start(self._uploads.watch()),
        ]

    async def _take_jobs(self) -> None:
        """Asks for a job whenever one is wanted, until the worker leaves with nothing in hand.

        An ask that is out then is still waited for: its answer may bring a job. For the same reason
        the worker decides to leave only while no ask is out.
        """
        while not self.is_draining:
            if (reason := self._reason_to_leave()) is not None:
                self.leave(reason)
                break
            is_idle = not self.process.is_rendering
            pause_seconds = self._asks.pause_seconds(is_idle=is_idle)
            if pause_seconds > 0 or not self._wants_job():
                await self._changed.wait_at_most(pause_seconds or _LOOK_AGAIN_SECONDS)
                continue
            order = await self._asks.next(
                is_idle=is_idle,
                seconds_per_video_second=self.process.seconds_per_video_second or 1.0,
                offers=self.process.offers,
            )
            if order is not None:
                await self._take(order)
        while not self._is_ending and self._is_something_waited_for():
            await self._changed.wait_at_most(_LOOK_AGAIN_SECONDS)

    def _reason_to_leave(self) -> str | None:
        return self._lifetime.reason_to_leave(
            time.monotonic(),
            pace=self.process.slowest_pace,
            idle_since=self._idle_since,
            is_next_in_hand=self._is_next_in_hand(),
        )

    def _is_something_waited_for(self) -> bool:
        """A render is never cut off. An upload is, by `drain`, when the lifetime is over."""
        is_upload_waited_for = not self._lifetime.is_over(time.monotonic())
        return bool(self._held) or (bool(self._uploads.jobs) and is_upload_waited_for)

    def leave(self, reason: str) -> None:
        """Finishes the job in hand and takes no other; after that a task of `start` ends.

        A job that waits for the end of another one's render is handed back. Twice is fine.
        """
        if self.is_draining:
            return
        self._log.info("leaving", reason=reason)
        self._is_leaving = True
        for job in waiting_behind_a_render(self._held.values()):
            job.end("drained")
            self._attempts.start(self._hand_back(job))
        self._notify()

    def _is_next_in_hand(self) -> bool:
        return any(job.is_waiting for job in self._held.values())

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
        in_hand = {*self._held, *self._uploads.jobs}
        ended = self._services.ended.named(in_hand, BEAT_MAX_JOBS - len(held))
        return Beat(
            worker_id=self._name.id,
            incarnation=self._name.incarnation,
            engine=self._engine,
            engine_facts=self.process.facts,
            state=state,
            trouble=self.process.trouble,
            seconds_per_video_second=self.process.seconds_per_video_second,
            release=self._release,
            pool=self._pool,
            pace_key=self.process.pace_key,
            offers=self.process.offers,
            time=self.process.time_spent.so_far(),
            idle_seconds=self._idle_seconds(),
            wake_id=self._wake_id,
            loading=self.process.loading if state == "loading" else None,
            gpus=self._gpus.gpus(self.process.device_uuid),
            startup=self.process.startup,
            starting=self.process.starting,
            disk_free=self._services.workplace.free_part(),
            at_ms=time.time_ns() // 1_000_000,
            jobs=[*(job.in_heartbeat() for job in held), *ended],
        )

    def counts(self) -> WorkerCounts:
        """What it has done so far."""
        spent = self.process.time_spent.so_far()
        return WorkerCounts(
            jobs=self._jobs_rendered,
            busy_seconds=spent.rendering_seconds,
            loading_seconds=spent.loading_seconds,
            idle_seconds=spent.idle_seconds,
        )

    def last_heartbeat(self) -> Beat:
        """The last word of an orderly end."""
        counts = None if self._wake_id is None else self.counts()
        return self.heartbeat().model_copy(update={"state": "gone", "counts": counts})

    def stop_attempt(self, order: StopOrder) -> None:
        """The attempt is somebody else's, no longer wanted, or its end is handled."""
        held = self._held.get(order.job_id)
        if held is not None and held.name.epoch == order.epoch:
            held.end("stopped")
        self._uploads.stop(order.job_id, order.epoch)
        self._services.ended.handled(order.job_id, order.epoch)

    async def drain(self) -> None:
        """Hands back at once what is not rendered, and lets uploads go on for the grace time.

        When it returns, nothing of this worker runs any more.
        """
        self._is_ending = True
        self._notify()
        await self._watching.stop()
        ended = [job for job in self._held.values() if not job.is_over and not job.is_rendered]
        for job in ended:
            job.end("drained")
        until = time.monotonic() + self._timings.drain_grace_seconds
        await self._rendering.stop()
        await asyncio.gather(*(self._hand_back(job) for job in ended))
        await self._attempts.wait(until - time.monotonic())
        await self._uploads.drain(until - time.monotonic(), _LAST_REPORTS_SECONDS)
        await self._attempts.stop()
        await self._asking.wait(_LAST_REPORTS_SECONDS)
        await self._asking.stop()
        await self._services.transfers.close()

    def _notify(self) -> None:
        """Something changed: a job may be wanted, and a heartbeat is due."""
        is_idle = self.process.is_ready and not self._held and not self._uploads.jobs
        if not is_idle:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = time.monotonic()
        self._changed.set()
        self._heartbeat_due.set()

    def _idle_seconds(self) -> float | None:
        return None if self._idle_since is None else round(time.monotonic() - self._idle_since, 3)

    def _note_trouble(self) -> None:
        """A sick worker pauses, or it would take one job of the queue after the other."""
        self._in_trouble_until = time.monotonic() + self._timings.trouble_again_seconds

    def _is_in_trouble(self) -> bool:
        return time.monotonic() < self._in_trouble_until

    def _wants_job(self) -> bool:
        """Asks ahead as late as possible: no job waits behind one GPU while another is free."""
        if self._is_in_trouble() or not self.process.is_ready:
            return False
        if self._is_next_in_hand() or not self._fits_another():
            return False
        if len(self._held) + len(self._uploads.jobs) >= BEAT_MAX_JOBS:
            # A job that no heartbeat can name would be taken for lost.
            return False
        remaining, whole = self.process.remaining_seconds()
        return (
            remaining <= max(self._timings.prefetch_before_end_seconds, whole / 10)
            and self._has_room()
        )

    def _fits_another(self) -> bool:
        return self._lifetime.fits(
            time.monotonic(),
            pace=self.process.slowest_pace,
            in_hand_seconds=sum(job.may_render_seconds for job in self._held.values()),
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

    async def _take(self, order: RenderOrder) -> None:
        """Begins the attempt, or hands it back at once if no job is to be taken any more."""
        job_id, epoch = order.job_id, order.epoch
        traceparent = attempt_trace(order.traceparent, job_id, epoch)
        name = AttemptName(job_id, order.owner, epoch, traceparent)
        log = self._log.bind(**name.log_keys)
        if self._epoch_in_hand(job_id) >= epoch:
            log.info("job is in hand already")
            return
        log.info("job taken")
        earlier = self._held.get(job_id)
        if earlier is not None:
            earlier.end("stopped")
        job = self._held[job_id] = HeldJob(name, order)
        if self.is_draining or self._is_in_trouble():
            await self._hand_back(job)
            return
        attempt = Attempt(
            job=job,
            services=self._services,
            on_rendered=self._hand_to_uploads,
            forget=self._forget,
            in_background=self._attempts.start,
            log=log,
        )
        job.task = self._attempts.start(attempt.run())
        self._notify()

    async def _hand_back(self, job: HeldJob) -> None:
        try:
            async with asyncio.timeout(_LAST_REPORTS_SECONDS):
                is_told = await self._services.reports.released(job.name, job.progress.used())
        except TimeoutError:
            self._log.warning("broker away, job not handed back", **job.name.log_keys)
        else:
            if is_told:
                self._services.ended.add(job.in_heartbeat())
        self._forget(job)

    def _epoch_in_hand(self, job_id: str) -> int:
        """The latest epoch under which the job was taken, as far as it is still named; else 0."""
        held, spooled = self._held.get(job_id), self._uploads.jobs.get(job_id)
        return max(
            held.name.epoch if held is not None else 0,
            spooled.name.epoch if spooled is not None else 0,
            self._services.ended.epoch_of(job_id) or 0,
        )

    def _hand_to_uploads(self, job: HeldJob, render: SpooledRender) -> None:
        self._jobs_rendered += 1
        self._forget(job)
        self._uploads.take(SpooledJob(render))

    def _forget(self, job: HeldJob) -> None:
        if self._held.get(job.name.job_id) is job:
            del self._held[job.name.job_id]
        self._notify()
