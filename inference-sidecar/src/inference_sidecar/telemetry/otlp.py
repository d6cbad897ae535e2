"""Finished spans as OTLP/JSON, in messages that a collector takes as they are.

It is written here, because OpenTelemetry's SDK costs many times as much: it makes spans of records
that are over already, checks each attribute anew, and encodes them by way of two more forms.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Literal

from inference_sidecar.foundation.contracts import (
    ATTRIBUTE_ERROR_TYPE,
    SPAN_LIMIT_ATTRIBUTES_PER_SPAN,
    SPAN_LIMIT_BYTES_PER_MESSAGE,
    SPAN_LIMIT_CHARACTERS_PER_VALUE,
    SPAN_LIMIT_SPANS_PER_MESSAGE,
)
from inference_sidecar.foundation.log import scrub_secrets

SpanKind = Literal["internal", "client", "producer"]
SpanValue = str | int | float | bool

_KINDS: Final[dict[SpanKind, int]] = {"internal": 1, "client": 3, "producer": 4}
_ERROR: Final = 2
_encode: Final = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
_BEFORE: Final = (
    '{"resourceSpans":[{"resource":{"attributes":'
    '[{"key":"service.name","value":{"stringValue":"sidecar"}}]},'
    '"scopeSpans":[{"scope":{"name":"inference_sidecar"},"spans":'
)
_AFTER: Final = "}]}]}"


@dataclass(frozen=True, slots=True)
class SpanRecord:
    """One finished span. error: what it failed with, a code or the name of an exception's type."""

    name: str
    kind: SpanKind
    trace_id: str
    span_id: str
    parent_id: str | None
    start_ns: int
    end_ns: int
    attributes: Mapping[str, SpanValue]
    error: str | None


def messages_of(records: Sequence[SpanRecord]) -> Iterator[bytes]:
    """The records in their order, in as few messages as the limits allow.

    A span that is too large for a message of its own is left out.
    """
    for first in range(0, len(records), SPAN_LIMIT_SPANS_PER_MESSAGE):
        yield from _small(_spans(records[first : first + SPAN_LIMIT_SPANS_PER_MESSAGE]))


def _small(spans: Sequence[dict[str, Any]]) -> Iterator[bytes]:
    message = f"{_BEFORE}{_encode(spans)}{_AFTER}".encode()
    if len(message) <= SPAN_LIMIT_BYTES_PER_MESSAGE:
        yield message
    elif len(spans) > 1:
        middle = len(spans) // 2
        yield from _small(spans[:middle])
        yield from _small(spans[middle:])


def _spans(records: Sequence[SpanRecord]) -> list[dict[str, Any]]:
    # All at once, because almost never is there anything to find.
    text = "\n".join(
        value
        for record in records
        for value in record.attributes.values()
        if isinstance(value, str)
    )
    clean = str if scrub_secrets(text) == text else scrub_secrets
    return [_span(record, clean) for record in records]


def _span(record: SpanRecord, clean: Callable[[str], str]) -> dict[str, Any]:
    attributes = record.attributes
    if record.error is not None:
        attributes = {**attributes, ATTRIBUTE_ERROR_TYPE: record.error}
    span: dict[str, Any] = {
        "traceId": record.trace_id,
        "spanId": record.span_id,
        "name": record.name,
        "kind": _KINDS[record.kind],
        "startTimeUnixNano": str(record.start_ns),
        "endTimeUnixNano": str(record.end_ns),
        "attributes": [
            {"key": name, "value": _value(value, clean)}
            for name, value in islice(attributes.items(), SPAN_LIMIT_ATTRIBUTES_PER_SPAN)
        ],
    }
    if record.parent_id is not None:
        span["parentSpanId"] = record.parent_id
    if record.error is not None:
        span["status"] = {"code": _ERROR}
    return span


def _value(value: SpanValue, clean: Callable[[str], str]) -> dict[str, SpanValue]:
    if isinstance(value, str):
        # Cut afterwards: half a secret would not be recognised.
        return {"stringValue": clean(value)[:SPAN_LIMIT_CHARACTERS_PER_VALUE]}
    if isinstance(value, bool):
        return {"boolValue": value}
    # OTLP writes whole numbers as text: JSON's are floats.
    return {"intValue": str(value)} if isinstance(value, int) else {"doubleValue": value}
