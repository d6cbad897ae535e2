"""The heartbeat: registry, liveness and progress of this worker, in a message and in a file."""

from __future__ import annotations

import asyncio
from typing import Final

from inference_sidecar.foundation.background_tasks import BackgroundTasks
from inference_sidecar.foundation.contracts import Timings, beat_subject
from inference_sidecar.store.health_file import HealthFile
from inference_sidecar.worker.auto_reset_event import AutoResetEvent
from inference_sidecar.worker.broker import Broker
from inference_sidecar.worker.worker import Worker

_PING_SECONDS: Final = 1.0
_STALE_AFTER_BEATS: Final = 5
_STALE_AFTER_LEAST_SECONDS: Final = 5.0
"""However much the waits are divided for tests, a busy machine may be silent for so long."""


class Heartbeat:
    """Runs from the start of the process to its end; until it has a worker it only writes the file.

    The file must not depend on the broker: without one the sidecar waits, and is alive.
    """

    def __init__(self, file: HealthFile, due: AutoResetEvent, timings: Timings) -> None:
        """due: set when something changed that is worth a heartbeat before its time."""
        self._file = file
        self._due = due
        self._timings = timings
        self._stale_after_seconds = max(
            _STALE_AFTER_LEAST_SECONDS, _STALE_AFTER_BEATS * timings.beat_every_seconds
        )
        self._worker: Worker | None = None
        self._broker: Broker | None = None
        self._pings = BackgroundTasks()
        self._ping: asyncio.Task[None] | None = None
        self._is_answered = False

    def begin(self, worker: Worker, broker: Broker) -> None:
        """From now on also publishes what the worker says of itself."""
        self._worker, self._broker = worker, broker
        self._due.set()

    async def run(self) -> None:
        """Regularly, and soon but not too often after each change, until cancelled."""
        try:
            while True:
                await self._beat()
                await asyncio.sleep(self._timings.beat_spacing_seconds)
                await self._due.wait_at_most(
                    self._timings.beat_every_seconds - self._timings.beat_spacing_seconds
                )
        finally:
            await self._pings.stop()
            self._file.remove()

    async def say_gone(self) -> None:
        """The last word of an orderly end; after `run` has ended."""
        if self._worker is not None and self._broker is not None:
            beat = self._worker.last_heartbeat()
            await self._broker.announce(beat_subject(beat.worker_id), beat)

    async def _beat(self) -> None:
        self._file.write(self._obstacle(), self._stale_after_seconds)
        if self._worker is None or self._broker is None:
            return
        beat = self._worker.heartbeat()
        await self._broker.announce(beat_subject(beat.worker_id), beat)
        if self._ping is None or self._ping.done():
            # Beside the heartbeat, which a broker that does not answer must not delay.
            self._ping = self._pings.start(self._ping_broker(self._broker))

    async def _ping_broker(self, broker: Broker) -> None:
        is_answered = await broker.ping(_PING_SECONDS)
        if is_answered != self._is_answered:
            self._is_answered = is_answered
            self._due.set()

    def _obstacle(self) -> str | None:
        """Why no job should be sent to this worker."""
        if self._worker is None:
            return "it has not yet connected to the broker, or not been let in"
        if self._worker.is_draining:
            return "it is draining"
        if not self._is_answered:
            return "the broker does not answer"
        if self._worker.process.is_ready:
            return None
        trouble = self._worker.process.trouble
        return f"the engine is not loaded: {trouble}" if trouble else "the engine is not loaded"
