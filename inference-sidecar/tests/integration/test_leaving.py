"""A worker leaves by itself or when told to: with exit code 0, and never amid a job."""

# The NATS client is typed in parts only.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from inference_sidecar.foundation.contracts import DrainOrder, drain_subject
from stage.broker import TestBroker
from stage.object_store import ObjectStore
from stage.orchestrator import Orchestrator
from stage.sidecar import Sidecar
from stage.until import until


async def drain(orchestrator: Orchestrator, worker_id: str) -> None:
    order = DrainOrder(reason="a test").to_json()
    await orchestrator.client.publish(drain_subject(worker_id), order)


def reasons(sidecar: Sidecar) -> list[str]:
    return [line["reason"] for line in sidecar.log() if line["msg"] == "leaving"]


async def left(sidecar: Sidecar, orchestrator: Orchestrator) -> None:
    """It has ended in order, and has said so."""
    assert await sidecar.ended() == 0
    await until(lambda: orchestrator.beats[-1]["state"] == "gone", "last heartbeat")


async def test_a_worker_leaves_once_it_has_been_idle_for_long_enough(
    sidecar: Sidecar, orchestrator: Orchestrator, store: ObjectStore
) -> None:
    store.slow_put_seconds = 1.5
    job = await orchestrator.submit("null:seconds=1.5")
    sidecar.start(WORKER_IDLE_SECONDS="1", RELEASE="2.1.0")

    await left(sidecar, orchestrator)

    assert job.state == "terminal", "neither the render nor the upload counts as idle"
    assert reasons(sidecar) == ["no job for 1 s"]
    assert {beat["release"] for beat in orchestrator.beats} == {"2.1.0"}
    for beat in orchestrator.beats:
        if any(held["stage"] != "ended" for held in beat["jobs"]) or beat["state"] == "loading":
            assert "idleSeconds" not in beat
    assert max(beat.get("idleSeconds", 0) for beat in orchestrator.beats) > 0


async def test_a_worker_takes_no_job_that_may_not_fit_into_its_lifetime(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    # A minute is left for the first job. Its render slows the pace down: now the longest would take
    # a minute and a half more than before.
    first = await orchestrator.submit("null:seconds=2", frames=5)
    second = await orchestrator.submit()
    sidecar.start(WORKER_LIFETIME_SECONDS="966", NULL_SECONDS_PER_VIDEO_SECOND="2")

    await left(sidecar, orchestrator)

    assert (first.state, second.claims) == ("terminal", 0)
    assert reasons(sidecar) == ["no other job fits into its lifetime of 966 s"]
    assert orchestrator.events_of(first, "render.released") == []


async def test_a_worker_that_is_drained_finishes_the_job_in_hand_and_hands_back_the_next(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    sidecar.start()
    first = await orchestrator.submit("null:seconds=3", frames=100)
    await orchestrator.event(first, "render.started")
    second = await orchestrator.submit()
    await until(lambda: (orchestrator.held(second) or {}).get("stage") == "ready", "second job")

    await drain(orchestrator, "w1")
    await orchestrator.event(second, "render.released")
    await drain(orchestrator, "w1")

    await left(sidecar, orchestrator)
    assert (first.state, first.epoch) == ("terminal", 1)
    assert (second.state, second.claims) == ("queued", 1)
    assert reasons(sidecar) == ["told to, a test"]
    states = [beat["state"] for beat in orchestrator.beats if orchestrator.events_of(first)]
    assert states[states.index("draining") :].count("rendering") == 0


async def test_a_worker_is_drained_while_it_fetches_and_while_it_is_idle(
    sidecar: Sidecar, other_sidecar: Sidecar, orchestrator: Orchestrator, store: ObjectStore
) -> None:
    store.slow_get_seconds = 1.0
    sidecar.start()
    job = await orchestrator.submit()
    await until(lambda: (orchestrator.held(job) or {}).get("stage") == "fetching", "a download")
    await drain(orchestrator, "w1")
    await left(sidecar, orchestrator)
    assert (job.state, job.epoch) == ("terminal", 1)

    other_sidecar.start()
    await until(lambda: orchestrator.beats[-1]["state"] == "ready", "second worker")
    await drain(orchestrator, "w2")
    await left(other_sidecar, orchestrator)


async def test_a_worker_that_does_not_reach_its_broker_leaves_at_the_end_of_its_lifetime(
    sidecar: Sidecar, broker: TestBroker
) -> None:
    broker.kill()
    sidecar.start(WORKER_LIFETIME_SECONDS="1")

    assert await sidecar.ended() == 0
    assert reasons(sidecar) == ["it has not reached the broker in its lifetime"]
