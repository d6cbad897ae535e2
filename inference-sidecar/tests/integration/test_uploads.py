"""A finished render is offered until it is stored or not wanted, and never rendered again."""

from __future__ import annotations

import signal

from stage.object_store import ObjectStore
from stage.orchestrator import Orchestrator
from stage.sidecar import Sidecar
from stage.until import until


async def test_an_upload_is_tried_again_after_errors_and_stalls(
    sidecar: Sidecar, orchestrator: Orchestrator, store: ObjectStore
) -> None:
    store.faults["PUT"].extend([500, "stall", 503])
    sidecar.start()
    job = await orchestrator.submit()

    await orchestrator.event(job, "render.completed")

    assert [put.status for put in store.puts] == [500, 0, 503, 200]
    assert len(orchestrator.events_of(job, "render.started")) == 1


async def test_exactly_the_granted_headers_are_sent(
    sidecar: Sidecar, orchestrator: Orchestrator, store: ObjectStore
) -> None:
    sidecar.start()
    job = await orchestrator.submit()
    await orchestrator.event(job, "render.completed")

    headers = store.puts[0].headers
    assert headers["if-none-match"] == "*"
    assert int(headers["content-length"]) == len(store.objects[store.puts[0].key])
    assert "transfer-encoding" not in headers


async def test_a_video_that_already_exists_counts_as_uploaded(
    sidecar: Sidecar, orchestrator: Orchestrator, store: ObjectStore
) -> None:
    store.faults["PUT"].append("cut")
    sidecar.start()
    job = await orchestrator.submit()

    await orchestrator.event(job, "render.completed")

    assert [put.status for put in store.puts] == [200, 412]


async def test_a_render_that_cannot_be_stored_stays_spooled_and_is_offered_again(
    sidecar: Sidecar, orchestrator: Orchestrator, store: ObjectStore
) -> None:
    store.faults["PUT"].extend([503] * 6)
    sidecar.start()
    job = await orchestrator.submit()
    await until(lambda: "render stays spooled" in sidecar.messages(), "line in the log")
    following = await orchestrator.submit()

    await orchestrator.event(job, "render.completed")
    await orchestrator.event(following, "render.completed")

    assert len([kind for kind, _ in orchestrator.requests if kind == "store"]) >= 2
    assert len(orchestrator.events_of(job, "render.started")) == 1


async def test_a_render_that_the_store_never_takes_is_given_up(
    sidecar: Sidecar, orchestrator: Orchestrator, store: ObjectStore
) -> None:
    store.faults["PUT"].extend([403] * 100_000)
    # Two hours become 18 s; the twenty minutes for loading the engine become 3 s.
    sidecar.start(TIMINGS_DIVISOR="400")
    job = await orchestrator.submit()

    failed = await orchestrator.event(job, "render.failed")

    assert failed["code"] == "UPLOAD_FAILED"
    await until(lambda: not sidecar.spooled(), "empty spool")


async def test_an_expired_grant_is_replaced_by_asking_again(
    sidecar: Sidecar, orchestrator: Orchestrator, store: ObjectStore
) -> None:
    store.faults["PUT"].extend([403, 403])
    sidecar.start()
    job = await orchestrator.submit()

    await orchestrator.event(job, "render.completed")

    assert [put.status for put in store.puts] == [403, 403, 200]
    assert len([kind for kind, _ in orchestrator.requests if kind == "store"]) >= 3
    assert len(orchestrator.events_of(job, "render.started")) == 1


async def test_a_spooled_render_that_is_damaged_is_handed_back(
    sidecar: Sidecar, orchestrator: Orchestrator, store: ObjectStore
) -> None:
    # Fails without a refusal: only that the store rejects the body reveals the damage.
    store.faults["PUT"].extend([503] * 4)
    sidecar.start()
    job = await orchestrator.submit()
    await until(lambda: "render stays spooled" in sidecar.messages(), "spooled render")
    video = sidecar.spool_dir / "renders" / job.job_id / "video.mp4"
    video.write_bytes(bytes(video.stat().st_size))

    await orchestrator.event(job, "render.released")

    assert store.puts[-1].status == 400
    await until(lambda: not sidecar.spooled(), "empty spool")


