"""The beat: registry, liveness and progress of this worker in one message."""

from __future__ import annotations

import asyncio

from inference_sidecar.foundation.contracts import Timings, beat_subject
from inference_sidecar.worker.broker import Broker
from inference_sidecar.worker.worker import Worker


async def beat_on(broker: Broker, worker: Worker, timings: Timings) -> None:
    """Beats regularly, and soon after each change but not too often, until cancelled."""
    while True:
        beat = worker.beat()
        await broker.announce(beat_subject(beat.worker_id), beat)
        await asyncio.sleep(timings.beat_spacing_seconds)
        await worker.beat_due.heard_within(
            timings.beat_every_seconds - timings.beat_spacing_seconds
        )
