"""Spooled renders on their way into the store: offered again and again, never rendered again."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

from inference_sidecar.foundation.contracts import (
    FAILURES,
    UPLOAD_TRIES,
    StoreAnswer,
    StoreDrop,
    StoreGrant,
    StoreStop,
    Timings,
)
from inference_sidecar.foundation.errors import StoreError
from inference_sidecar.foundation.log import Log
from inference_sidecar.foundation.trace import trace_id_of
from inference_sidecar.store.spool import Spool, sha256_of
from inference_sidecar.store.transfers import StoreAway, StoreRefused, Transfers
from inference_sidecar.worker.handles import Handles
from inference_sidecar.worker.held_job import SpooledJob, Stage
from inference_sidecar.worker.orchestrator_requests import OrchestratorRequests
from inference_sidecar.worker.reports import Reports


class Uploads:
    """The spooled jobs, and a task for each of them."""

    def __init__(
        self,
        *,
        spool: Spool,
        transfers: Transfers,
        requests: OrchestratorRequests,
        reports: Reports,
        handles: Handles,
        timings: Timings,
        on_change: Callable[[], None],
        log: Log,
    ) -> None:
        self._spool = spool
        self._transfers = transfers
        self._requests = requests
        self._reports = reports
        self._handles = handles
        self._timings = timings
        self._on_change = on_change
        self._log = log
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.jobs: dict[str, SpooledJob] = {}

    def take(self, job: SpooledJob) -> None:
        """Begins to upload a spooled render; one of an earlier epoch of the same job is void."""
        job_id = job.render.job_id
        earlier = self._tasks.get(job_id)
        if earlier is not None:
            earlier.cancel()
        self.jobs[job_id] = job
        self._tasks[job_id] = asyncio.create_task(self._upload(job))
        self._on_change()

    def stop(self, job_id: str, epoch: int) -> None:
        """The orchestrator wants no more of this attempt."""
        job = self.jobs.get(job_id)
        if job is not None and job.render.epoch == epoch:
            job.stop.set()

    async def drain(self, grace_seconds: float, last_words_seconds: float) -> None:
        """Lets uploads go on for a while, then hands back what the broker has not heard of."""
        pending = [task for job_id, task in self._tasks.items() if not self._is_reported(job_id)]
        deadline = time.monotonic() + grace_seconds
        while pending and time.monotonic() < deadline:
            await asyncio.wait(pending, timeout=0.05)
            pending = [
                task for job_id, task in self._tasks.items() if not self._is_reported(job_id)
            ]
        for task in self._tasks.values():
            task.cancel()
        left = [job for job in self.jobs.values() if not job.is_reported]
        try:
            async with asyncio.timeout(last_words_seconds):
                await asyncio.gather(*(self._hand_back(job) for job in left))
        except TimeoutError:
            self._log.warning("broker away, spooled renders not handed back")
            return
        for job in list(self.jobs.values()):
            self._forget(job)

    def _is_reported(self, job_id: str) -> bool:
        job = self.jobs.get(job_id)
        return job is None or job.is_reported

    async def _hand_back(self, job: SpooledJob) -> None:
        await self._reports.released(job.name)
        await self._handles.nak(job.render.job_id, 0)

    async def _upload(self, job: SpooledJob) -> None:
        """Until the record is terminal, or the attempt is not ours any more."""
        log = self._log.bind(
            jobId=job.render.job_id,
            attempt=job.render.epoch,
            traceId=trace_id_of(job.render.traceparent),
        )
        while True:
            try:
                await self._offer(job, log)
            except OSError as error:
                await self._release_damaged(job, log, error)
            except Exception:  # noqa: BLE001 - a mistake of ours must not cost a finished render
                log.error("upload broke off, offering it again", code="UNEXPECTED")  # noqa: TRY400 - our own logger
                await self._pause(job, self._timings.upload_pause_seconds)
                continue
            return

    async def _offer(self, job: SpooledJob, log: Log) -> None:
        # Only time in which the store could be reached counts towards giving up.
        tried_seconds = 0.0
        while True:
            answer = await self._leave(job)
            if isinstance(answer, StoreGrant) and not job.is_reported:
                began = time.monotonic()
                try:
                    is_stored = await self._store(job, answer, log)
                except StoreError as error:
                    await self._wait_spooled(job, error, log)
                    if not isinstance(error, StoreAway):
                        tried_seconds += time.monotonic() - began
                    if tried_seconds > self._timings.upload_give_up_seconds:
                        await self._give_up(job, log)
                        return
                else:
                    if is_stored:
                        await self._report(job, answer, log)
            elif answer is None or isinstance(answer, StoreGrant):
                await self._pause(job, self._timings.store_again_seconds)
                await self._remind(job, log)
            else:
                await self._end(job, answer, log)
                return

    async def _leave(self, job: SpooledJob) -> StoreAnswer | None:
        return StoreStop() if job.stop.is_set() else await self._requests.store(job.render)

    async def _wait_spooled(self, job: SpooledJob, error: StoreError, log: Log) -> None:
        """Raises `OSError` when what lies in the spool is not what was rendered."""
        log.warning("render stays spooled", code=error.code, reason=str(error))
        self._set_stage(job, "spooled")
        if not isinstance(error, StoreRefused):
            await self._pause(job, self._timings.upload_pause_seconds)
            return
        # An expired grant is replaced soon; but no grant fits a file that has changed on our disk.
        video = self._spool.video(job.render.job_id)
        if await asyncio.to_thread(sha256_of, video) != job.render.rendered.sha256:
            raise OSError("The spooled video is damaged.")
        await self._pause(job, self._timings.store_again_seconds)

    async def _store(self, job: SpooledJob, grant: StoreGrant, log: Log) -> bool:
        """A few tries with growing pauses; whether it is stored, or was stopped meanwhile.

        Raises the `StoreError` of the last try, and a refusal at once: the grant will not do.
        """
        self._set_stage(job, "uploading")
        began = time.monotonic()
        for tries_left in reversed(range(UPLOAD_TRIES)):
            try:
                is_stored = await self._put(job, grant)
            except StoreError as error:
                if tries_left == 0 or isinstance(error, StoreRefused):
                    raise
                log.warning("upload failed, trying again", code=error.code, reason=str(error))
                seconds = self._timings.upload_backoff_seconds
                seconds *= 2.0 ** (UPLOAD_TRIES - 1 - tries_left)
                await self._pause(job, seconds * random.uniform(0.75, 1.25))  # noqa: S311
            else:
                if is_stored:
                    log.info("uploaded", durationMs=round((time.monotonic() - began) * 1000))
                return is_stored
        return False

    async def _put(self, job: SpooledJob, grant: StoreGrant) -> bool:
        """One try, given up when the job is stopped; whether the video is stored."""
        video = self._spool.video(job.render.job_id)
        putting = asyncio.ensure_future(self._transfers.store(video, grant.url, grant.headers))
        stopped = asyncio.ensure_future(job.stop.wait())
        try:
            await asyncio.wait({putting, stopped}, return_when="FIRST_COMPLETED")
            if putting.done():
                putting.result()
                return True
            return False
        finally:
            stopped.cancel()
            if not putting.done():
                putting.cancel()
                await asyncio.wait({putting})

    async def _report(self, job: SpooledJob, grant: StoreGrant, log: Log) -> None:
        """The broker has the event before the entry is acked: until then the job lives on in it."""
        rendered = job.render.rendered.model_copy(update={"key": grant.key})
        job.render = job.render.model_copy(update={"rendered": rendered})
        self._set_stage(job, "uploaded")
        await self._reports.completed(job.name, job.render)
        job.is_reported, job.reported_at = True, time.monotonic()
        await self._handles.ack(job.render.job_id)
        log.info("render reported")

    async def _remind(self, job: SpooledJob, log: Log) -> None:
        """Reports again what nobody settles.

        A broker that stops badly can forget to hand an event on, and this one alone ends the job.
        """
        is_due = time.monotonic() - job.reported_at > self._timings.report_again_seconds
        if job.is_reported and is_due and not job.stop.is_set():
            log.warning("render not settled, reporting it again")
            await self._reports.completed(job.name, job.render)
            job.reported_at = time.monotonic()

    async def _give_up(self, job: SpooledJob, log: Log) -> None:
        code = "UPLOAD_FAILED"
        log.error("render could not be stored, giving it up", code=code)
        await self._reports.failed(job.name, code, FAILURES[code].summary)
        await self._handles.nak(job.render.job_id, self._timings.after_failure_nak_seconds)
        self._forget(job)

    async def _release_damaged(self, job: SpooledJob, log: Log, error: OSError) -> None:
        """Our disk lost the render; the job is not to blame and is rendered once more."""
        log.error("spooled render lost, handing the job back", reason=str(error))
        await self._reports.released(job.name)
        await self._handles.nak(job.render.job_id, self._timings.later_nak_seconds)
        self._forget(job)

    async def _end(self, job: SpooledJob, answer: StoreAnswer, log: Log) -> None:
        if isinstance(answer, StoreStop) and not job.is_reported:
            await self._reports.cancelled(job.name)
        if isinstance(answer, StoreDrop):
            await self._handles.ack(job.render.job_id)
        else:
            self._handles.forget(job.render.job_id)
        self._forget(job)
        log.info("spooled render deleted", answer=answer.answer)

    def _forget(self, job: SpooledJob) -> None:
        job_id = job.render.job_id
        if self.jobs.get(job_id) is job:
            del self.jobs[job_id]
            self._tasks.pop(job_id, None)
            self._spool.remove(job_id)
        self._on_change()

    def _set_stage(self, job: SpooledJob, stage: Stage) -> None:
        job.stage = stage
        self._on_change()

    async def _pause(self, job: SpooledJob, seconds: float) -> None:
        """A while, or until the job is stopped."""
        try:
            async with asyncio.timeout(seconds):
                await job.stop.wait()
        except TimeoutError:
            return