async def test_a_spooled_render_that_is_missing_is_handed_back(
    sidecar: Sidecar, orchestrator: Orchestrator, store: ObjectStore
) -> None:
    store.faults["PUT"].extend([503] * 4)
    sidecar.start()
    job = await orchestrator.submit()
    await until(lambda: "render stays spooled" in sidecar.messages(), "spooled render")
    (sidecar.spool_dir / "renders" / job.job_id / "video.mp4").unlink()

    await orchestrator.event(job, "render.released")

    following = await orchestrator.submit()
    await orchestrator.event(following, "render.completed")


async def test_a_lost_attempt_is_deleted_without_a_report(
    sidecar: Sidecar, orchestrator: Orchestrator, store: ObjectStore
) -> None:
    orchestrator.on_store = lambda _: {"answer": "lost"}
    sidecar.start()
    job = await orchestrator.submit()
    await until(lambda: "spooled render deleted" in sidecar.messages(), "line in the log")

    assert [event["type"] for event in orchestrator.events_of(job)] == ["render.started"]
    assert sidecar.spooled() == []
    assert store.puts == []
    assert await orchestrator.entry_count() == 1, "neither acked nor handed back"


async def test_a_store_request_may_be_answered_with_stop(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    orchestrator.on_store = lambda _: {"answer": "stop"}
    sidecar.start()
    job = await orchestrator.submit()

    await orchestrator.event(job, "render.cancelled")
    await until(lambda: not sidecar.spooled(), "empty spool")


async def test_the_store_request_is_repeated_until_it_is_answered(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    silent = iter(["silence", {"answer": "error", "code": "UNEXPECTED"}, {"answer": "nonsense"}])
    orchestrator.on_store = lambda _: next(silent, None)
    sidecar.start()
    job = await orchestrator.submit()

    await orchestrator.event(job, "render.completed")


async def test_a_spooled_render_survives_a_kill_and_is_not_rendered_again(
    sidecar: Sidecar, orchestrator: Orchestrator, store: ObjectStore
) -> None:
    store.faults["PUT"].extend([503] * 1000)
    sidecar.start()
    job = await orchestrator.submit()
    await until(sidecar.spooled, "spooled render")
    await sidecar.kill()
    incarnation = orchestrator.beats[-1]["incarnation"]
    store.faults["PUT"].clear()

    sidecar.start()

    await orchestrator.event(job, "render.completed")
    assert len(orchestrator.events_of(job, "render.started")) == 1
    first = next(beat for beat in orchestrator.beats if beat["incarnation"] != incarnation)
    assert [held["jobId"] for held in first["jobs"]] == [job.job_id]
    assert first["jobs"][0]["epoch"] == 1
    # The dead process still held the entry; its next delivery is claimed and dropped.
    await until(lambda: job.claims == 2 or not sidecar.spooled(), "end of the job")


async def test_an_uploaded_render_is_reported_after_a_kill(
    sidecar: Sidecar, orchestrator: Orchestrator, store: ObjectStore
) -> None:
    store.slow_put_seconds = 1.0
    sidecar.start()
    job = await orchestrator.submit()
    await until(lambda: store.objects.keys() & {_output(job.job_id)}, "upload")
    sidecar.signal(signal.SIGKILL)
    await sidecar.ended()
    assert orchestrator.events_of(job, "render.completed") == []

    sidecar.start()

    await orchestrator.event(job, "render.completed")
    assert [put.status for put in store.puts][-1] == 412


def _output(job_id: str) -> str:
    return f"jobs/{job_id}/out/1/video.mp4"


async def test_an_upload_is_reported_again_while_the_job_does_not_end(
    sidecar: Sidecar, orchestrator: Orchestrator, store: ObjectStore
) -> None:
    orchestrator.finishes = False
    sidecar.start(TIMINGS_DIVISOR="100")
    job = await orchestrator.submit()

    await until(lambda: len(orchestrator.events_of(job, "render.completed")) == 2, "second report")

    first, second = orchestrator.events_of(job, "render.completed")
    assert first["rendered"] == second["rendered"]
    assert len(store.puts) == 1
    await orchestrator.stop("w1", job)
    await until(lambda: not sidecar.spooled(), "empty spool")
