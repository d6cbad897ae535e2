"""A start of a render process as spans: a trace of its own, for it belongs to no job."""

from __future__ import annotations

import secrets

from inference_sidecar.foundation.contracts import (
    ATTRIBUTE_ENGINE,
    ATTRIBUTE_WORKER,
    SPAN_START_WORKER,
)
from inference_sidecar.rendering.worker_start import WorkerStart
from inference_sidecar.telemetry.otlp import SpanRecord


def spans_of_start(start: WorkerStart, worker_id: str, engine: str) -> list[SpanRecord]:
    """The root and a child for each stage, of a start that is over."""
    trace_id, root_id = secrets.token_hex(16), secrets.token_hex(8)
    end_ns = start.end_ns or start.start_ns
    attributes = {ATTRIBUTE_WORKER: worker_id, ATTRIBUTE_ENGINE: engine}

    def record(
        name: str, span_id: str, parent_id: str | None, start_ns: int, end: int, error: str | None
    ) -> SpanRecord:
        return SpanRecord(
            name, "internal", trace_id, span_id, parent_id, start_ns, end, attributes, error
        )

    root = record(SPAN_START_WORKER, root_id, None, start.start_ns, end_ns, start.error)
    stages = [
        record(
            *(stage.name, secrets.token_hex(8), root_id),
            *(stage.start_ns, stage.end_ns or end_ns, stage.error),
        )
        for stage in start.stages
    ]
    return [root, *stages]
