"""The beat: registry, liveness and progress of this worker in one message."""

from __future__ import annotations

import time

from inference_sidecar.broker import Broker
from inference_sidecar.config import SidecarConfig
from inference_sidecar.contracts import Beat
from inference_sidecar.worker import Worker


async def beat_on(config: SidecarConfig, broker: Broker, worker: Worker, incarnation: str) -> None:
    """Beats regularly, and soon after each change, until cancelled."""
    timings = config.timings
    while True:
        await broker.announce(f"beat.{config.worker_id}", _beat(config, worker, incarnation))
        await worker.next_beat(timings.beat_spacing_seconds, timings.beat_every_seconds)


def _beat(config: SidecarConfig, worker: Worker, incarnation: str) -> Beat:
    process = worker.process
    for job in worker.held.values():
        if job.stage == "rendering" and process.is_rendering:
            job.percent = max(job.percent, round(process.fraction * 100, 1))
    if worker.is_draining:
        state = "draining"
    elif not process.is_ready:
        state = "loading"
    else:
        state = "rendering" if process.is_rendering else "ready"
    return Beat(
        worker_id=config.worker_id,
        incarnation=incarnation,
        engine=config.engine,
        state=state,
        seconds_per_video_second=process.seconds_per_video_second,
        at_ms=time.time_ns() // 1_000_000,
        jobs=[
            *(job.in_beat() for job in worker.held.values()),
            *(job.in_beat() for job in worker.uploads.jobs.values()),
        ],
    )
