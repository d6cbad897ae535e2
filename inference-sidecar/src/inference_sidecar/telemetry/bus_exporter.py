"""An exporter that hands spans as OTLP/JSON to whoever publishes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from opentelemetry.exporter.otlp.json.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from inference_sidecar.foundation.contracts import SPAN_LIMIT_BYTES_PER_MESSAGE


class BusExporter(SpanExporter):
    """Never waits for anything, so neither does the end of the SDK."""

    def __init__(self, hand_over: Callable[[bytes], None]) -> None:
        self._hand_over = hand_over

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Hands over one message, or several where one would be too large."""
        message = encode_spans(spans).to_json().encode()
        if len(message) <= SPAN_LIMIT_BYTES_PER_MESSAGE:
            self._hand_over(message)
        elif len(spans) > 1:
            middle = len(spans) // 2
            self.export(spans[:middle])
            self.export(spans[middle:])
        return SpanExportResult.SUCCESS
