"""How a worker asks for its next job: one ask at a time, under a name that it keeps."""

from __future__ import annotations

import time
import uuid
from typing import Final

from pydantic import TypeAdapter

from inference_sidecar.foundation.background_tasks import run_until
from inference_sidecar.foundation.contracts import (
    NextAnswer,
    NextRequest,
    Offers,
    RenderOrder,
    RequestError,
    Timings,
    next_subject,
)
from inference_sidecar.foundation.log import Log
from inference_sidecar.worker.broker import Broker, NotAnswered
from inference_sidecar.worker.orchestrator_requests import LEAST_TIMEOUT_SECONDS, WorkerName

_RECONNECT_SECONDS: Final = 0.25
"""How soon it looks again whether the worker still wants a job, while the broker is away."""

_ANSWERS: Final[TypeAdapter[NextAnswer | RequestError]] = TypeAdapter(NextAnswer | RequestError)


class Asks:
    """Each ask has a name, which is kept until it has brought a job.

    An answer that was lost is given again to whoever asks under the same name, so every ask may be
    repeated.
    """

    def __init__(
        self, broker: Broker, worker: WorkerName, pool: str, timings: Timings, log: Log
    ) -> None:
        self._broker = broker
        self._worker = worker
        self._pool = pool
        self._subject = next_subject(pool)
        self._timings = timings
        self._extra_seconds = max(LEAST_TIMEOUT_SECONDS, timings.ask_extra_seconds)
        self._log = log
        self._name = uuid.uuid4().hex
        self._again_at = 0.0
        self._may_be_lost = False
        self._is_answered = True
        self._may_park = True

    def pause_seconds(self, *, is_idle: bool) -> float:
        """How long the next ask has to wait. An idle worker is asked to be parked at once."""
        if is_idle and self._may_park:
            return 0.0
        return max(0.0, self._again_at - time.monotonic())

    async def next(
        self, *, is_idle: bool, seconds_per_video_second: float, offers: Offers | None = None
    ) -> RenderOrder | None:
        """Asks once; None when that brought no job.

        It must not be cancelled while an answer may come: that would hold a job for nobody.
        is_idle: the worker has nothing to render, so the ask is parked until a job comes.
        """
        if not self._broker.client.is_connected:
            # The client would buffer the asks of a long outage, and send them all after it.
            await self._broker.reconnected.wait_at_most(_RECONNECT_SECONDS)
            self._ask_at_once()
            return None
        if self._may_be_lost and not await self._broker.ping(self._extra_seconds):
            # A broker that hangs would keep the asks, and each would arrive at its own time.
            return None
        # The last answer may wait at an orchestrator that hangs: another one gives it at once.
        wait_seconds = self._timings.ask_park_seconds if is_idle and not self._may_be_lost else 0.0
        request = NextRequest(
            worker_id=self._worker.id,
            incarnation=self._worker.incarnation,
            ask=self._name,
            pool=self._pool,
            seconds_per_video_second=seconds_per_video_second,
            offers=offers,
            is_idle=is_idle,
            wait_ms=wait_seconds * 1000,
        )
        self._again_at = time.monotonic() + self._timings.ask_again_seconds
        self._may_park = False
        answer = await self._answer_to(request, wait_seconds + self._extra_seconds)
        if isinstance(answer, RenderOrder):
            self._name = uuid.uuid4().hex
            self._ask_at_once()
            return answer
        if answer is not None:
            # An ask that was not parked ends at once, and the parked one may follow it.
            self._may_park = wait_seconds == 0
        return None

    async def _answer_to(self, request: NextRequest, within_seconds: float) -> NextAnswer | None:
        """None when there is no answer, or the connection to which it would come is gone."""
        self._broker.reconnected.clear()
        asking = await run_until(
            self._broker.reconnected.wait_at_most(2 * within_seconds),
            self._broker.ask(self._subject, request, _ANSWERS, within_seconds),
        )
        if asking.cancelled():
            self._may_be_lost = True
            self._ask_at_once()
            return None
        try:
            answer = asking.result()
        except NotAnswered as error:
            self._may_be_lost = self._may_be_lost or error.is_silence
            self._note_answered(error)
            return None
        self._may_be_lost = False
        self._note_answered(None)
        return answer

    def _ask_at_once(self) -> None:
        self._again_at = 0.0

    def _note_answered(self, error: NotAnswered | None) -> None:
        """Logs only when it changes: an idle worker asks all the time."""
        if error is not None and self._is_answered:
            error.log_to(self._log.bind(subject=self._subject))
        if error is None and not self._is_answered:
            self._log.info("asks are answered again")
        self._is_answered = error is None
