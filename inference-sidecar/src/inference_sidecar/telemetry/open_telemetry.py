"""Spans by OpenTelemetry's SDK, which batches and encodes them in a thread of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from inference_sidecar.foundation.contracts import (
    ATTRIBUTE_ERROR_TYPE,
    SPAN_LIMIT_ATTRIBUTES_PER_SPAN,
    SPAN_LIMIT_CHARACTERS_PER_VALUE,
    SPAN_LIMIT_SPANS_PER_MESSAGE,
)
from inference_sidecar.foundation.log import scrub_secrets
from inference_sidecar.telemetry.bus_exporter import BusExporter
from inference_sidecar.telemetry.spans import QUEUE_SPANS, SpanRecord

_SERVICE: Final = "sidecar"
_EVERY_MS: Final = 1000
_KINDS: Final = {
    "internal": SpanKind.INTERNAL,
    "client": SpanKind.CLIENT,
    "producer": SpanKind.PRODUCER,
}


class OpenTelemetrySink:
    """Makes the SDK's spans of ours, which are finished and have their ids already."""

    def __init__(self, hand_over: Callable[[bytes], None]) -> None:
        """hand_over: takes a message of OTLP/JSON; called from the SDK's thread."""
        _log_as_we_do()
        self._ids = _GivenIds()
        self._processor = BatchSpanProcessor(
            BusExporter(hand_over),
            max_queue_size=QUEUE_SPANS,
            schedule_delay_millis=_EVERY_MS,
            max_export_batch_size=SPAN_LIMIT_SPANS_PER_MESSAGE,
        )
        # Everything is given, so that no OTEL_ variable of the machine changes what is written.
        provider = TracerProvider(
            sampler=ALWAYS_ON,
            resource=Resource({"service.name": _SERVICE}),
            shutdown_on_exit=False,
            id_generator=self._ids,
            span_limits=SpanLimits(
                max_span_attributes=SPAN_LIMIT_ATTRIBUTES_PER_SPAN,
                max_span_attribute_length=SPAN_LIMIT_CHARACTERS_PER_VALUE,
            ),
        )
        provider.add_span_processor(self._processor)
        self._tracer = provider.get_tracer("inference_sidecar")

    def write(self, record: SpanRecord) -> None:
        """See `SpanSink.write`."""
        self._ids.trace_id, self._ids.span_id = int(record.trace_id, 16), int(record.span_id, 16)
        span = self._tracer.start_span(
            record.name,
            context=set_span_in_context(_parent(record)),
            kind=_KINDS[record.kind],
            attributes={
                # Cut afterwards: half a secret would not be recognised.
                name: scrub_secrets(value) if isinstance(value, str) else value
                for name, value in record.attributes.items()
            },
            start_time=record.start_ns,
        )
        if record.error is not None:
            span.set_attribute(ATTRIBUTE_ERROR_TYPE, record.error)
            span.set_status(Status(StatusCode.ERROR))
        span.end(end_time=record.end_ns)

    def close(self) -> None:
        """See `SpanSink.close`."""
        self._processor.shutdown()


class _GivenIds(IdGenerator):
    """Gives the next span the ids that it has already."""

    trace_id = 0
    span_id = 0

    def generate_trace_id(self) -> int:
        return self.trace_id

    def generate_span_id(self) -> int:
        return self.span_id


def _parent(record: SpanRecord) -> NonRecordingSpan:
    """A context that is not valid makes a root."""
    return NonRecordingSpan(
        SpanContext(
            int(record.trace_id, 16),
            int(record.parent_id or "0", 16),
            is_remote=True,
            trace_flags=TraceFlags(TraceFlags.SAMPLED),
        )
    )


def _log_as_we_do() -> None:
    """Or the SDK's warnings would be plain text among our lines."""
    theirs, ours = logging.getLogger("opentelemetry"), logging.getLogger("avatar")
    if not theirs.handlers:
        theirs.handlers = list(ours.handlers)
        theirs.propagate = False
