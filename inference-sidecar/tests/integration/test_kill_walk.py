"""A worker is killed at each step: the job is still done exactly once."""

from __future__ import annotations

import asyncio

from stage.object_store import ObjectStore
from stage.orchestrator import Job, Orchestrator
from stage.sidecar import Sidecar
from stage.until import until


async def lose(sidecar: Sidecar, orchestrator: Orchestrator, job: Job) -> None:
    """Restarts the worker by a kill; queues the job again if the first heartbeat omits it."""
    await sidecar.kill()
    await until(lambda: not sidecar.processes(), "end of all its processes")
    incarnation = orchestrator.beats[-1]["incarnation"]
    sidecar.start()
    await until(
        lambda: orchestrator.beats[-1]["incarnation"] != incarnation,
        "a new heartbeat",
    )
    first = next(beat for beat in orchestrator.beats if beat["incarnation"] != incarnation)
    if job.job_id not in {held["jobId"] for held in first["jobs"]} and job.state == "open":
        job.state = "queued"


async def test_killed_before_the_first_forward_pass(
    sidecar: Sidecar, orchestrator: Orchestrator, store: ObjectStore
) -> None:
    store.faults["GET"].append("stall")
    sidecar.start()
    job = await orchestrator.submit()
    await until(lambda: orchestrator.held(job), "job held")

    await lose(sidecar, orchestrator, job)

    completed = await orchestrator.event(job, "render.completed")
    assert completed["epoch"] == 2
    assert [event["epoch"] for event in orchestrator.events_of(job, "render.started")] == [2]


async def test_killed_in_the_middle_of_the_render(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    sidecar.start()
    job = await orchestrator.submit("null:seconds=2", frames=300)
    await orchestrator.event(job, "render.started")

    await lose(sidecar, orchestrator, job)

    completed = await orchestrator.event(job, "render.completed")
    assert completed["epoch"] == 2
    assert len(orchestrator.events_of(job, "render.completed")) == 1


async def test_killed_with_a_spooled_render(
    sidecar: Sidecar, orchestrator: Orchestrator, store: ObjectStore
) -> None:
    store.faults["PUT"].append("stall")
    sidecar.start()
    job = await orchestrator.submit()
    await until(lambda: store.puts, "upload under way")

    await lose(sidecar, orchestrator, job)

    completed = await orchestrator.event(job, "render.completed")
    assert completed["epoch"] == 1
    assert len(orchestrator.events_of(job, "render.started")) == 1


async def test_killed_after_the_upload(
    sidecar: Sidecar, orchestrator: Orchestrator, store: ObjectStore
) -> None:
    store.slow_put_seconds = 1.0
    sidecar.start()
    job = await orchestrator.submit()
    await until(lambda: len(store.objects) == 3, "stored video")

    await lose(sidecar, orchestrator, job)

    completed = await orchestrator.event(job, "render.completed")
    assert completed["epoch"] == 1
    assert len(orchestrator.events_of(job, "render.started")) == 1
    assert store.puts[-1].status == 412


async def test_killed_after_the_report(sidecar: Sidecar, orchestrator: Orchestrator) -> None:
    orchestrator.finishes = False
    sidecar.start()
    job = await orchestrator.submit()
    await orchestrator.event(job, "render.completed")

    await lose(sidecar, orchestrator, job)

    # A repeated report has the same id.
    job.state = "terminal"
    await until(lambda: not sidecar.spooled(), "empty spool")
    assert {event["epoch"] for event in orchestrator.events_of(job)} == {1}
    assert len(orchestrator.events_of(job, "render.started")) == 1


async def test_a_suspended_worker_drops_the_attempt_that_it_lost_meanwhile(
    sidecar: Sidecar, other_sidecar: Sidecar, orchestrator: Orchestrator, store: ObjectStore
) -> None:
    sidecar.start()
    job = await orchestrator.submit("null:seconds=3", frames=100)
    await orchestrator.event(job, "render.started")
    with sidecar.suspended():
        # After a long silence the attempt is lost, and another worker renders the job.
        job.state = "queued"
        other_sidecar.start()
        completed = await orchestrator.event(job, "render.completed")
        assert (completed["workerId"], completed["epoch"]) == ("w2", 2)

    await until(lambda: not sidecar.work_folders() and not sidecar.spooled(), "nothing left")

    assert [e["epoch"] for e in orchestrator.events_of(job, "render.completed")] == [2]
    stored = [put.key for put in store.puts if put.status == 200]
    assert stored == [f"jobs/{job.job_id}/out/2/video.mp4"]
    following = await orchestrator.submit()
    await orchestrator.event(following, "render.completed")


async def test_suspended_time_counts_towards_the_deadline(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    sidecar.start()
    job = await orchestrator.submit("null:seconds=60", frames=100, deadline_seconds=6.0)
    await orchestrator.event(job, "render.started")
    with sidecar.suspended():
        await asyncio.sleep(6.5)

    failed = await orchestrator.event(job, "render.failed", timeout_seconds=5.0)

    assert failed["code"] == "DEADLINE_EXCEEDED"
