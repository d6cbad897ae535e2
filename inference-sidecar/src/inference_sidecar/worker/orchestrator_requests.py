"""What a worker asks the orchestrator: whether to render a job, and whether to upload a video."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pydantic import TypeAdapter

from inference_sidecar.foundation.contracts import (
    CLAIM_SUBJECT,
    CLAIM_TRIES,
    STORE_SUBJECT,
    ClaimAnswer,
    ClaimRequest,
    GpuEntry,
    RequestError,
    StoreAnswer,
    StoreRequest,
    Timings,
)
from inference_sidecar.store.spool import SpooledRender
from inference_sidecar.worker.broker import Broker

_LEAST_TIMEOUT_SECONDS: Final = 0.5
"""However much the waits are divided for tests, an answer takes this long on a busy machine."""

_CLAIM_ANSWERS: Final[TypeAdapter[ClaimAnswer | RequestError]] = TypeAdapter(
    ClaimAnswer | RequestError
)
_STORE_ANSWERS: Final[TypeAdapter[StoreAnswer | RequestError]] = TypeAdapter(
    StoreAnswer | RequestError
)


@dataclass(frozen=True)
class WorkerName:
    """Which worker this is.

    id: survives restarts. incarnation: changes with each start of the process.
    """

    id: str
    incarnation: str


class OrchestratorRequests:
    """Every request may be repeated; the result is None when nobody answered."""

    def __init__(self, broker: Broker, worker: WorkerName, timings: Timings) -> None:
        self._broker = broker
        self._worker = worker
        self._timings = timings
        self._timeout_seconds = max(_LEAST_TIMEOUT_SECONDS, timings.request_timeout_seconds)

    async def claim(
        self,
        entry: GpuEntry,
        seconds_per_video_second: float,
        traceparent: str,
        *,
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> ClaimAnswer | None:
        """Asks for a job; asks again if nobody answers, for as long as `is_wanted` says so."""
        request = ClaimRequest(
            job_id=entry.job_id,
            owner=entry.owner,
            worker_id=self._worker.id,
            incarnation=self._worker.incarnation,
            seconds_per_video_second=seconds_per_video_second,
        )
        for tries_left in reversed(range(CLAIM_TRIES)):
            answer = await self._broker.ask(
                CLAIM_SUBJECT, request, _CLAIM_ANSWERS, self._timeout_seconds, traceparent
            )
            if answer is not None or tries_left == 0 or not is_wanted():
                return answer
            await asyncio.sleep(self._timings.claim_again_seconds)
        return None

    async def store(self, render: SpooledRender) -> StoreAnswer | None:
        """Asks once for permission to upload."""
        request = StoreRequest(
            job_id=render.job_id,
            owner=render.owner,
            worker_id=self._worker.id,
            epoch=render.epoch,
            bytes=render.rendered.bytes,
            sha256=render.rendered.sha256,
        )
        return await self._broker.ask(
            STORE_SUBJECT, request, _STORE_ANSWERS, self._timeout_seconds, render.traceparent
        )
