"""Spooled renders on their way into the store; none is ever rendered again."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Final

from inference_sidecar.foundation.background_tasks import BackgroundTasks, run_until
from inference_sidecar.foundation.contracts import (
    ATTRIBUTE_BYTES,
    ATTRIBUTE_HTTP_RESEND_COUNT,
    ATTRIBUTE_HTTP_STATUS,
    SPAN_UPLOAD,
    UPLOAD_TRIES,
    StoreAnswer,
    StoreGrant,
    StoreStop,
)
from inference_sidecar.foundation.errors import StoreError
from inference_sidecar.foundation.log import Log
from inference_sidecar.foundation.log_failure import log_failure
from inference_sidecar.store.spool import sha256_of
from inference_sidecar.store.transfers import StoreAway, StoreRefused
from inference_sidecar.worker.held_job import SpooledJob, Stage
from inference_sidecar.worker.job_services import JobServices

_LOOK_AGAIN_SECONDS: Final = 0.05


class Uploads:
    """The spooled jobs, with a task for each."""

    def __init__(self, services: JobServices, log: Log) -> None:
        self._services = services
        self._log = log
        self._background = BackgroundTasks()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.jobs: dict[str, SpooledJob] = {}

    def take(self, job: SpooledJob) -> None:
        """Begins to upload a spooled render, in place of one of an earlier epoch of the job."""
        job_id = job.render.job_id
        earlier = self._tasks.get(job_id)
        if earlier is not None:
            earlier.cancel()
        self.jobs[job_id] = job
        self._tasks[job_id] = self._background.start(self._upload(job))
        self._services.on_change()

    async def watch(self) -> None:
        """Raises what made an upload fail for good, which no upload does unless we are mistaken."""
        await self._background.watch()

    def stop(self, job_id: str, epoch: int) -> None:
        """Ends the upload of this attempt on the orchestrator's order."""
        job = self.jobs.get(job_id)
        if job is not None and job.render.epoch == epoch:
            job.stop.set()

    async def drain(self, grace_seconds: float, last_reports_seconds: float) -> None:
        """Lets uploads go on for a while, then hands back the jobs that are not yet reported."""
        deadline = time.monotonic() + grace_seconds
        while time.monotonic() < deadline:
            tasks = [self._tasks[job.render.job_id] for job in self._unreported()]
            if all(task.done() for task in tasks):
                break
            await asyncio.wait(tasks, timeout=_LOOK_AGAIN_SECONDS)
        await self._background.stop()
        try:
            async with asyncio.timeout(last_reports_seconds):
                await asyncio.gather(*(self._hand_back(job) for job in self._unreported()))
        except TimeoutError:
            self._log.warning("broker away, spooled renders not handed back")
            return
        for job in list(self.jobs.values()):
            self._forget(job)

    def _unreported(self) -> list[SpooledJob]:
        return [job for job in self.jobs.values() if not job.is_reported]

    async def _hand_back(self, job: SpooledJob) -> None:
        self._note_end(
            job, is_told=await self._services.reports.released(job.name, job.render.used)
        )

    async def _upload(self, job: SpooledJob) -> None:
        """Ends when the record is terminal, or the attempt is not ours any more."""
        log = self._log.bind(**job.name.log_keys)
        while True:
            try:
                await self._offer(job, log)
            except OSError as error:
                await self._release_damaged(job, log, error)
            except Exception:  # noqa: BLE001 - a mistake of ours must not cost a finished render
                log_failure(log, "UNEXPECTED", "upload broke off, offering it again")
                await self._pause(job, self._services.timings.upload_pause_seconds)
                continue
            return

    async def _offer(self, job: SpooledJob, log: Log) -> None:
        # Only the time in which the store could be reached counts towards giving up.
        tried_seconds = 0.0
        while True:
            answer = await self._ask(job)
            if isinstance(answer, StoreGrant) and not job.is_reported:
                began = time.monotonic()
                try:
                    is_stored = await self._store(job, answer, log)
                except StoreError as error:
                    await self._wait_spooled(job, error, log)
                    if not isinstance(error, StoreAway):
                        tried_seconds += time.monotonic() - began
                    if tried_seconds > self._services.timings.upload_give_up_seconds:
                        await self._give_up(job, log)
                        return
                else:
                    if is_stored and not await self._report(job, answer, log):
                        return
            elif answer is None or isinstance(answer, StoreGrant):
                await self._pause(job, self._services.timings.store_again_seconds)
                await self._remind(job, log)
            else:
                await self._end(job, answer, log)
                return

    async def _ask(self, job: SpooledJob) -> StoreAnswer | None:
        if job.stop.is_set():
            return StoreStop()
        return await self._services.requests.store(job.name, job.render.rendered)

    async def _wait_spooled(self, job: SpooledJob, error: StoreError, log: Log) -> None:
        """Raises `OSError` when the spooled file is not the one that was rendered."""
        log_failure(log, error, "render stays spooled")
        self._set_stage(job, "spooled")
        if not isinstance(error, StoreRefused):
            await self._pause(job, self._services.timings.upload_pause_seconds)
            return
        # An expired grant is replaced soon. If the file has changed on our disk, no grant fits it.
        video = self._services.workplace.spool.video(job.render.job_id)
        if await asyncio.to_thread(sha256_of, video) != job.render.rendered.sha256:
            raise OSError("The spooled video is damaged.")
        await self._pause(job, self._services.timings.store_again_seconds)

    async def _store(self, job: SpooledJob, grant: StoreGrant, log: Log) -> bool:
        """Tries a few times with growing pauses. False when it was stopped meanwhile.

        Raises the `StoreError` of the last try, and a refusal at once: this grant is of no use.
        """
        self._set_stage(job, "uploading")
        began = time.monotonic()
        for tries_left in reversed(range(UPLOAD_TRIES)):
            try:
                is_stored = await self._put(job, grant)
            except StoreError as error:
                if tries_left == 0 or isinstance(error, StoreRefused):
                    raise
                log_failure(log, error, "upload failed, trying again")
                seconds = self._services.timings.upload_backoff_seconds
                seconds *= 2.0 ** (UPLOAD_TRIES - 1 - tries_left)
                await self._pause(job, seconds * random.uniform(0.75, 1.25))  # noqa: S311
            else:
                if is_stored:
                    log.info("uploaded", durationMs=round((time.monotonic() - began) * 1000))
                return is_stored
        return False

    async def _put(self, job: SpooledJob, grant: StoreGrant) -> bool:
        """Tries once, until the job is stopped. True when the video is stored."""
        putting = await run_until(job.stop.wait(), self._put_watched(job, grant))
        if putting.cancelled():
            return False
        putting.result()
        return True

    async def _put_watched(self, job: SpooledJob, grant: StoreGrant) -> None:
        video = self._services.workplace.spool.video(job.render.job_id)
        attributes = {
            ATTRIBUTE_BYTES: job.render.rendered.bytes,
            ATTRIBUTE_HTTP_RESEND_COUNT: job.tries,
        }
        job.tries += 1
        attempt = job.name.below(self._services.spans)
        with attempt.begin(SPAN_UPLOAD, attributes, kind="client") as span:
            try:
                status = await self._services.transfers.store(video, grant.url, grant.headers)
            except StoreError as error:
                if isinstance(answered := error.context.get("status"), int):
                    span.set({ATTRIBUTE_HTTP_STATUS: answered})
                raise
            span.set({ATTRIBUTE_HTTP_STATUS: status})

    async def _report(self, job: SpooledJob, grant: StoreGrant, log: Log) -> bool:
        """False when the event can never be stored: the job is dropped, and found lost."""
        rendered = job.render.rendered.model_copy(update={"key": grant.key})
        job.render = job.render.model_copy(update={"rendered": rendered})
        self._set_stage(job, "uploaded")
        if not await self._services.reports.completed(job.name, job.render):
            self._forget(job)
            return False
        job.is_reported, job.reported_at = True, time.monotonic()
        log.info("render reported")
        return True

    async def _remind(self, job: SpooledJob, log: Log) -> None:
        """Reports again when the record does not become terminal.

        A broker that crashes can forget to deliver an event, and only this event ends the job.
        """
        is_due = time.monotonic() - job.reported_at > self._services.timings.report_again_seconds
        if job.is_reported and is_due and not job.stop.is_set():
            log.warning("render not settled, reporting it again")
            await self._services.reports.completed(job.name, job.render)
            job.reported_at = time.monotonic()

    async def _give_up(self, job: SpooledJob, log: Log) -> None:
        code = "UPLOAD_FAILED"
        log_failure(log, code, "render could not be stored, giving it up")
        message = "The finished video could not be stored; submit the job again."
        reports, used = self._services.reports, job.render.used
        self._note_end(job, is_told=await reports.failed(job.name, used, code, message))
        self._forget(job)

    async def _release_damaged(self, job: SpooledJob, log: Log, error: OSError) -> None:
        """Our disk has lost the render: the job is not to blame, and is rendered once more."""
        self._services.on_trouble()
        log.error("spooled render lost, handing the job back", reason=str(error))
        await self._hand_back(job)
        self._forget(job)

    async def _end(self, job: SpooledJob, answer: StoreAnswer, log: Log) -> None:
        if isinstance(answer, StoreStop) and not job.is_reported:
            reports, used = self._services.reports, job.render.used
            self._note_end(job, is_told=await reports.cancelled(job.name, used))
        self._forget(job)
        log.info("spooled render deleted", answer=answer.answer)

    def _note_end(self, job: SpooledJob, *, is_told: bool) -> None:
        if is_told:
            self._services.ended.add(job.in_heartbeat())

    def _forget(self, job: SpooledJob) -> None:
        job_id = job.render.job_id
        if self.jobs.get(job_id) is job:
            del self.jobs[job_id]
            self._tasks.pop(job_id, None)
            self._services.workplace.spool.remove(job_id)
        self._services.on_change()

    def _set_stage(self, job: SpooledJob, stage: Stage) -> None:
        job.stage = stage
        self._services.on_change()

    async def _pause(self, job: SpooledJob, seconds: float) -> None:
        """Waits for a while, or until the job is stopped."""
        try:
            async with asyncio.timeout(seconds):
                await job.stop.wait()
        except TimeoutError:
            return
