"""Where a queue entry goes that cannot be parsed."""

from __future__ import annotations

import time
from typing import Final

from nats.aio.msg import Msg

from inference_sidecar.foundation.contracts import (
    GPU_CONSUMER,
    GPU_DEAD_LETTER_SUBJECT,
    GPU_STREAM,
    DeadLetter,
)
from inference_sidecar.foundation.errors import PublishRefused
from inference_sidecar.foundation.log import Log
from inference_sidecar.foundation.log_failure import log_failure
from inference_sidecar.worker.broker import Broker

_KEPT_BYTES: Final = 8 << 10
"""How much of the entry is kept: a byte may take six in JSON, and a message 64 KB at most."""


async def dead_letter(broker: Broker, message: Msg, reason: str, log: Log) -> None:
    """Publishes the entry as a dead letter, then removes it from the queue.

    It is removed even if the broker refuses the dead letter for good: it would come back for ever,
    and the job it should have named is queued again by the orchestrator.
    """
    sequence = message.metadata.sequence.stream
    log = log.bind(subject=message.subject)
    log_failure(log, "INVALID_MESSAGE", "entry not understood", reason=reason)
    letter = DeadLetter(
        stream=GPU_STREAM,
        consumer=GPU_CONSUMER,
        subject=message.subject,
        sequence=sequence,
        reason=reason,
        code="INVALID_MESSAGE",
        payload=message.data[:_KEPT_BYTES].decode(errors="replace"),
        at_ms=time.time_ns() // 1_000_000,
    )
    traceparent = (message.headers or {}).get("traceparent", "")
    try:
        await broker.publisher.store(
            GPU_DEAD_LETTER_SUBJECT,
            letter.to_json(),
            f"{GPU_STREAM}:{sequence}",
            traceparent,
            log,
        )
    except PublishRefused as error:
        log_failure(log, error, "dead letter refused, the entry is dropped")
    await broker.terminate(message, f"INVALID_MESSAGE {reason}")
