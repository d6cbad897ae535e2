"""W3C trace context: one trace from the HTTP request to the last frame."""

from __future__ import annotations

import re
import secrets
from typing import Final

_TRACEPARENT: Final = re.compile(r"^00-([0-9a-f]{32})-[0-9a-f]{16}-([0-9a-f]{2})$")


def continue_trace(traceparent: str | None) -> str:
    """Continues the trace of the header by a span of our own, or begins a new trace."""
    match = _TRACEPARENT.match(traceparent or "")
    trace_id = match[1] if match else secrets.token_hex(16)
    flags = match[2] if match else "01"
    return f"00-{trace_id}-{secrets.token_hex(8)}-{flags}"


def trace_id_of(traceparent: str) -> str:
    """The id that all spans of a trace share."""
    return traceparent.split("-")[1]
