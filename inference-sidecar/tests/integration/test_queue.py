"""How a worker handles the entries of the queue."""

from __future__ import annotations

import hashlib
import uuid

# The NATS client is typed in parts only.
# pyright: reportUnknownMemberType=false
from nats.aio.msg import Msg

from inference_sidecar.foundation.contracts import (
    BEAT_MAX_JOBS,
    FrameSize,
    Rendered,
)
from inference_sidecar.store.spool import Spool, SpooledRender
from stage.broker import set_ack_wait
from stage.orchestrator import Job, Orchestrator
from stage.sidecar import Sidecar
from stage.until import until


async def test_a_redelivered_entry_of_a_held_job_only_renews_its_lease(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    # Shorter than the worker renews its leases: the entry is redelivered again and again.
    await set_ack_wait(orchestrator.client, 0.3)
    sidecar.start()
    job = await orchestrator.submit("null:seconds=2", frames=100)

    await orchestrator.event(job, "render.completed")
    assert (job.claims, job.epoch) == (1, 1)

    await until(lambda: not sidecar.spooled(), "end of the job")
    assert "entry redelivered" in sidecar.messages()
    assert len(orchestrator.events_of(job)) == 2
    await orchestrator.empty_queue()


async def test_the_lease_of_an_entry_is_renewed_for_as_long_as_the_render_takes(
    sidecar: Sidecar, other_sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    await set_ack_wait(orchestrator.client, 3)
    sidecar.start()
    job = await orchestrator.submit("null:seconds=7", frames=100)
    await orchestrator.event(job, "render.started")
    other_sidecar.start()

    await orchestrator.event(job, "render.completed")

    assert job.claims == 1


async def test_an_unanswered_claim_is_repeated_and_then_the_entry_handed_back(
    sidecar: Sidecar, other_sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    orchestrator.on_claim = lambda job: "silence" if job.claims <= 4 else None
    job = await orchestrator.submit()
    sidecar.start()
    await until(lambda: job.claims == 4, "four claims")
    await until(
        lambda: any(
            line["msg"] == "claim answered" and line["answer"] is None for line in sidecar.log()
        ),
        "entry handed back",
    )

    other_sidecar.start()

    await orchestrator.event(job, "render.completed")
    assert job.claims == 5


async def test_an_unexpected_entry_is_handed_back_at_once(
    sidecar: Sidecar, other_sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    pulls: list[Msg] = []

    async def collect(message: Msg) -> None:
        pulls.append(message)

    await orchestrator.client.subscribe("$JS.API.CONSUMER.MSG.NEXT.>", cb=collect)
    sidecar.start()
    first = await orchestrator.submit("null:seconds=600", frames=250, deadline_seconds=900.0)
    await orchestrator.event(first, "render.started")
    second = await orchestrator.submit()

    # Like a pull request that was delayed: it brings an entry in the middle of a render.
    pull = pulls[0]
    await orchestrator.client.publish(pull.subject, b'{"batch": 1}', reply=pull.reply)
    other_sidecar.start()

    completed = await orchestrator.event(second, "render.completed")
    assert completed["workerId"] == "w2"
    assert orchestrator.events_of(first, "render.completed") == []


async def test_no_more_jobs_are_taken_than_a_heartbeat_can_name(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    renders = [a_spooled_render() for _ in range(BEAT_MAX_JOBS)]
    spool = Spool(sidecar.spool_dir / "renders")
    for render in renders:
        video = sidecar.directory / "video.mp4"
        video.write_bytes(b"a video")
        spool.add(render, video)
        known = Job(render.job_id, "", 25, 60.0, {}, epoch=1, state="open")
        orchestrator.jobs[render.job_id] = known
    orchestrator.on_store = lambda _: "silence"
    sidecar.start()
    job = await orchestrator.submit()
    await until(lambda: orchestrator.beats and orchestrator.beats[-1]["state"] == "ready", "ready")
    seen = len(orchestrator.beats)
    await until(lambda: len(orchestrator.beats) > seen + 3, "heartbeats")
    assert len(orchestrator.beats[-1]["jobs"]) == BEAT_MAX_JOBS
    assert job.claims == 0

    orchestrator.on_store = None

    await orchestrator.event(job, "render.completed")


def a_spooled_render() -> SpooledRender:
    rendered = Rendered(
        key="k",
        bytes=len(b"a video"),
        sha256=hashlib.sha256(b"a video").hexdigest(),
        width=128,
        height=72,
        frames=25,
        fps=25,
        video_seconds=1.0,
        engine="null",
        generation=FrameSize(width=128, height=72),
        degraded=False,
        render_seconds=1.0,
    )
    return SpooledRender(
        job_id=str(uuid.uuid4()),
        owner="o_abcDEF123456",
        epoch=1,
        traceparent=f"00-{'1' * 32}-{'2' * 16}-01",
        deadline_seconds=60.0,
        rendered=rendered,
        render_started_at_ms=1,
        render_ended_at_ms=1001,
    )
