"""Every failure of a render is reported with its code, and the worker goes on."""

from __future__ import annotations

import os
import signal

import pytest

from stage.object_store import ObjectStore
from stage.orchestrator import Job, Json, Orchestrator
from stage.sidecar import Sidecar
from stage.until import until

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize(
    ("prompt", "code", "level"),
    [
        ("null:fail", "RENDER_FAILED", "error"),
        ("null:noface", "NO_FACE", "info"),
        ("null:oom-always", "GPU_OUT_OF_MEMORY", "error"),
        ("null:no-such-directive", "RENDER_FAILED", "error"),
    ],
)
async def test_a_failed_render_is_reported_and_the_process_goes_on(
    sidecar: Sidecar, orchestrator: Orchestrator, prompt: str, code: str, level: str
) -> None:
    job = await orchestrator.submit(prompt)
    failed = await orchestrator.event(job, "render.failed")
    process = sidecar.render_process()

    assert failed["code"] == code
    line = next(line for line in sidecar.log() if line["msg"] == "attempt failed")
    assert (line["code"], line["level"]) == (code, level)
    following = await orchestrator.submit()
    await orchestrator.event(following, "render.completed")
    assert sidecar.render_process() == process
    await until(lambda: not sidecar.work_folders(), "empty work folder")


async def test_out_of_memory_is_retried_at_the_next_smaller_size(
    orchestrator: Orchestrator,
) -> None:
    whole = await orchestrator.submit()
    smaller = await orchestrator.submit("null:oom")

    first = (await orchestrator.event(whole, "render.completed"))["rendered"]
    second = (await orchestrator.event(smaller, "render.completed"))["rendered"]

    assert (first["degraded"], second["degraded"]) == (False, True)
    assert second["generation"]["width"] < first["generation"]["width"]
    assert (second["width"], second["frames"]) == (first["width"], first["frames"])


async def test_a_dead_render_process_fails_its_attempt_and_is_replaced(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    job = await orchestrator.submit("null:seconds=600", frames=250, deadline_seconds=900.0)
    await orchestrator.event(job, "render.started")
    process = sidecar.render_process()
    assert process is not None

    os.kill(process, signal.SIGKILL)

    failed = await orchestrator.event(job, "render.failed")
    assert failed["code"] == "RENDER_PROCESS_DIED"
    following = await orchestrator.submit()
    await orchestrator.event(following, "render.completed")


async def test_a_prefetched_job_outlives_the_death_of_the_render_process(
    orchestrator: Orchestrator,
) -> None:
    first = await orchestrator.submit("null:seconds=1.2 null:crash", frames=100)
    await orchestrator.event(first, "render.started")
    second = await orchestrator.submit()

    assert (await orchestrator.event(first, "render.failed"))["code"] == "RENDER_PROCESS_DIED"
    await orchestrator.event(second, "render.completed")
    assert second.epoch == 1


async def test_a_hanging_render_is_killed_at_its_deadline(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    job = await orchestrator.submit("null:hang", deadline_seconds=1.0)
    started = await orchestrator.event(job, "render.started")
    process = sidecar.render_process()

    failed = await orchestrator.event(job, "render.failed")

    assert failed["code"] == "DEADLINE_EXCEEDED"
    assert failed["atMs"] - started["atMs"] >= 900
    following = await orchestrator.submit()
    await orchestrator.event(following, "render.completed")
    assert sidecar.render_process() != process


async def test_an_unexpected_failure_is_logged_with_its_traceback(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    job = await orchestrator.submit("null:no-such-directive")
    await orchestrator.event(job, "render.failed")

    line = next(line for line in sidecar.log() if line["msg"] == "attempt failed")
    assert "directives.py" in line["err"]["stack"]


async def test_a_missing_input_fails_the_attempt(
    orchestrator: Orchestrator, store: ObjectStore
) -> None:
    job = await orchestrator.submit()
    del store.objects[job.inputs["audio"][0]]

    assert (await orchestrator.event(job, "render.failed"))["code"] == "INPUT_GONE"


async def test_an_input_that_the_store_does_not_find_at_once_is_looked_for_again(
    sidecar: Sidecar, orchestrator: Orchestrator, store: ObjectStore
) -> None:
    job = await orchestrator.submit()
    key = job.inputs["audio"][0]
    content = store.objects.pop(key)
    await until(lambda: "input not found, looking again" in sidecar.messages(), "a second look")

    store.objects[key] = content

    await orchestrator.event(job, "render.completed")


async def test_a_missing_bucket_does_not_fail_the_attempt(
    sidecar: Sidecar, orchestrator: Orchestrator, store: ObjectStore
) -> None:
    store.has_bucket = False
    job = await orchestrator.submit()
    await until(
        lambda: sidecar.messages().count("input not fetched, trying again") >= 3, "three tries"
    )

    store.has_bucket = True

    await orchestrator.event(job, "render.completed")
    assert job.epoch == 1


async def test_fetching_waits_for_a_store_that_is_away(
    sidecar: Sidecar, orchestrator: Orchestrator, store: ObjectStore
) -> None:
    await store.stop()
    job = await orchestrator.submit()
    await until(
        lambda: sidecar.messages().count("input not fetched, trying again") >= 3, "three tries"
    )

    line = next(line for line in sidecar.log() if line["msg"].startswith("input not fetched"))
    assert (line["code"], line["level"]) == ("STORE_UNAVAILABLE", "warn")
    await store.start()

    await orchestrator.event(job, "render.completed")
    assert job.epoch == 1


async def test_a_damaged_input_is_fetched_again_and_finally_fails_the_attempt(
    orchestrator: Orchestrator, store: ObjectStore
) -> None:
    def order_with_a_wrong_checksum(job: Job) -> Json:
        order = orchestrator.order(job)
        order["audio"]["sha256"] = "0" * 64
        return order

    orchestrator.on_order = order_with_a_wrong_checksum
    job = await orchestrator.submit()

    failed = await orchestrator.event(job, "render.failed")

    assert failed["code"] == "STORE_UNAVAILABLE"
    assert store.gets.count(job.inputs["audio"][0]) == 3


async def test_expired_urls_are_renewed(orchestrator: Orchestrator, store: ObjectStore) -> None:
    store.faults["GET"].append(403)
    job = await orchestrator.submit()

    await orchestrator.event(job, "render.completed")
    assert (job.claims, job.epoch) == (1, 1)
    renewals = [request for kind, request in orchestrator.requests if kind == "claim"]
    assert [(each["jobId"], each["epoch"]) for each in renewals] == [(job.job_id, 1)]


async def test_nothing_is_reported_about_an_attempt_that_is_not_ours_any_more(
    sidecar: Sidecar, orchestrator: Orchestrator, store: ObjectStore
) -> None:
    store.faults["GET"].append(403)
    orchestrator.on_claim = lambda _: {"answer": "lost"}
    job = await orchestrator.submit()

    await until(lambda: "attempt is not ours any more" in sidecar.messages(), "line in the log")

    await until(lambda: orchestrator.held(job) is None, "no job held")
    assert orchestrator.events_of(job) == []
