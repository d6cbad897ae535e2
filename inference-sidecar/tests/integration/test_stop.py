"""A stop order ends an attempt quickly, whatever it is doing."""

from __future__ import annotations

from inference_sidecar.foundation.contracts import scaled_timings
from stage.object_store import ObjectStore
from stage.orchestrator import Orchestrator
from stage.sidecar import Sidecar
from stage.until import until

LONG_BEFORE_A_STALL_SECONDS = scaled_timings(1).transfer_stall_seconds / 3


async def test_a_job_whose_inputs_stall_is_stopped(
    sidecar: Sidecar, orchestrator: Orchestrator, store: ObjectStore
) -> None:
    store.faults["GET"].append("stall")
    sidecar.start(TIMINGS_DIVISOR="1")
    job = await orchestrator.submit()
    await until(lambda: store.gets, "fetch under way")

    await orchestrator.stop("w1", job)

    await orchestrator.event(job, "render.cancelled", timeout_seconds=LONG_BEFORE_A_STALL_SECONDS)


async def test_a_stop_does_not_wait_for_an_upload_that_hangs(
    sidecar: Sidecar, orchestrator: Orchestrator, store: ObjectStore
) -> None:
    store.faults["PUT"].append("stall")
    sidecar.start(TIMINGS_DIVISOR="1")
    job = await orchestrator.submit()
    await until(lambda: store.puts, "upload under way")

    await orchestrator.stop("w1", job)

    await orchestrator.event(job, "render.cancelled", timeout_seconds=LONG_BEFORE_A_STALL_SECONDS)
    await until(lambda: not sidecar.spooled(), "empty spool")
