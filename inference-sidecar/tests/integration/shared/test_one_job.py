"""One job passes through a sidecar, and nothing goes wrong."""

from __future__ import annotations

import json

import pytest

from inference_sidecar.foundation.contracts import RenderCompleted
from stage.object_store import ObjectStore
from stage.orchestrator import TRACE_ID, Orchestrator
from stage.sidecar import Sidecar
from stage.until import until
from stage.video import frames_in

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_job_is_rendered_uploaded_and_reported(
    orchestrator: Orchestrator, store: ObjectStore
) -> None:
    job = await orchestrator.submit("null:seconds=0.2 null:warn", frames=50)

    completed = await orchestrator.event(job, "render.completed")

    rendered = RenderCompleted.model_validate_json(json.dumps(completed)).rendered
    video = store.objects[rendered.key]
    assert frames_in(video) == 50
    assert (rendered.bytes, rendered.frames, rendered.engine) == (len(video), 50, "null")
    assert [warning.code for warning in rendered.warnings or []] == ["ASKED_FOR"]
    assert [event["type"] for event in orchestrator.events_of(job)] == [
        "render.started",
        "render.completed",
    ]
    assert completed["renderEndedAtMs"] - completed["renderStartedAtMs"] >= 200


async def test_the_files_are_gone_when_the_job_is_over(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    job = await orchestrator.submit()
    await orchestrator.event(job, "render.completed")

    await until(lambda: not sidecar.spooled() and not sidecar.work_folders(), "empty folders")

    assert orchestrator.events_of(job, "render.cancelled") == []


async def test_the_render_stays_spooled_until_the_record_is_terminal(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    orchestrator.finishes = False
    job = await orchestrator.submit()
    await orchestrator.event(job, "render.completed")
    stored = len([kind for kind, _ in orchestrator.requests if kind == "store"])
    await until(
        lambda: len([k for k, _ in orchestrator.requests if k == "store"]) > stored,
        "another question after the upload",
    )
    assert sidecar.spooled() == [job.job_id]

    job.state = "terminal"

    await until(lambda: not sidecar.spooled(), "empty spool")
    assert len(orchestrator.store.puts) == 1


async def test_events_and_log_lines_of_a_job_continue_its_trace(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    job = await orchestrator.submit()
    await orchestrator.event(job, "render.completed")
    await until(lambda: not sidecar.spooled(), "end of the job")

    parents = [headers["traceparent"] for headers in orchestrator.event_headers]
    assert all(parent.startswith(f"00-{TRACE_ID}-") for parent in parents)
    assert len(set(parents)) == len(parents), "each hop has a span of its own"
    lines = [line for line in sidecar.log() if line.get("jobId") == job.job_id]
    assert len(lines) >= 4
    assert {line["traceId"] for line in lines} == {TRACE_ID}


async def test_no_log_line_contains_a_presigned_url_or_the_password(
    sidecar: Sidecar, orchestrator: Orchestrator, store: ObjectStore
) -> None:
    store.faults["GET"].extend([503, "cut", 403])
    store.faults["PUT"].extend([503, 403])
    job = await orchestrator.submit()
    await orchestrator.event(job, "render.completed")

    assert "very-secret" not in sidecar.log_text()
    assert "test-password" not in sidecar.log_text()


async def test_each_render_adjusts_the_pace(orchestrator: Orchestrator) -> None:
    await until(
        lambda: any(beat["secondsPerVideoSecond"] for beat in orchestrator.beats), "a calibration"
    )
    calibrated = orchestrator.beats[-1]["secondsPerVideoSecond"]
    job = await orchestrator.submit("null:seconds=1", frames=5)
    await orchestrator.event(job, "render.completed")
    await until(
        lambda: orchestrator.beats[-1]["secondsPerVideoSecond"] > calibrated, "a slower pace"
    )
