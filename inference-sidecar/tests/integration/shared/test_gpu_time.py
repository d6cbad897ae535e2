"""Every event that ends an attempt tells its GPU time."""

from __future__ import annotations

import pytest

from stage.object_store import ObjectStore
from stage.orchestrator import Json, Orchestrator
from stage.sidecar import Sidecar
from stage.until import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

WHO = {"engine": "null", "device": "cpu", "framesPerChunk": 75}
WHAT = {"size": "720p", **WHO}


def but_for_seconds(used: Json) -> Json:
    """What was used, without the GPU time and the calibration, which are measured."""
    measured = {"gpuSeconds", "secondsPerVideoSecond"}
    assert used["secondsPerVideoSecond"] > 0
    return {name: value for name, value in used.items() if name not in measured}


async def test_a_completed_render_tells_the_time_from_its_order_to_its_last_frame(
    orchestrator: Orchestrator,
) -> None:
    job = await orchestrator.submit("null:seconds=1", frames=100)
    completed = await orchestrator.event(job, "render.completed")

    used = completed["used"]
    assert but_for_seconds(used) == WHAT
    assert used["gpuSeconds"] >= completed["rendered"]["renderSeconds"] >= 1


async def test_a_first_try_at_a_larger_size_counts_too(orchestrator: Orchestrator) -> None:
    job = await orchestrator.submit("null:seconds=1 null:oom", frames=25)
    used = (await orchestrator.event(job, "render.completed"))["used"]

    assert but_for_seconds(used) == {**WHAT, "size": "480p"}
    assert used["gpuSeconds"] >= 1.5


async def test_a_failed_render_tells_it(orchestrator: Orchestrator) -> None:
    job = await orchestrator.submit("null:seconds=1 null:fail", frames=25)
    used = (await orchestrator.event(job, "render.failed"))["used"]

    assert but_for_seconds(used) == WHAT
    assert used["gpuSeconds"] >= 0.5


async def test_no_size_is_told_before_one_is_chosen(orchestrator: Orchestrator) -> None:
    job = await orchestrator.submit("null:noface")
    used = (await orchestrator.event(job, "render.failed"))["used"]

    assert but_for_seconds(used) == WHO


async def test_an_attempt_without_a_render_has_used_nothing(
    orchestrator: Orchestrator, store: ObjectStore
) -> None:
    job = await orchestrator.submit()
    del store.objects[job.inputs["audio"][0]]

    assert (await orchestrator.event(job, "render.failed"))["used"] == {"gpuSeconds": 0}


async def test_a_render_that_is_killed_counts_until_its_death(orchestrator: Orchestrator) -> None:
    job = await orchestrator.submit("null:hang", deadline_seconds=1.0)
    used = (await orchestrator.event(job, "render.failed"))["used"]

    assert but_for_seconds(used) == WHAT
    assert used["gpuSeconds"] >= 1


async def test_a_stopped_render_tells_it(orchestrator: Orchestrator) -> None:
    job = await orchestrator.submit("null:seconds=600", frames=250, deadline_seconds=900.0)
    await orchestrator.event(job, "render.started")
    named = await until(
        lambda: (held := orchestrator.held(job)) and held["gpuSeconds"] > 0.5 and held,
        "a heartbeat with GPU time",
    )
    # The estimate, less the time that has passed: nothing is done yet.
    assert 540 <= named["remainingSeconds"] <= 600

    await orchestrator.stop("w1", job)

    used = (await orchestrator.event(job, "render.cancelled"))["used"]
    assert but_for_seconds(used) == WHAT
    assert used["gpuSeconds"] >= named["gpuSeconds"]


async def test_a_stopped_upload_tells_it_of_its_render(
    sidecar: Sidecar, orchestrator: Orchestrator, store: ObjectStore
) -> None:
    store.faults["PUT"].extend([503] * 1000)
    job = await orchestrator.submit("null:seconds=1", frames=25)
    await until(sidecar.spooled, "spooled render")
    held = await until(
        lambda: (held := orchestrator.held(job)) and held["stage"] != "rendering" and held,
        "a heartbeat",
    )

    await orchestrator.stop("w1", job)

    used = (await orchestrator.event(job, "render.cancelled"))["used"]
    assert used["gpuSeconds"] == held["gpuSeconds"] >= 1
    assert held["remainingSeconds"] == 0
    assert but_for_seconds(used) == WHAT


async def test_the_seconds_rendered_are_those_of_the_attempts(
    orchestrator: Orchestrator,
) -> None:
    await until(lambda: orchestrator.beats, "a heartbeat")
    before = orchestrator.beats[-1]["time"]["renderingSeconds"]
    jobs = [await orchestrator.submit("null:seconds=0.5", frames=25) for _ in range(2)]
    used = [(await orchestrator.event(job, "render.completed"))["used"] for job in jobs]

    ended = len(orchestrator.beats)
    await until(lambda: len(orchestrator.beats) > ended + 1, "another heartbeat")
    beat = orchestrator.beats[-1]
    rendered = beat["time"]["renderingSeconds"] - before
    assert abs(rendered - sum(each["gpuSeconds"] for each in used)) < 0.1
    key = {"engine": "null", "size": "720p", "device": "cpu", "framesPerChunk": 75}
    assert beat["paceKey"] == key
