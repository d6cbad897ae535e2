"""A store in trouble costs time, but no attempt."""

from __future__ import annotations

import pytest

from stage.object_store import Fault, ObjectStore
from stage.orchestrator import Orchestrator

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("fault", [500, 503, "stall", "cut"])
async def test_a_failing_store_costs_no_attempt(
    orchestrator: Orchestrator, store: ObjectStore, fault: Fault
) -> None:
    store.faults["GET"].extend([fault, fault])
    store.faults["PUT"].extend([fault, fault])
    job = await orchestrator.submit()

    await orchestrator.event(job, "render.completed")

    assert job.epoch == 1
    assert len(orchestrator.events_of(job)) == 2
