"""A finished render is offered until it is stored or not wanted, and never rendered again."""

from __future__ import annotations

import pytest

from stage.object_store import ObjectStore
from stage.orchestrator import Orchestrator
from stage.sidecar import Sidecar
from stage.until import until

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_an_upload_is_tried_again_after_errors_and_stalls(
    orchestrator: Orchestrator, store: ObjectStore
) -> None:
    store.faults["PUT"].extend([500, "stall", 503])
    job = await orchestrator.submit()

    await orchestrator.event(job, "render.completed")

    assert [put.status for put in store.puts] == [500, 0, 503, 200]
    assert len(orchestrator.events_of(job, "render.started")) == 1


async def test_exactly_the_granted_headers_are_sent(
    orchestrator: Orchestrator, store: ObjectStore
) -> None:
    job = await orchestrator.submit()
    await orchestrator.event(job, "render.completed")

    headers = store.puts[0].headers
    assert headers["if-none-match"] == "*"
    assert headers["content-type"] == "video/mp4"
    assert int(headers["content-length"]) == len(store.objects[store.puts[0].key])
    assert "transfer-encoding" not in headers


async def test_a_video_that_already_exists_counts_as_uploaded(
    orchestrator: Orchestrator, store: ObjectStore
) -> None:
    store.faults["PUT"].append("cut")
    job = await orchestrator.submit()

    await orchestrator.event(job, "render.completed")

    assert [put.status for put in store.puts] == [200, 412]


async def test_a_render_that_cannot_be_stored_stays_spooled_and_is_offered_again(
    sidecar: Sidecar, orchestrator: Orchestrator, store: ObjectStore
) -> None:
    store.faults["PUT"].extend([503] * 6)
    job = await orchestrator.submit()
    await until(lambda: "render stays spooled" in sidecar.messages(), "line in the log")
    following = await orchestrator.submit()

    await orchestrator.event(job, "render.completed")
    await orchestrator.event(following, "render.completed")

    assert len([kind for kind, _ in orchestrator.requests if kind == "store"]) >= 2
    assert len(orchestrator.events_of(job, "render.started")) == 1


async def test_an_expired_grant_is_replaced_by_asking_again(
    orchestrator: Orchestrator, store: ObjectStore
) -> None:
    store.faults["PUT"].extend([403, 403])
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
    job = await orchestrator.submit()
    await until(lambda: "spooled render deleted" in sidecar.messages(), "line in the log")

    assert [event["type"] for event in orchestrator.events_of(job)] == ["render.started"]
    assert sidecar.spooled() == []
    assert store.puts == []


async def test_a_store_request_may_be_answered_with_stop(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    orchestrator.on_store = lambda _: {"answer": "stop"}
    job = await orchestrator.submit()

    await orchestrator.event(job, "render.cancelled")
    await until(lambda: not sidecar.spooled(), "empty spool")


async def test_the_store_request_is_repeated_until_it_is_answered(
    orchestrator: Orchestrator,
) -> None:
    silent = iter(["silence", {"answer": "error", "code": "UNEXPECTED"}, {"answer": "nonsense"}])
    orchestrator.on_store = lambda _: next(silent, None)
    job = await orchestrator.submit()

    await orchestrator.event(job, "render.completed")
