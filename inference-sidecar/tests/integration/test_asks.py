"""How a worker asks for its jobs: one ask at a time, and no job is claimed for nobody."""

from __future__ import annotations

import asyncio
import hashlib
import signal
import time
import uuid

from inference_sidecar.foundation.contracts import (
    BEAT_MAX_JOBS,
    FrameSize,
    Rendered,
    next_subject,
)
from inference_sidecar.store.spool import Spool, SpooledRender
from stage.broker import TestBroker
from stage.object_store import ObjectStore
from stage.orchestrator import Job, Orchestrator
from stage.sidecar import Sidecar
from stage.until import until


async def a_fresh_ask(orchestrator: Orchestrator) -> None:
    """Returns when an ask has just come."""
    seen = len(orchestrator.asks())
    await until(lambda: len(orchestrator.asks()) > seen, "an ask")


async def test_an_idle_worker_is_parked_and_keeps_the_name_of_its_ask(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    sidecar.start(WORKER_POOL="l40s", TIMINGS_DIVISOR="4")
    asks = await until(lambda: orchestrator.asks()[2:] and orchestrator.asks(), "three asks")

    assert {ask["ask"] for ask in asks} == {asks[0]["ask"]}
    assert {(ask["isIdle"], ask["waitMs"], ask["pool"]) for ask in asks} == {(True, 500, "l40s")}
    assert {ask["incarnation"] for ask in asks} == {orchestrator.beats[-1]["incarnation"]}
    assert orchestrator.beats[-1]["pool"] == "l40s"


async def test_a_parked_ask_brings_a_job_the_moment_it_comes(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    sidecar.start(TIMINGS_DIVISOR="1")
    await a_fresh_ask(orchestrator)
    parked = orchestrator.asks()[-1]["ask"]
    asked: list[int] = []
    orchestrator.on_order = lambda _: asked.append(len(orchestrator.asks()))
    before = len(orchestrator.asks())

    job = await orchestrator.submit()

    await orchestrator.event(job, "render.completed")
    assert (asked, job.ask, job.claims) == ([before], parked, 1)
    await until(lambda: orchestrator.asks()[-1]["ask"] != parked, "an ask under a new name")


async def test_a_busy_worker_asks_ahead_again_and_again_and_is_never_parked(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    sidecar.start()
    job = await orchestrator.submit("null:hang")
    await orchestrator.event(job, "render.started")
    await a_fresh_ask(orchestrator)
    first = len(orchestrator.asks())

    asks = await until(lambda: orchestrator.asks()[first + 2 :], "more asks")

    assert {(ask["isIdle"], ask["waitMs"]) for ask in asks} == {(False, 0)}
    assert len({ask["ask"] for ask in asks}) == 1


async def test_a_worker_whose_render_is_long_does_not_ask(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    sidecar.start()
    job = await orchestrator.submit("null:seconds=600", frames=250, deadline_seconds=900.0)
    await orchestrator.event(job, "render.started")
    asks, beats = len(orchestrator.asks()), len(orchestrator.beats)

    await until(lambda: len(orchestrator.beats) > beats + 5, "heartbeats")

    assert len(orchestrator.asks()) == asks


async def test_an_answer_that_is_lost_is_given_again_to_the_same_ask(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    orchestrator.on_order = lambda job: "silence" if job.claims <= 2 else None
    sidecar.start()
    job = await orchestrator.submit()

    await orchestrator.event(job, "render.completed")

    asks = [ask for ask in orchestrator.asks() if ask["ask"] == job.ask]
    assert [ask["waitMs"] for ask in asks[-2:]] == [0, 0], "nobody waits where it hangs"
    assert (job.claims, job.epoch) == (3, 1)
    assert len(orchestrator.events_of(job, "render.started")) == 1


async def test_a_job_that_is_in_hand_is_not_begun_again(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    sidecar.start()
    job = await orchestrator.submit("null:hang")
    await orchestrator.event(job, "render.started")

    orchestrator.on_next = lambda _: orchestrator.order(job)
    await until(lambda: "job is in hand already" in sidecar.messages(), "line in the log")

    orchestrator.on_next = None
    following = await orchestrator.submit()
    await until(lambda: orchestrator.held(following), "the next job")
    assert orchestrator.held(job)
    assert [event["type"] for event in orchestrator.events_of(job)] == ["render.started"]


async def test_a_job_that_comes_while_the_worker_drains_is_handed_back(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    sidecar.start(TIMINGS_DIVISOR="1")
    await a_fresh_ask(orchestrator)
    sidecar.signal(signal.SIGTERM)
    await until(lambda: "sidecar stopping" in sidecar.messages(), "line in the log")

    job = await orchestrator.submit()

    released = await orchestrator.event(job, "render.released")
    assert (job.claims, released["epoch"], released["used"]) == (1, 1, {"gpuSeconds": 0})
    assert await sidecar.ended() == 0
    assert [event["type"] for event in orchestrator.events_of(job)] == ["render.released"]


async def test_a_worker_that_drains_with_an_unanswered_ask_holds_nothing(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    orchestrator.on_next = lambda _: "silence"
    sidecar.start()
    await a_fresh_ask(orchestrator)

    sidecar.signal(signal.SIGTERM)

    assert await sidecar.ended() == 0
    assert sidecar.messages()[-1] == "sidecar stopped"


async def test_a_worker_asks_once_as_soon_as_its_broker_is_back(
    sidecar: Sidecar, orchestrator: Orchestrator, broker: TestBroker
) -> None:
    sidecar.start(TIMINGS_DIVISOR="1")
    await a_fresh_ask(orchestrator)
    broker.kill()
    await until(lambda: "broker away" in sidecar.messages(), "line in the log")
    # Long enough for several asks.
    await asyncio.sleep(4)
    orchestrator.requests.clear()
    # An answer would be followed by the next ask at once.
    orchestrator.on_next = lambda _: "silence"

    await broker.start()
    await until(orchestrator.asks, "an ask")
    # What the sidecar sent with it has arrived too.
    await orchestrator.client.flush()

    assert len(orchestrator.asks()) == 1
    orchestrator.on_next = None
    job = await orchestrator.submit()
    await orchestrator.event(job, "render.completed")


async def test_a_broker_that_hangs_collects_no_asks(
    sidecar: Sidecar, orchestrator: Orchestrator, broker: TestBroker
) -> None:
    sidecar.start()
    await a_fresh_ask(orchestrator)
    orchestrator.requests.clear()
    with broker.frozen():
        await asyncio.sleep(4)

    job = await orchestrator.submit()

    await orchestrator.event(job, "render.started")
    asks = [ask["ask"] for ask in orchestrator.asks()]
    assert asks.count(job.ask or "") <= 3, "one from before, one on its way, one that was answered"
    await orchestrator.event(job, "render.completed")
    assert job.epoch == 1


async def test_asks_go_on_where_no_orchestrator_listens(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    await orchestrator.go_deaf()
    sidecar.start(TIMINGS_DIVISOR="20")
    await until(lambda: "engine ready" in sidecar.messages(), "a loaded engine")
    beats = len(orchestrator.beats)
    await until(lambda: len(orchestrator.beats) > beats + 5, "heartbeats")

    await orchestrator.listen()

    job = await orchestrator.submit()
    await orchestrator.event(job, "render.completed")
    lines = [line for line in sidecar.log() if line["msg"] == "request not answered"]
    assert [(line["level"], line["subject"]) for line in lines] == [("warn", next_subject("local"))]
    assert "asks are answered again" in sidecar.messages()


async def test_an_orchestrator_that_fails_is_asked_again(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    answers = iter([{"answer": "error", "code": "STORE_UNAVAILABLE"}, {"answer": "nonsense"}])
    orchestrator.on_next = lambda _: next(answers, None)
    sidecar.start()
    job = await orchestrator.submit()

    await orchestrator.event(job, "render.completed")

    assert len({ask["ask"] for ask in orchestrator.asks()[:3]}) == 1
    line = next(line for line in sidecar.log() if line["msg"] == "request not answered")
    assert (line["code"], line["level"]) == ("STORE_UNAVAILABLE", "warn")


async def test_a_worker_whose_own_disk_lost_a_render_takes_no_job_for_a_while(
    sidecar: Sidecar, orchestrator: Orchestrator, store: ObjectStore
) -> None:
    store.faults["PUT"].extend([503] * 4)
    sidecar.start(TIMINGS_DIVISOR="5")
    job = await orchestrator.submit()
    await until(lambda: "render stays spooled" in sidecar.messages(), "spooled render")
    (sidecar.spool_dir / "renders" / job.job_id / "video.mp4").unlink()
    await orchestrator.event(job, "render.released")
    released_at = time.monotonic()

    await orchestrator.event(job, "render.completed")

    assert time.monotonic() - released_at >= 1.5, "ten seconds, a fifth of them"
    # What comes to an ask that was parked before is handed back too.
    begun = [event["epoch"] for event in orchestrator.events_of(job, "render.started")]
    assert begun == [1, job.epoch]


async def test_a_lost_attempt_gives_way_to_the_next_one_of_the_same_worker(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    sidecar.start()
    job = await orchestrator.submit("null:hang")
    await orchestrator.event(job, "render.started")
    job.prompt = ""

    # Its heartbeats did not arrive for long, so the attempt was deemed lost.
    await orchestrator.queue_again(job)

    completed = await orchestrator.event(job, "render.completed")
    assert completed["epoch"] == 2
    cancelled = await orchestrator.event(job, "render.cancelled")
    assert cancelled["epoch"] == 1


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

    completed = await orchestrator.event(job, "render.completed")
    assert "used" in completed
    earlier = next(event for event in orchestrator.events if event["jobId"] == renders[0].job_id)
    assert "used" not in earlier


def a_spooled_render() -> SpooledRender:
    """As an earlier version wrote it: without the GPU time."""
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
