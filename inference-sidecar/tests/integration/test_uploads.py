"""A finished render is offered until it is stored or not wanted, and never rendered again."""

from __future__ import annotations

import signal

from stage.object_store import ObjectStore
from stage.orchestrator import Orchestrator
from stage.sidecar import Sidecar
from stage.until import until


async def test_a_render_that_the_store_never_takes_is_given_up(
    sidecar: Sidecar, orchestrator: Orchestrator, store: ObjectStore
) -> None:
    store.faults["PUT"].extend([403] * 100_000)
    # Two hours become 18 s; the twenty minutes for loading the engine become 3 s.
    sidecar.start(TIMINGS_DIVISOR="400")
    job = await orchestrator.submit()

    failed = await orchestrator.event(job, "render.failed")

    assert failed["code"] == "UPLOAD_FAILED"
    await until(lambda: not sidecar.spooled(), "empty spool")


async def test_a_spooled_render_survives_a_kill_and_is_not_rendered_again(
    sidecar: Sidecar, orchestrator: Orchestrator, store: ObjectStore
) -> None:
    store.faults["PUT"].extend([503] * 1000)
    sidecar.start()
    job = await orchestrator.submit()
    await until(sidecar.spooled, "spooled render")
    named = await until(
        lambda: (held := orchestrator.held(job)) and held["stage"] != "rendering" and held,
        "a heartbeat about the spooled render",
    )
    await sidecar.kill()
    incarnation = orchestrator.beats[-1]["incarnation"]
    store.faults["PUT"].clear()

    sidecar.start()

    used = (await orchestrator.event(job, "render.completed"))["used"]
    assert used["gpuSeconds"] == named["gpuSeconds"] > 0
    assert (used["size"], used["engine"], used["device"]) == ("720p", "null", "cpu")
    assert len(orchestrator.events_of(job, "render.started")) == 1
    first = next(beat for beat in orchestrator.beats if beat["incarnation"] != incarnation)
    assert [held["jobId"] for held in first["jobs"]] == [job.job_id]
    assert first["jobs"][0]["epoch"] == 1
    await until(lambda: not sidecar.spooled(), "end of the job")
    assert job.claims == 1


async def test_an_uploaded_render_is_reported_after_a_kill(
    sidecar: Sidecar, orchestrator: Orchestrator, store: ObjectStore
) -> None:
    store.slow_put_seconds = 1.0
    sidecar.start()
    job = await orchestrator.submit()
    await until(lambda: store.objects.keys() & {_output(job.job_id)}, "upload")
    sidecar.signal(signal.SIGKILL)
    await sidecar.ended()
    assert orchestrator.events_of(job, "render.completed") == []

    sidecar.start()

    await orchestrator.event(job, "render.completed")
    assert [put.status for put in store.puts][-1] == 412


def _output(job_id: str) -> str:
    return f"jobs/{job_id}/out/1/video.mp4"


async def test_an_upload_is_reported_again_while_the_job_does_not_end(
    sidecar: Sidecar, orchestrator: Orchestrator, store: ObjectStore
) -> None:
    orchestrator.finishes = False
    sidecar.start(TIMINGS_DIVISOR="100")
    job = await orchestrator.submit()

    await until(lambda: len(orchestrator.events_of(job, "render.completed")) == 2, "second report")

    first, second = orchestrator.events_of(job, "render.completed")
    assert first["rendered"] == second["rendered"]
    assert len(store.puts) == 1
    await orchestrator.stop("w1", job)
    await until(lambda: not sidecar.spooled(), "empty spool")
