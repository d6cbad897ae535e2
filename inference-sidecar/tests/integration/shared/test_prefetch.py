"""The GPU never waits for the network, and no job waits for one GPU while another is free."""

from __future__ import annotations

import asyncio

import pytest

from stage.object_store import ObjectStore
from stage.orchestrator import Orchestrator
from stage.until import until

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_both_inputs_are_fetched_at_the_same_time(
    orchestrator: Orchestrator, store: ObjectStore
) -> None:
    store.gets_together = asyncio.Barrier(2)
    job = await orchestrator.submit()

    await orchestrator.event(job, "render.completed")


async def test_the_next_job_is_ready_before_the_current_one_ends(
    orchestrator: Orchestrator,
) -> None:
    first = await orchestrator.submit("null:hang")
    await orchestrator.event(first, "render.started")
    second = await orchestrator.submit()

    held = await until(lambda: orchestrator.held(second), "second job held")

    assert held["stage"] in {"fetching", "ready"}
    assert orchestrator.held(first)


async def test_the_next_render_does_not_wait_for_an_upload(
    orchestrator: Orchestrator, store: ObjectStore
) -> None:
    store.slow_put_seconds = 3.0
    first = await orchestrator.submit()
    second = await orchestrator.submit()

    await orchestrator.event(second, "render.started")

    assert orchestrator.events_of(first, "render.completed") == []
    await orchestrator.event(first, "render.completed")
    await orchestrator.event(second, "render.completed")
