"""What a worker states as facts about an attempt; each is published until the broker has it."""

from __future__ import annotations

import time
from typing import TypedDict

from inference_sidecar.foundation.contracts import (
    FailureCode,
    RenderCancelled,
    RenderCompleted,
    RenderFailed,
    RenderReleased,
    RenderStarted,
)
from inference_sidecar.foundation.log import scrub_secrets
from inference_sidecar.store.spool import SpooledRender
from inference_sidecar.worker.broker import Broker
from inference_sidecar.worker.held_job import AttemptName

_MESSAGE_MAX_CHARACTERS = 1000


class _Fact(TypedDict):
    job_id: str
    owner: str
    epoch: int
    revision: int
    at_ms: int
    worker_id: str


class Reports:
    """Each method returns when the fact is stored, however long that takes."""

    def __init__(self, broker: Broker, worker_id: str) -> None:
        self._broker = broker
        self._worker_id = worker_id

    async def started(self, name: AttemptName) -> None:
        """The first forward began."""
        await self._broker.publish_event(RenderStarted(**self._fact(name)), name.traceparent)

    async def completed(self, name: AttemptName, render: SpooledRender) -> None:
        """The video is uploaded."""
        event = RenderCompleted(
            **self._fact(name),
            rendered=render.rendered,
            render_started_at_ms=render.render_started_at_ms,
            render_ended_at_ms=render.render_ended_at_ms,
        )
        await self._broker.publish_event(event, name.traceparent)

    async def failed(self, name: AttemptName, code: FailureCode, message: str) -> None:
        """The attempt failed; the code decides what follows."""
        # Made of whatever an engine or a library said.
        text = scrub_secrets(message)[:_MESSAGE_MAX_CHARACTERS]
        event = RenderFailed(**self._fact(name), code=code, message=text)
        await self._broker.publish_event(event, name.traceparent)

    async def released(self, name: AttemptName) -> None:
        """Handed back, nothing counted."""
        await self._broker.publish_event(RenderReleased(**self._fact(name)), name.traceparent)

    async def cancelled(self, name: AttemptName) -> None:
        """Stopped because we were told to."""
        await self._broker.publish_event(RenderCancelled(**self._fact(name)), name.traceparent)

    def _fact(self, name: AttemptName) -> _Fact:
        return {
            "job_id": name.job_id,
            "owner": name.owner,
            "epoch": name.epoch,
            # The record's revision is the orchestrator's knowledge, not ours.
            "revision": 0,
            "at_ms": time.time_ns() // 1_000_000,
            "worker_id": self._worker_id,
        }
