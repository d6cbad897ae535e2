"""What the orchestrator wants no more leaves the worker within a moment."""

from __future__ import annotations

from stage.object_store import ObjectStore
from stage.orchestrator import Orchestrator
from stage.sidecar import Sidecar
from stage.until import until


async def test_a_render_is_stopped_within_a_forward_and_the_process_lives_on(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    sidecar.start()
    job = await orchestrator.submit("null:seconds=30", frames=250)
    await orchestrator.event(job, "render.started")
    process = sidecar.render_process()

    await orchestrator.stop("w1", job)

    await orchestrator.event(job, "render.cancelled", timeout_seconds=1.0)
    await until(lambda: not sidecar.work_folders(), "empty work folder")
    assert sidecar.render_process() == process
    following = await orchestrator.submit()
    await orchestrator.event(following, "render.completed")


async def test_a_render_process_that_does_not_obey_is_killed_and_replaced(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    sidecar.start()
    job = await orchestrator.submit("null:hang")
    await orchestrator.event(job, "render.started")
    process = sidecar.render_process()

    await orchestrator.stop("w1", job)

    await orchestrator.event(job, "render.cancelled", timeout_seconds=3.0)
    following = await orchestrator.submit()
    await orchestrator.event(following, "render.completed")
    assert sidecar.render_process() != process


async def test_a_prefetched_job_is_forgotten_while_the_current_one_goes_on(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    sidecar.start()
    first = await orchestrator.submit("null:seconds=1.4", frames=100)
    await orchestrator.event(first, "render.started")
    second = await orchestrator.submit()
    await until(lambda: orchestrator.held(second), "second job in hand")

    await orchestrator.stop("w1", second)

    await orchestrator.event(second, "render.cancelled", timeout_seconds=0.7)
    await orchestrator.event(first, "render.completed")
    assert orchestrator.events_of(second, "render.started") == []


async def test_a_job_whose_inputs_do_not_come_is_stopped_all_the_same(
    sidecar: Sidecar, orchestrator: Orchestrator, store: ObjectStore
) -> None:
    store.faults["GET"].append("stall")
    sidecar.start()
    job = await orchestrator.submit()
    await until(lambda: store.gets, "fetch under way")

    await orchestrator.stop("w1", job)

    await orchestrator.event(job, "render.cancelled", timeout_seconds=1.0)


async def test_a_spooled_render_is_deleted(
    sidecar: Sidecar, orchestrator: Orchestrator, store: ObjectStore
) -> None:
    store.faults["PUT"].extend([503] * 1000)
    sidecar.start()
    job = await orchestrator.submit()
    await until(sidecar.spooled, "spooled render")

    await orchestrator.stop("w1", job)

    await orchestrator.event(job, "render.cancelled", timeout_seconds=2.0)
    await until(lambda: not sidecar.spooled(), "empty spool")


async def test_an_upload_that_hangs_does_not_keep_a_stop_waiting(
    sidecar: Sidecar, orchestrator: Orchestrator, store: ObjectStore
) -> None:
    store.faults["PUT"].append("stall")
    sidecar.start()
    job = await orchestrator.submit()
    await until(lambda: store.puts, "upload under way")

    await orchestrator.stop("w1", job)

    # Far less than a stalled transfer is waited for.
    await orchestrator.event(job, "render.cancelled", timeout_seconds=2.0)
    await until(lambda: not sidecar.spooled(), "empty spool")


async def test_an_order_for_another_epoch_is_ignored(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    sidecar.start()
    job = await orchestrator.submit("null:seconds=0.5", frames=50)
    await orchestrator.event(job, "render.started")

    await orchestrator.stop("w1", job, epoch=job.epoch - 1)
    await orchestrator.client.publish("ctl.stop.w1", b"not an order")

    await orchestrator.event(job, "render.completed")
    await until(lambda: "stop order not understood" in sidecar.messages(), "line in the log")
