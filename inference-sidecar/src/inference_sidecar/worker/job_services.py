"""What a worker's attempts and uploads work with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from inference_sidecar.foundation.contracts import Timings
from inference_sidecar.rendering.render_process import RenderProcess
from inference_sidecar.store.transfers import Transfers
from inference_sidecar.store.workplace import Workplace
from inference_sidecar.telemetry.spans import Spans
from inference_sidecar.worker.ended_attempts import EndedAttempts
from inference_sidecar.worker.orchestrator_requests import OrchestratorRequests
from inference_sidecar.worker.reports import Reports


@dataclass(frozen=True)
class JobServices:
    """One set for all jobs of a worker.

    on_change: called whenever a job's stage changes. on_trouble: called when this worker's own
    engine or disk let a job down.
    """

    workplace: Workplace
    transfers: Transfers
    process: RenderProcess
    requests: OrchestratorRequests
    reports: Reports
    ended: EndedAttempts
    spans: Spans
    timings: Timings
    on_change: Callable[[], None]
    on_trouble: Callable[[], None]
