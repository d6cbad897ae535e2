"""The spans of a job reach the bus: whole, below its attempt, and only if it is sampled."""

from __future__ import annotations

import hashlib
import os
import signal
from pathlib import Path

import pytest

from stage.broker import TestBroker
from stage.object_store import ObjectStore
from stage.orchestrator import TRACE_ID, Job, Orchestrator
from stage.sidecar import Sidecar
from stage.spans import Seen, SpansOnTheBus
from stage.until import until

INTERNAL, CLIENT, PRODUCER = 1, 3, 4
STARTED = "publish evt.render.started.{job}"
COMPLETED = "publish evt.render.completed.{job}"


@pytest.fixture
async def spans(orchestrator: Orchestrator) -> SpansOnTheBus:
    orchestrator.flags = "01"
    on_the_bus = SpansOnTheBus()
    await on_the_bus.listen(orchestrator.client)
    return on_the_bus


def attempt_id(job: Job, epoch: int = 1) -> str:
    return hashlib.sha256(f"{job.job_id}:{epoch}".encode()).hexdigest()[:16]


def one(spans: list[Seen], name: str) -> Seen:
    found = [span for span in spans if span.name == name]
    assert len(found) == 1, [span.name for span in spans]
    return found[0]


async def test_a_job_becomes_one_tree_below_its_attempt(
    sidecar: Sidecar, orchestrator: Orchestrator, spans: SpansOnTheBus
) -> None:
    sidecar.start()
    job = await orchestrator.submit("null:seconds=0.2", frames=200)
    await orchestrator.event(job, "render.completed")

    seen = await spans.have(job.job_id, COMPLETED, STARTED, "render", "finish file", "upload")

    assert {span.trace_id for span in seen} == {TRACE_ID}
    assert spans.services == {"sidecar"}
    assert set(spans.subjects) == {"telemetry.spans.w1"}
    attempt, render = attempt_id(job), one(seen, "render")
    parents = {span.name: span.parent_id for span in seen}
    assert {name for name, parent in parents.items() if parent == attempt} == {
        *("fetch image", "fetch audio", "render", "finish file", "upload", STARTED, COMPLETED)
    }
    assert {name for name, parent in parents.items() if parent == render.span_id} == {
        *("prepare", "chunk")
    }
    chunks = [span for span in seen if span.name == "chunk"]
    assert [
        (span.attributes["avatar.chunk"], span.attributes["avatar.frames"]) for span in chunks
    ] == [(0, 75), (1, 75), (2, 50)]
    assert all(span.attributes["avatar.attempt"] == 1 for span in seen)
    assert all(span.error is None for span in seen)
    for chunk in chunks:
        assert render.start_ns <= chunk.start_ns <= chunk.end_ns <= render.end_ns
    assert {span.kind for span in (render, *chunks)} == {INTERNAL}
    assert {one(seen, name).kind for name in ("fetch image", "fetch audio", "upload")} == {CLIENT}
    assert {one(seen, name).kind for name in (STARTED, COMPLETED)} == {PRODUCER}


async def test_spans_tell_what_was_done(
    sidecar: Sidecar, orchestrator: Orchestrator, store: ObjectStore, spans: SpansOnTheBus
) -> None:
    store.faults["GET"].append(503)
    store.faults["PUT"].append(503)
    sidecar.start()
    job = await orchestrator.submit("null:seconds=0.1", frames=25)
    await orchestrator.event(job, "render.completed")
    seen = await spans.have(job.job_id, COMPLETED, "render", "finish file", "upload")

    assert one(seen, "render").attributes | {"avatar.size": "720p"} == {
        "gen_ai.operation.name": "generate_content",
        "gen_ai.provider.name": "avatar",
        "gen_ai.request.model": "null",
        "gen_ai.request.seed": 7,
        "gen_ai.output.type": "video",
        "avatar.engine": "null",
        "avatar.size": "720p",
        "avatar.frames": 25,
        "avatar.degraded": False,
        "avatar.resumed_chunks": 0,
        "avatar.job.id": job.job_id,
        "avatar.attempt": 1,
    }
    fetched = [one(seen, name).attributes for name in ("fetch image", "fetch audio")]
    assert sorted(each["avatar.tries"] for each in fetched) == [1, 2]
    assert {each["avatar.bytes"] for each in fetched} == {
        len(data) for _, data in job.inputs.values()
    }
    uploads = [span for span in seen if span.name == "upload"]
    assert [
        (each.attributes["http.response.status_code"], each.attributes["http.request.resend_count"])
        for each in uploads
    ] == [(503, 0), (200, 1)]
    assert [each.error for each in uploads] == ["STORE_UNAVAILABLE", None]
    published = one(seen, COMPLETED).attributes
    assert published["messaging.system"] == "nats"
    assert published["messaging.destination.template"] == "evt.render.completed.{job}"
    assert published["messaging.message.id"] == f"{job.job_id}:render.completed:1"


