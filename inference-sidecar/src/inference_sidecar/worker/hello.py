"""Whether this worker is needed: asked before it loads anything, when no is still cheap."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from pydantic import TypeAdapter

from inference_sidecar.config import SidecarConfig
from inference_sidecar.foundation.contracts import (
    CONTRACTS_NUMBER,
    HelloAnswer,
    HelloRequest,
    HelloWork,
    RequestError,
    hello_subject,
)
from inference_sidecar.foundation.log import Log
from inference_sidecar.telemetry.gpu_watch import GpuWatch
from inference_sidecar.worker.broker import Broker, NotAnswered
from inference_sidecar.worker.orchestrator_requests import LEAST_TIMEOUT_SECONDS, WorkerName

_ANSWERS: Final[TypeAdapter[HelloAnswer | RequestError]] = TypeAdapter(HelloAnswer | RequestError)


class Hello:
    """A doorbell may be rung twice, or hours late; the orchestrator alone knows who is needed."""

    def __init__(
        self, broker: Broker, worker: WorkerName, config: SidecarConfig, gpus: GpuWatch, log: Log
    ) -> None:
        self._broker = broker
        self._worker = worker
        self._config = config
        self._gpus = gpus
        self._log = log

    async def ask(self) -> HelloWork | None:
        """Asks until it is answered, or for a minute. None: this worker is to end.

        It may be asked again: the orchestrator gives the same worker the same answer.
        """
        timings, subject = self._config.timings, hello_subject(self._config.worker_pool)
        timeout_seconds = max(LEAST_TIMEOUT_SECONDS, timings.request_timeout_seconds)
        gives_up_at = time.monotonic() + max(LEAST_TIMEOUT_SECONDS, timings.hello_give_up_seconds)
        while (asked_at := time.monotonic()) < gives_up_at:
            try:
                answer = await self._broker.ask(subject, self._request(), _ANSWERS, timeout_seconds)
            except NotAnswered as error:
                error.log_to(self._log.bind(subject=subject))
                again_at = asked_at + timings.hello_again_seconds
                await asyncio.sleep(max(0.0, again_at - time.monotonic()))
                continue
            if isinstance(answer, HelloWork):
                self._log.info("let in", wakeId=answer.wake_id or self._config.wake_id)
                return answer
            self._log.info("leaving", reason=f"it is not needed: {answer.reason}")
            return None
        self._log.info("leaving", reason="nobody has said whether it is needed")
        return None

    def _request(self) -> HelloRequest:
        return HelloRequest(
            worker_id=self._worker.id,
            incarnation=self._worker.incarnation,
            pool=self._config.worker_pool,
            wake_id=self._config.wake_id,
            release=self._config.release,
            gpu=self._gpus.name(),
            contracts=CONTRACTS_NUMBER,
        )
