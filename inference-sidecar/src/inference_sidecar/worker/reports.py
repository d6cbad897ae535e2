"""What a worker reports about an attempt; each event is published until it is stored."""

from __future__ import annotations

import time
from typing import Any, Final

from inference_sidecar.foundation.contracts import (
    ATTRIBUTE_MESSAGING_ID,
    ATTRIBUTE_MESSAGING_OPERATION,
    ATTRIBUTE_MESSAGING_SYSTEM,
    ATTRIBUTE_MESSAGING_TEMPLATE,
    ATTRIBUTE_MESSAGING_TYPE,
    FailureCode,
    RenderCancelled,
    RenderCompleted,
    RenderEvent,
    RenderFailed,
    RenderReleased,
    RenderStarted,
    Used,
    event_id,
    event_subject,
)
from inference_sidecar.foundation.errors import PublishRefused
from inference_sidecar.foundation.log import Log, scrub_secrets
from inference_sidecar.foundation.log_failure import log_failure
from inference_sidecar.store.spool import SpooledRender
from inference_sidecar.telemetry.spans import Spans
from inference_sidecar.worker.held_job import AttemptName
from inference_sidecar.worker.publisher import Publisher

_MESSAGE_MAX_CHARACTERS: Final = 1000


class Reports:
    """Each method returns when the event is stored, however long that takes; False: it never will.

    An event that the broker refuses for good is logged and dropped: the worker goes on, and the
    orchestrator finds the attempt lost as soon as heartbeats do not name it any more.
    """

    def __init__(self, publisher: Publisher, worker_id: str, spans: Spans, log: Log) -> None:
        self._publisher = publisher
        self._spans = spans
        self._worker_id = worker_id
        self._log = log

    async def started(self, name: AttemptName) -> None:
        """The first forward pass began."""
        await self._publish(RenderStarted, name)

    async def completed(self, name: AttemptName, render: SpooledRender) -> bool:
        """The video is uploaded."""
        return await self._publish(
            RenderCompleted,
            name,
            used=render.used,
            rendered=render.rendered,
            render_started_at_ms=render.render_started_at_ms,
            render_ended_at_ms=render.render_ended_at_ms,
        )

    async def failed(
        self, name: AttemptName, used: Used | None, code: FailureCode, message: str
    ) -> bool:
        """The attempt failed; the code decides what follows."""
        # The message is whatever an engine or a library said.
        text = scrub_secrets(message)[:_MESSAGE_MAX_CHARACTERS]
        return await self._publish(RenderFailed, name, used=used, code=code, message=text)

    async def released(self, name: AttemptName, used: Used | None) -> bool:
        """Handed back; the attempt does not count."""
        return await self._publish(RenderReleased, name, used=used)

    async def cancelled(self, name: AttemptName, used: Used | None) -> bool:
        """Stopped on the orchestrator's order."""
        return await self._publish(RenderCancelled, name, used=used)

    async def _publish(self, kind: type[RenderEvent], name: AttemptName, **facts: Any) -> bool:  # noqa: ANN401 - as the kind has them
        event = kind(
            job_id=name.job_id,
            owner=name.owner,
            epoch=name.epoch,
            # Only the orchestrator knows the revision of the record.
            revision=0,
            at_ms=time.time_ns() // 1_000_000,
            worker_id=self._worker_id,
            **facts,
        )
        log, subject = self._log.bind(**name.log_keys), event_subject(event)
        template = f"evt.{event.type}.{{job}}"
        attributes = {
            ATTRIBUTE_MESSAGING_SYSTEM: "nats",
            ATTRIBUTE_MESSAGING_OPERATION: "publish",
            ATTRIBUTE_MESSAGING_TYPE: "send",
            ATTRIBUTE_MESSAGING_TEMPLATE: template,
            ATTRIBUTE_MESSAGING_ID: event_id(event),
        }
        publishing = name.below(self._spans).begin(
            f"publish {template}", attributes, kind="producer"
        )
        try:
            with publishing:
                await self._publisher.store(
                    subject, event.to_json(), event_id(event), publishing.traceparent, log
                )
        except PublishRefused as error:
            log_failure(log, error, "report refused, dropping it", subject=subject)
            return False
        return True
