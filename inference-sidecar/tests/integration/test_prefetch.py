"""The GPU does not wait for the network, and nothing waits behind one GPU while another is free."""

from __future__ import annotations

import itertools
import statistics

from stage.object_store import ObjectStore
from stage.orchestrator import Orchestrator
from stage.sidecar import Sidecar
from stage.until import until


async def test_the_gap_between_renders_with_a_backlog_is_tiny(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    jobs = [await orchestrator.submit("null:seconds=0.4", frames=25) for _ in range(6)]
    sidecar.start()
    done = [await orchestrator.event(job, "render.completed") for job in jobs]

    ordered = sorted(done, key=lambda event: event["renderStartedAtMs"])
    gaps = [
        later["renderStartedAtMs"] - earlier["renderEndedAtMs"]
        for earlier, later in itertools.pairwise(ordered)
    ]
    assert statistics.median(gaps) <= 50, gaps


async def test_the_next_job_is_ready_before_the_current_one_ends(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    sidecar.start()
    first = await orchestrator.submit("null:seconds=1", frames=100)
    await orchestrator.event(first, "render.started")
    second = await orchestrator.submit()

    held = await until(lambda: orchestrator.held(second), "second job in hand")

    assert held["stage"] in {"fetching", "ready"}
    assert orchestrator.events_of(first, "render.completed") == []


async def test_a_job_is_left_to_others_while_the_current_render_is_long(
    sidecar: Sidecar, other_sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    sidecar.start()
    first = await orchestrator.submit("null:seconds=6", frames=250)
    await orchestrator.event(first, "render.started")
    second = await orchestrator.submit()

    other_sidecar.start()

    completed = await orchestrator.event(second, "render.completed")
    assert completed["workerId"] == "w2"
    assert second.claims == 1


async def test_an_upload_does_not_keep_the_next_render_waiting(
    sidecar: Sidecar, orchestrator: Orchestrator, store: ObjectStore
) -> None:
    store.slow_put_seconds = 1.0
    first = await orchestrator.submit()
    second = await orchestrator.submit()
    sidecar.start()

    await orchestrator.event(second, "render.started")

    assert orchestrator.events_of(first, "render.completed") == []
    await orchestrator.event(first, "render.completed")
    await orchestrator.event(second, "render.completed")
