"""The GPU never waits for the network, and no job waits for one GPU while another is free."""

from __future__ import annotations

import itertools
import statistics

from stage.object_store import ObjectStore
from stage.orchestrator import Orchestrator
from stage.sidecar import Sidecar


async def test_no_render_waits_for_its_inputs_while_there_is_a_backlog(
    sidecar: Sidecar, orchestrator: Orchestrator, store: ObjectStore
) -> None:
    # Fetching only when the device is free would let it wait for two seconds.
    store.slow_get_seconds = 2.0
    jobs = [await orchestrator.submit("null:seconds=4", frames=25) for _ in range(4)]
    sidecar.start(TIMINGS_DIVISOR="3")
    done = [await orchestrator.event(job, "render.completed") for job in jobs]

    ordered = sorted(done, key=lambda event: event["renderStartedAtMs"])
    gaps = [
        later["renderStartedAtMs"] - earlier["renderEndedAtMs"]
        for earlier, later in itertools.pairwise(ordered)
    ]
    assert statistics.median(gaps) <= 1_500, gaps


async def test_a_job_is_left_to_other_workers_while_the_current_render_is_long(
    sidecar: Sidecar, other_sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    sidecar.start()
    first = await orchestrator.submit("null:seconds=600", frames=250, deadline_seconds=900.0)
    await orchestrator.event(first, "render.started")
    second = await orchestrator.submit()

    other_sidecar.start()

    completed = await orchestrator.event(second, "render.completed")
    assert completed["workerId"] == "w2"
    assert second.claims == 1
