"""W3C trace context: one trace from the HTTP request to the last frame."""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import Final

_TRACEPARENT: Final = re.compile(r"^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$")
_NOT_SAMPLED: Final = "00"
_SAMPLED_BIT: Final = 1


def continue_trace(traceparent: str | None) -> str:
    """Continues the trace of the header by a span of our own, or begins a new trace.

    A new one is not sampled: whether a job's trace is written is decided where the job comes in.
    """
    match = _TRACEPARENT.match(traceparent or "")
    trace_id = match[1] if match else secrets.token_hex(16)
    flags = match[3] if match else _NOT_SAMPLED
    return f"00-{trace_id}-{secrets.token_hex(8)}-{flags}"


def attempt_trace(traceparent: str, job_id: str, epoch: int) -> str:
    """The trace of the header, continued by the span of one attempt.

    The orchestrator writes that span when the attempt has ended. It knows its id as we do: it
    follows from job and epoch, so that our spans can hang below it before it is there.
    """
    match = _TRACEPARENT.match(traceparent)
    trace_id, flags = (match[1], match[3]) if match else (secrets.token_hex(16), _NOT_SAMPLED)
    span_id = hashlib.sha256(f"{job_id}:{epoch}".encode()).hexdigest()[:16]
    return f"00-{trace_id}-{span_id}-{flags}"


def trace_id_of(traceparent: str) -> str:
    """The id that all spans of a trace share."""
    return traceparent.split("-")[1]


def span_id_of(traceparent: str) -> str:
    """The id of the span that the header names."""
    return traceparent.split("-")[2]


def is_sampled(traceparent: str) -> bool:
    """Whether spans of this trace are to be written."""
    return bool(int(traceparent.split("-")[3], 16) & _SAMPLED_BIT)
