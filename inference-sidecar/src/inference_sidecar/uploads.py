"""Spooled renders on their way into the store: offered again and again, never rendered again."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

from inference_sidecar.broker import Broker
from inference_sidecar.config import SidecarConfig
from inference_sidecar.contracts import (
    FAILURES,
    STORE_SUBJECT,
    UPLOAD_TRIES,
    RenderCancelled,
    RenderCompleted,
    RenderFailed,
    RenderReleased,
    StoreGrant,
    StoreRequest,
)
from inference_sidecar.errors import StoreError
from inference_sidecar.held_job import SpooledJob
from inference_sidecar.log import Log
from inference_sidecar.spool import Spool
from inference_sidecar.transfers import Transfers

Settle = Callable[[str, str], Awaitable[None]]
"""Settles the queue entry of a job, if we hold it: `ack`, `nak` or `forget`."""


class Uploads:
    """The spool and the tasks that empty it."""

    def __init__(
        self,
        *,
        config: SidecarConfig,
        broker: Broker,
        spool: Spool,
        transfers: Transfers,
        settle: Settle,
        on_change: Callable[[], None],
        log: Log,
    ) -> None:
        self._config = config
        self._timings = config.timings
        self._broker = broker
        self._spool = spool
        self._transfers = transfers
        self._settle = settle
        self._on_change = on_change
        self._log = log
        self._tasks: set[asyncio.Task[None]] = set()
        self.jobs: dict[str, SpooledJob] = {}

    def take(self, job: SpooledJob) -> None:
        """Begins to upload a spooled render; an older one of the same job is replaced."""
        job_id = job.render.job_id
        earlier = self.jobs.get(job_id)
        if earlier is not None:
            earlier.stop.set()
        self.jobs[job_id] = job
        self._on_change()
        task = asyncio.create_task(self._upload(job))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drain(self, grace_seconds: float) -> None:
        """Lets uploads go on for a while, then hands back what is still here."""
        deadline = time.monotonic() + grace_seconds
        while any(job.stage != "uploaded" for job in self.jobs.values()):
            if time.monotonic() >= deadline:
                break
            await asyncio.sleep(0.05)
        for task in list(self._tasks):
            task.cancel()
        for job in list(self.jobs.values()):
            if job.stage != "uploaded":
                await self._publish(RenderReleased, job)
            self._spool.remove(job.render.job_id)
        self.jobs.clear()

    async def _upload(self, job: SpooledJob) -> None:
        """Until the record is terminal, or the attempt is not ours any more."""
        render = job.render
        log = self._log.bind(jobId=render.job_id, attempt=render.epoch)
        unavailable_seconds = 0.0
        while self.jobs.get(render.job_id) is job:
            answer = await self._ask_for_leave(job)
            kind = answer["answer"] if answer else None
            if kind in {"drop", "lost", "stop"}:
                log.info("spooled render given up", answer=kind)
                if kind == "stop":
                    await self._publish(RenderCancelled, job)
                await self._forget(job, "ack" if kind == "drop" else "forget")
                return
            if job.stage == "uploaded" or kind != "grant":
                await self._pause(job, self._timings.store_again_seconds)
                continue
            began = time.monotonic()
            if await self._store(job, StoreGrant.model_validate(answer), log):
                job.stage = "uploaded"
                self._on_change()
                await self._publish_completed(job)
                await self._settle(render.job_id, "ack")
                continue
            unavailable_seconds += time.monotonic() - began
            if unavailable_seconds > self._timings.upload_give_up_seconds:
                await self._publish_failed(job)
                await self._forget(job, "nak")
                return
            await self._pause(job, self._timings.upload_pause_seconds)

    async def _ask_for_leave(self, job: SpooledJob) -> dict[str, Any] | None:
        if job.stop.is_set():
            return {"answer": "stop"}
        render = job.render
        request = StoreRequest(
            job_id=render.job_id,
            owner=render.owner,
            worker_id=self._config.worker_id,
            epoch=render.epoch,
            bytes=render.rendered.bytes,
            sha256=render.rendered.sha256,
        )
        timeout = max(0.5, self._timings.request_timeout_seconds)
        return await self._broker.ask(STORE_SUBJECT, request, timeout, render.traceparent)

    async def _store(self, job: SpooledJob, grant: StoreGrant, log: Log) -> bool:
        job.stage = "uploading"
        self._on_change()
        for attempt in range(UPLOAD_TRIES):
            try:
                video = self._spool.video(job.render.job_id)
                await self._transfers.store(video, grant.url, grant.headers)
            except StoreError as error:
                log.warning("upload failed", err=str(error), code=error.code)
            else:
                return True
            if attempt < UPLOAD_TRIES - 1:
                backoff = self._timings.upload_backoff_seconds * 2**attempt
                await self._pause(job, backoff * random.uniform(0.75, 1.25))  # noqa: S311
                if job.stop.is_set():
                    break
        job.stage = "spooled"
        self._on_change()
        return False

    async def _pause(self, job: SpooledJob, seconds: float) -> None:
        try:
            await asyncio.wait_for(job.stop.wait(), seconds)
        except TimeoutError:
            return

    async def _forget(self, job: SpooledJob, how: str) -> None:
        render = job.render
        if self.jobs.get(render.job_id) is job:
            del self.jobs[render.job_id]
            self._spool.remove(render.job_id)
        await self._settle(render.job_id, how)
        self._on_change()

    def _fact(self, job: SpooledJob) -> dict[str, Any]:
        return {
            "job_id": job.render.job_id,
            "owner": job.render.owner,
            "epoch": job.render.epoch,
            "revision": 0,
            "at_ms": time.time_ns() // 1_000_000,
            "worker_id": self._config.worker_id,
        }

    async def _publish(
        self, event: type[RenderCancelled | RenderReleased], job: SpooledJob
    ) -> None:
        await self._broker.publish_event(event(**self._fact(job)), job.render.traceparent)

    async def _publish_completed(self, job: SpooledJob) -> None:
        render = job.render
        event = RenderCompleted(
            **self._fact(job),
            rendered=render.rendered,
            render_started_at_ms=render.render_started_at_ms,
            render_ended_at_ms=render.render_ended_at_ms,
        )
        await self._broker.publish_event(event, render.traceparent)

    async def _publish_failed(self, job: SpooledJob) -> None:
        code = "UPLOAD_FAILED"
        event = RenderFailed(**self._fact(job), code=code, message=FAILURES[code].summary)
        await self._broker.publish_event(event, job.render.traceparent)