async def test_an_event_names_the_span_that_published_it(
    sidecar: Sidecar, orchestrator: Orchestrator, spans: SpansOnTheBus
) -> None:
    sidecar.start()
    job = await orchestrator.submit()
    await orchestrator.event(job, "render.completed")
    seen = await spans.have(job.job_id, COMPLETED, STARTED)

    of_events = {
        event["type"]: headers["traceparent"]
        for event, headers in zip(orchestrator.events, orchestrator.event_headers, strict=True)
    }
    assert of_events == {
        "render.started": f"00-{TRACE_ID}-{one(seen, STARTED).span_id}-01",
        "render.completed": f"00-{TRACE_ID}-{one(seen, COMPLETED).span_id}-01",
    }


async def test_a_killed_render_process_leaves_what_it_finished_and_what_it_was_at(
    sidecar: Sidecar, orchestrator: Orchestrator, spans: SpansOnTheBus
) -> None:
    sidecar.start()
    job = await orchestrator.submit("null:seconds=4", frames=900)
    kept = sidecar.spool_dir / "work" / f"{job.job_id}-1" / "pieces" / "kept"
    await until(kept.exists, "a finished piece")
    child = sidecar.render_process()
    assert child is not None
    os.kill(child, signal.SIGKILL)
    await orchestrator.event(job, "render.completed")

    seen = await spans.have(job.job_id, COMPLETED, "render", "finish file", "upload")

    render = one(seen, "render")
    assert render.error is None, "it went on in another process"
    resumed = render.attributes["avatar.resumed_chunks"]
    chunks = [span for span in seen if span.name == "chunk"]
    assert {span.parent_id for span in chunks} == {render.span_id}
    cut = [span for span in chunks if span.error is not None]
    assert [span.error for span in cut] == ["RENDER_PROCESS_DIED"]
    at = chunks.index(cut[0])
    assert [span.attributes["avatar.chunk"] for span in chunks[: at + 1]] == [*range(at + 1)]
    assert 0 < resumed <= at
    assert [span.attributes["avatar.chunk"] for span in chunks[at + 1 :]] == [*range(resumed, 12)]
    starts = await until(
        lambda: spans.named("start worker") if len(spans.named("start worker")) == 2 else None,
        "both starts",
    )
    for start in starts:
        assert start.parent_id == ""
        assert start.trace_id != TRACE_ID
        stages = [span.name for span in spans.all if span.parent_id == start.span_id]
        assert stages == ["spawn", "weights", "engine", "calibrate"]


async def test_a_job_that_is_not_sampled_writes_and_loads_nothing(
    sidecar: Sidecar, orchestrator: Orchestrator, spans: SpansOnTheBus, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit, sys\n"
        f"loaded = open({str(tmp_path / 'modules')!r}, 'a')\n"
        "atexit.register(lambda: loaded.write('\\n'.join(sys.modules) + '\\n'))\n"
    )
    orchestrator.flags = "00"
    sidecar.start(PYTHONPATH=str(tmp_path))
    job = await orchestrator.submit()
    await orchestrator.event(job, "render.completed")
    sidecar.signal(signal.SIGTERM)
    assert await sidecar.ended() == 0

    modules = (tmp_path / "modules").read_text().split()
    assert "inference_sidecar.telemetry.spans" in modules
    assert [name for name in modules if name.startswith("opentelemetry")] == []
    assert spans.all == []
    assert all(each["traceparent"].endswith("-00") for each in orchestrator.event_headers)


async def test_what_is_left_is_sent_before_the_connection_closes(
    sidecar: Sidecar, orchestrator: Orchestrator, spans: SpansOnTheBus
) -> None:
    sidecar.start()
    job = await orchestrator.submit("null:seconds=60", frames=25)
    await orchestrator.event(job, "render.started")
    sidecar.signal(signal.SIGTERM)
    assert await sidecar.ended() == 0

    seen = await spans.have(job.job_id, "publish evt.render.released.{job}", "render")

    assert one(seen, "render").error == "Cancelled"
    chunk = one(seen, "chunk")
    assert chunk.error is not None


async def test_a_broker_that_is_away_costs_spans_and_not_the_job(
    sidecar: Sidecar, orchestrator: Orchestrator, spans: SpansOnTheBus, broker: TestBroker
) -> None:
    sidecar.start()
    job = await orchestrator.submit("null:seconds=1", frames=100)
    await orchestrator.event(job, "render.started")
    broker.kill()
    await broker.start()

    await orchestrator.event(job, "render.completed")
    await spans.have(job.job_id, "render", "upload")
