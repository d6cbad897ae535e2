"""An attempt that is stopped before it could begin."""

import asyncio
from types import SimpleNamespace
from typing import cast

from inference_sidecar.engines.engine import Box, How
from inference_sidecar.foundation.contracts import (
    FaceBox,
    FrameSize,
    PresignedInput,
    RenderOptions,
    RenderOrder,
    Used,
)
from inference_sidecar.foundation.log import Log
from inference_sidecar.worker.attempt import Attempt
from inference_sidecar.worker.held_job import AttemptName, HeldJob
from inference_sidecar.worker.how_asked import how_of
from inference_sidecar.worker.job_services import JobServices

JOB_ID = "b4a1c2f0-5c1d-4a59-8f5e-2f8c7d1e0a11"
OWNER = "o_abcDEF123456"
TRACEPARENT = f"00-{'1' * 32}-{'2' * 16}-01"
INPUT = PresignedInput(url="http://127.0.0.1:1/x", bytes=1, sha256="a" * 64)
ORDER = RenderOrder(
    answer="render",
    job_id=JOB_ID,
    owner=OWNER,
    epoch=1,
    image=INPUT,
    audio=INPUT,
    prompt="",
    seed=1,
    frames=25,
    delivery=FrameSize(width=960, height=960),
    deadline_seconds=60.0,
    traceparent=TRACEPARENT,
)


async def test_a_stop_in_one_breath_with_the_order_is_reported_and_the_job_forgotten() -> None:
    told: list[tuple[AttemptName, Used]] = []
    forgotten: list[HeldJob] = []

    async def cancelled(name: AttemptName, used: Used) -> bool:
        told.append((name, used))
        return True

    ended: list[object] = []
    services = SimpleNamespace(
        reports=SimpleNamespace(cancelled=cancelled), ended=SimpleNamespace(add=ended.append)
    )
    job = HeldJob(AttemptName(JOB_ID, OWNER, 1, TRACEPARENT), ORDER)
    attempt = Attempt(
        job=job,
        # It gets no further than to its report.
        services=cast("JobServices", services),
        on_rendered=lambda *_: None,
        forget=forgotten.append,
        in_background=asyncio.ensure_future,
        log=Log(),
    )
    job.task = asyncio.create_task(attempt.run())
    # A task that is cancelled before its first step never enters its body.
    job.end("stopped")
    await job.task

    assert told == [(job.name, Used(gpu_seconds=0))]
    assert len(ended) == 1
    assert forgotten == [job]


def test_an_order_names_what_a_job_asks_for_and_leaves_the_rest_as_usual() -> None:
    box = FaceBox(left=0.1, top=0.2, right=0.5, bottom=0.9)
    asked = RenderOptions(
        quality="high", speaker=box, lead_seconds=2.0, expressiveness=0.5, camera="drift"
    )
    usual = How()
    assert how_of(None) == how_of(RenderOptions()) == usual
    assert how_of(RenderOptions(speaker=3)) == How(speaker=3)
    assert how_of(asked) == How(
        quality="high",
        speaker=Box(0.1, 0.2, 0.5, 0.9),
        lead_seconds=2.0,
        expressiveness=0.5,
        camera="drift",
    )
    two = how_of(RenderOptions(speakers=[box, box], video_end="pingpong"))
    assert two.speakers == (Box(0.1, 0.2, 0.5, 0.9),) * 2
    assert two.video_end == "pingpong"
