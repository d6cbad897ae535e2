"""Where an entry of the queue goes that nobody can read."""

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
from inference_sidecar.foundation.log import Log
from inference_sidecar.worker.broker import Broker

_KEPT_BYTES: Final = 8 << 10
"""As much of it is kept: a byte may take six in JSON, and a message is 64 KB at most."""


async def bury(broker: Broker, message: Msg, reason: str, log: Log) -> None:
    """To the dead letters, then out of the queue."""
    sequence = message.metadata.sequence.stream
    log.error(
        "entry not understood", subject=message.subject, code="INVALID_MESSAGE", reason=reason
    )
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
    await broker.store_message(
        GPU_DEAD_LETTER_SUBJECT,
        letter.to_json(),
        f"{GPU_STREAM}:{sequence}",
        (message.headers or {}).get("traceparent", ""),
        log,
    )
    await broker.terminate(message, f"INVALID_MESSAGE {reason}")
