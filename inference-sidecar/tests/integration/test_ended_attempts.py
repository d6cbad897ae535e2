"""An attempt whose end was told is named in the heartbeats until that is handled."""

from __future__ import annotations

from stage.orchestrator import Job, Orchestrator
from stage.sidecar import Sidecar
from stage.until import until


def stage_of(orchestrator: Orchestrator, job: Job) -> str | None:
    held = orchestrator.held(job)
    return None if held is None else held["stage"]


async def test_it_is_named_until_the_stop_order_and_does_not_keep_other_jobs_away(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    orchestrator.says_handled = False
    sidecar.start(TIMINGS_DIVISOR="1")
    job = await orchestrator.submit("null:fail")
    failed = await orchestrator.event(job, "render.failed")
    await until(lambda: stage_of(orchestrator, job) == "ended", "an ended attempt")
    following = await orchestrator.submit()
    await orchestrator.event(following, "render.completed")
    held = orchestrator.held(job)
    assert held is not None
    assert (held["stage"], held["epoch"]) == ("ended", 1)
    assert held["gpuSeconds"] == failed["used"]["gpuSeconds"]

    await orchestrator.stop("w1", job, epoch=2)
    beats = len(orchestrator.beats)
    await until(lambda: len(orchestrator.beats) > beats, "a heartbeat")
    assert stage_of(orchestrator, job) == "ended", "the order was for another attempt"
    await orchestrator.stop("w1", job)

    await until(lambda: stage_of(orchestrator, job) is None, "not named any more")


async def test_it_is_not_named_for_ever(sidecar: Sidecar, orchestrator: Orchestrator) -> None:
    orchestrator.says_handled = False
    sidecar.start(TIMINGS_DIVISOR="40")
    job = await orchestrator.submit("null:fail")
    await until(lambda: stage_of(orchestrator, job) == "ended", "an ended attempt")

    await until(lambda: stage_of(orchestrator, job) is None, "not named any more")


async def test_the_next_attempt_of_the_job_takes_its_place(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    orchestrator.says_handled = False
    sidecar.start()
    job = await orchestrator.submit("null:fail")
    await orchestrator.event(job, "render.failed")
    await until(lambda: stage_of(orchestrator, job) == "ended", "an ended attempt")
    job.prompt = "null:hang"

    await orchestrator.queue_again(job)

    await until(lambda: stage_of(orchestrator, job) == "rendering", "the second attempt")
    named = [held for held in orchestrator.beats[-1]["jobs"] if held["jobId"] == job.job_id]
    assert [held["epoch"] for held in named] == [2]
