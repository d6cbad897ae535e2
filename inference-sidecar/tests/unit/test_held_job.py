"""Which jobs a worker that leaves keeps, and how long they may take."""

from __future__ import annotations

import time

import pytest

from inference_sidecar.foundation.contracts import FrameSize, PresignedInput, RenderOrder
from inference_sidecar.worker.held_job import (
    AttemptName,
    HeldJob,
    Stage,
    waiting_behind_a_render,
)

JOB_ID = "b4a1c2f0-5c1d-4a59-8f5e-2f8c7d1e0a11"
TRACEPARENT = f"00-{'1' * 32}-{'2' * 16}-00"


def a_job(stage: Stage = "fetching") -> HeldJob:
    media = PresignedInput(url="http://127.0.0.1/x", bytes=1, sha256="0" * 64)
    order = RenderOrder(
        job_id=JOB_ID,
        owner="acme",
        epoch=1,
        image=media,
        audio=media,
        prompt="",
        seed=1,
        frames=25,
        delivery=FrameSize(width=1280, height=720),
        deadline_seconds=600.0,
        traceparent=TRACEPARENT,
    )
    return HeldJob(AttemptName(JOB_ID, "acme", 1, TRACEPARENT), order, stage=stage)


@pytest.mark.parametrize("stage", ["fetching", "ready"])
def test_a_job_that_waits_alone_is_the_job_in_hand(stage: Stage) -> None:
    assert waiting_behind_a_render([a_job(stage)]) == []


@pytest.mark.parametrize("stage", ["fetching", "ready"])
def test_a_job_behind_a_render_may_go_elsewhere_until_that_has_ended(stage: Stage) -> None:
    rendering, waiting = a_job(), a_job(stage)
    rendering.start_clock()
    assert waiting_behind_a_render([rendering, waiting]) == [waiting]
    rendering.stop_clock()
    assert waiting_behind_a_render([rendering, waiting]) == []


def test_a_job_that_ends_already_is_not_handed_back_as_well() -> None:
    rendering, waiting = a_job(), a_job("ready")
    rendering.start_clock()
    waiting.end("stopped")
    assert waiting_behind_a_render([rendering, waiting]) == []


def test_a_job_may_render_until_its_deadline_and_not_after_its_end() -> None:
    job = a_job()
    assert job.may_render_seconds == 600
    job.start_clock()
    job.started_at = time.monotonic() - 400
    assert 0 < job.may_render_seconds <= 200
    job.started_at = time.monotonic() - 700
    assert job.may_render_seconds == 0
    job.started_at = time.monotonic()
    job.stop_clock()
    assert job.may_render_seconds == 0
