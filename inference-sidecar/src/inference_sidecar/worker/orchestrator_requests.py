"""What a worker asks about an attempt in hand: fresh URLs, and whether to upload its video."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pydantic import TypeAdapter

from inference_sidecar.foundation.contracts import (
    ClaimAnswer,
    ClaimRequest,
    Rendered,
    RequestError,
    StoreAnswer,
    StoreRequest,
    Timings,
    WireModel,
    claim_subject,
    store_subject,
)
from inference_sidecar.foundation.log import Log
from inference_sidecar.worker.broker import Answer, Broker, NotAnswered
from inference_sidecar.worker.held_job import AttemptName

LEAST_TIMEOUT_SECONDS: Final = 0.5
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

    def __init__(
        self, broker: Broker, worker: WorkerName, pool: str, timings: Timings, log: Log
    ) -> None:
        self._broker = broker
        self._worker = worker
        self._pool = pool
        self._log = log
        self._timeout_seconds = max(LEAST_TIMEOUT_SECONDS, timings.request_timeout_seconds)

    async def renew(self, name: AttemptName) -> ClaimAnswer | None:
        """Asks once for fresh URLs of the inputs of an attempt in hand."""
        request = ClaimRequest(
            job_id=name.job_id,
            owner=name.owner,
            worker_id=self._worker.id,
            incarnation=self._worker.incarnation,
            epoch=name.epoch,
        )
        return await self._ask(claim_subject(self._pool), request, _CLAIM_ANSWERS, name)

    async def store(self, name: AttemptName, rendered: Rendered) -> StoreAnswer | None:
        """Asks once for permission to upload."""
        request = StoreRequest(
            job_id=name.job_id,
            owner=name.owner,
            worker_id=self._worker.id,
            epoch=name.epoch,
            bytes=rendered.bytes,
            sha256=rendered.sha256,
        )
        return await self._ask(store_subject(self._pool), request, _STORE_ANSWERS, name)

    async def _ask(
        self,
        subject: str,
        request: WireModel,
        answers: TypeAdapter[Answer | RequestError],
        name: AttemptName,
    ) -> Answer | None:
        try:
            return await self._broker.ask(
                subject, request, answers, self._timeout_seconds, name.traceparent
            )
        except NotAnswered as error:
            error.log_to(self._log.bind(**name.log_keys, subject=subject))
            return None
