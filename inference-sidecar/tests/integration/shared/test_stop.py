"""A stop order ends an attempt quickly, whatever it is doing."""

from __future__ import annotations

import pytest

from inference_sidecar.foundation.contracts import scaled_timings
from stage.object_store import ObjectStore
from stage.orchestrator import Orchestrator
from stage.sidecar import Sidecar
from stage.until import until

LONG_BEFORE_A_STALL_SECONDS = scaled_timings(1).transfer_stall_seconds / 3

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_render_is_stopped_within_one_forward_pass_and_the_process_goes_on(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    job = await orchestrator.submit("null:seconds=600", frames=250, deadline_seconds=900.0)
    await orchestrator.event(job, "render.started")
    process = sidecar.render_process()

    await orchestrator.stop("w1", job)

    await orchestrator.event(job, "render.cancelled")
    await until(lambda: not sidecar.work_folders(), "empty work folder")
    assert sidecar.render_process() == process
    following = await orchestrator.submit()
    await orchestrator.event(following, "render.completed")


async def test_a_render_process_that_does_not_stop_is_killed_and_replaced(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    job = await orchestrator.submit("null:hang")
    await orchestrator.event(job, "render.started")
    process = sidecar.render_process()

    await orchestrator.stop("w1", job)

    await orchestrator.event(job, "render.cancelled")
    following = await orchestrator.submit()
    await orchestrator.event(following, "render.completed")
    assert sidecar.render_process() != process


async def test_a_prefetched_job_is_stopped_while_the_current_one_goes_on(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    first = await orchestrator.submit("null:hang")
    await orchestrator.event(first, "render.started")
    process = sidecar.render_process()
    second = await orchestrator.submit()
    await until(lambda: orchestrator.held(second), "second job held")

    await orchestrator.stop("w1", second)

    await orchestrator.event(second, "render.cancelled")
    assert orchestrator.events_of(second, "render.started") == []
    assert orchestrator.held(first)
    assert sidecar.render_process() == process


async def test_a_spooled_render_is_deleted(
    sidecar: Sidecar, orchestrator: Orchestrator, store: ObjectStore
) -> None:
    store.faults["PUT"].extend([503] * 1000)
    job = await orchestrator.submit()
    await until(sidecar.spooled, "spooled render")

    await orchestrator.stop("w1", job)

    await orchestrator.event(job, "render.cancelled")
    await until(lambda: not sidecar.spooled(), "empty spool")


async def test_an_order_for_another_epoch_is_ignored(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    job = await orchestrator.submit("null:seconds=0.5", frames=50)
    await orchestrator.event(job, "render.started")

    await orchestrator.stop("w1", job, epoch=job.epoch - 1)
    await orchestrator.client.publish("ctl.stop.w1", b"not an order")

    await orchestrator.event(job, "render.completed")
    await until(lambda: "message not understood" in sidecar.messages(), "line in the log")
