"""What a worker reports about an attempt; each event is published until it is stored."""

from __future__ import annotations

import time
from typing import Final, TypedDict

from inference_sidecar.foundation.contracts import (
    FailureCode,
    RenderCancelled,
    RenderCompleted,
    RenderEvent,
    RenderFailed,
    RenderReleased,
    RenderStarted,
    event_id,
    event_subject,
)
from inference_sidecar.foundation.errors import PublishRefused
from inference_sidecar.foundation.log import Log, scrub_secrets
from inference_sidecar.foundation.log_failure import log_failure
from inference_sidecar.foundation.trace import trace_id_of
from inference_sidecar.store.spool import SpooledRender
from inference_sidecar.worker.held_job import AttemptName
from inference_sidecar.worker.publisher import Publisher

_MESSAGE_MAX_CHARACTERS: Final = 1000


class _Fields(TypedDict):
    job_id: str
    owner: str
    epoch: int
    revision: int
    at_ms: int
    worker_id: str


class Reports:
    """Each method returns when the event is stored, however long that takes.

    An event that the broker refuses for good is logged and dropped: the worker goes on, and the
    orchestrator finds the attempt lost as soon as heartbeats do not name it any more.
    """

    def __init__(self, publisher: Publisher, worker_id: str, log: Log) -> None:
        self._publisher = publisher
        self._worker_id = worker_id
        self._log = log

    async def started(self, name: AttemptName) -> None:
        """The first forward pass began."""
        await self._publish(RenderStarted(**self._fields(name)), name)

    async def completed(self, name: AttemptName, render: SpooledRender) -> bool:
        """The video is uploaded. False when this can never be reported."""
        event = RenderCompleted(
            **self._fields(name),
            rendered=render.rendered,
            render_started_at_ms=render.render_started_at_ms,
            render_ended_at_ms=render.render_ended_at_ms,
        )
        return await self._publish(event, name)

    async def failed(self, name: AttemptName, code: FailureCode, message: str) -> None:
        """The attempt failed; the code decides what follows."""
        # The message is whatever an engine or a library said.
        text = scrub_secrets(message)[:_MESSAGE_MAX_CHARACTERS]
        await self._publish(RenderFailed(**self._fields(name), code=code, message=text), name)

    async def released(self, name: AttemptName) -> None:
        """Handed back; the attempt does not count."""
        await self._publish(RenderReleased(**self._fields(name)), name)

    async def cancelled(self, name: AttemptName) -> None:
        """Stopped on the orchestrator's order."""
        await self._publish(RenderCancelled(**self._fields(name)), name)

    async def _publish(self, event: RenderEvent, name: AttemptName) -> bool:
        log = self._log.bind(
            jobId=name.job_id, attempt=name.epoch, traceId=trace_id_of(name.traceparent)
        )
        try:
            await self._publisher.store(
                event_subject(event), event.to_json(), event_id(event), name.traceparent, log
            )
        except PublishRefused as error:
            log_failure(log, error, "report refused, dropping it", subject=event_subject(event))
            return False
        return True

    def _fields(self, name: AttemptName) -> _Fields:
        return {
            "job_id": name.job_id,
            "owner": name.owner,
            "epoch": name.epoch,
            # Only the orchestrator knows the revision of the record.
            "revision": 0,
            "at_ms": time.time_ns() // 1_000_000,
            "worker_id": self._worker_id,
        }
