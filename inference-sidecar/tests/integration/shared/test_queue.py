"""How a worker handles the entries of the queue."""

from __future__ import annotations

import json

import pytest

# The NATS client is typed in parts only.
# pyright: reportUnknownMemberType=false
from nats.aio.msg import Msg

from inference_sidecar.foundation.contracts import (
    DeadLetter,
    gpu_work_subject,
)
from stage.orchestrator import Orchestrator
from stage.until import until

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_the_entry_of_a_finished_job_is_acked(orchestrator: Orchestrator) -> None:
    job = await orchestrator.submit()
    job.state = "terminal"

    await until(lambda: job.claims == 1, "claim")

    await orchestrator.empty_queue()


async def test_an_entry_is_handed_back_with_the_delay_of_the_claim_answer(
    orchestrator: Orchestrator,
) -> None:
    orchestrator.on_claim = lambda job: (
        {"answer": "later", "delayMs": 300} if job.claims < 3 else None
    )
    job = await orchestrator.submit()

    await orchestrator.event(job, "render.completed")
    assert job.claims == 3


async def test_an_entry_that_cannot_be_parsed_is_dead_lettered_with_a_reason(
    orchestrator: Orchestrator,
) -> None:
    letters: list[DeadLetter] = []

    async def collect(message: Msg) -> None:
        letters.append(DeadLetter.model_validate_json(message.data))

    await orchestrator.client.subscribe("dlq.>", cb=collect)
    terminated: list[str] = []

    async def note(message: Msg) -> None:
        terminated.append(json.loads(message.data)["reason"])

    await orchestrator.client.subscribe("$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.>", cb=note)
    await orchestrator.client.jetstream().publish(gpu_work_subject("x"), b'{"jobId": "x"}')
    # Each of these bytes takes six in JSON, and still the dead letter must fit into a message.
    await orchestrator.client.jetstream().publish(gpu_work_subject("y"), b"\x01" * 60_000)
    job = await orchestrator.submit()

    await orchestrator.event(job, "render.completed")

    assert len(letters) == 2
    assert (letters[0].stream, letters[0].payload) == ("GPU", '{"jobId": "x"}')
    assert "owner" in letters[0].reason
    assert letters[0].subject == gpu_work_subject("x")
    assert terminated[0].startswith("INVALID_MESSAGE")
