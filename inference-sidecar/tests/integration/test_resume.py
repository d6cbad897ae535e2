"""A render whose process dies is resumed in the next one, in the same attempt."""

from __future__ import annotations

import asyncio
import os
import signal

from stage.object_store import ObjectStore
from stage.orchestrator import Job, Json, Orchestrator
from stage.sidecar import Sidecar
from stage.until import until

PROMPT = "null:seconds=4"
FRAMES = 900


async def kill_after_a_piece(sidecar: Sidecar, job: Job, epoch: int = 1) -> None:
    """Kills the render process once a third of the video is safe."""
    kept = sidecar.spool_dir / "work" / f"{job.job_id}-{epoch}" / "pieces" / "kept"
    await until(kept.exists, "a finished piece")
    process = sidecar.render_process()
    assert process is not None
    os.kill(process, signal.SIGKILL)


def percents(orchestrator: Orchestrator, job: Job) -> list[float]:
    return [
        held["percent"]
        for beat in orchestrator.beats
        for held in beat["jobs"]
        if held["jobId"] == job.job_id
    ]


async def test_an_interrupted_render_is_finished_with_the_same_result(
    sidecar: Sidecar, orchestrator: Orchestrator, store: ObjectStore
) -> None:
    sidecar.start()
    job = await orchestrator.submit(PROMPT, frames=FRAMES)
    started = await orchestrator.event(job, "render.started")
    await kill_after_a_piece(sidecar, job)

    completed = await orchestrator.event(job, "render.completed")

    assert completed["rendered"]["resumed"] is True
    assert "render process died, going on in another" in sidecar.messages()
    assert [event["type"] for event in orchestrator.events_of(job)] == [
        "render.started",
        "render.completed",
    ]
    assert completed["renderStartedAtMs"] <= started["atMs"]
    assert percents(orchestrator, job) == sorted(percents(orchestrator, job))
    again = await orchestrator.submit("null:seconds=1", frames=FRAMES)
    whole = await orchestrator.event(again, "render.completed")
    assert _sha(completed) == _sha(whole), "the null engine draws the same frames for every prompt"
    assert store.puts[-1].status == 200


async def test_a_process_that_dies_again_without_a_new_piece_fails_the_attempt(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    sidecar.start()
    job = await orchestrator.submit("null:seconds=1 null:crash", frames=FRAMES)

    failed = await orchestrator.event(job, "render.failed")

    assert failed["code"] == "RENDER_PROCESS_DIED"
    assert sidecar.messages().count("render process died, going on in another") == 1
    following = await orchestrator.submit()
    await orchestrator.event(following, "render.completed")


async def test_the_deadline_covers_all_processes_of_a_render(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    sidecar.start()
    job = await orchestrator.submit("null:seconds=1 null:hang", frames=FRAMES, deadline_seconds=8.0)
    started = await orchestrator.event(job, "render.started")
    await asyncio.sleep(4)
    await kill_after_a_piece(sidecar, job)

    failed = await orchestrator.event(job, "render.failed")

    assert failed["code"] == "DEADLINE_EXCEEDED"
    # Counted from the second process, the deadline would be at twelve seconds.
    assert 7_900 <= failed["atMs"] - started["atMs"] <= 11_500


async def test_the_deadline_may_pass_while_the_next_process_loads(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    sidecar.start(NULL_LOAD_SECONDS="8")
    job = await orchestrator.submit("null:seconds=1 null:hang", frames=FRAMES, deadline_seconds=5.0)
    await orchestrator.event(job, "render.started")
    await kill_after_a_piece(sidecar, job)

    failed = await orchestrator.event(job, "render.failed", timeout_seconds=7.5)

    assert failed["code"] == "DEADLINE_EXCEEDED"


async def test_a_stop_order_is_obeyed_while_the_next_process_loads(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    sidecar.start(NULL_LOAD_SECONDS="8")
    job = await orchestrator.submit(PROMPT, frames=FRAMES)
    await orchestrator.event(job, "render.started")
    await kill_after_a_piece(sidecar, job)
    await until(
        lambda: "render process died, going on in another" in sidecar.messages(), "line in the log"
    )

    await orchestrator.stop("w1", job)

    await orchestrator.event(job, "render.cancelled", timeout_seconds=7.0)
    await until(lambda: not sidecar.work_folders(), "empty work folder")


async def test_the_pieces_of_an_earlier_attempt_are_not_used(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    sidecar.start()
    job = await orchestrator.submit(PROMPT, frames=FRAMES)
    await orchestrator.event(job, "render.started")
    kept = sidecar.spool_dir / "work" / f"{job.job_id}-1" / "pieces" / "kept"
    await until(kept.exists, "a finished piece")
    await sidecar.kill()
    job.state = "queued"

    sidecar.start()

    completed = await orchestrator.event(job, "render.completed")
    assert completed["epoch"] == 2
    assert completed["rendered"]["renderSeconds"] >= 4


def _sha(completed: Json) -> str:
    sha: str = completed["rendered"]["sha256"]
    return sha
