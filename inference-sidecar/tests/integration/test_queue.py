"""How a worker treats the entries of the queue."""

from __future__ import annotations

import asyncio
import json

# The NATS client is typed in parts only.
# pyright: reportUnknownMemberType=false
from nats.aio.msg import Msg

from inference_sidecar.contracts import DeadLetter, gpu_work_subject
from stage.broker import set_ack_wait
from stage.orchestrator import Orchestrator
from stage.sidecar import Sidecar
from stage.until import until


async def test_an_entry_that_is_already_in_hand_only_renews_the_handle(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    # Shorter than the worker keeps its entries alive: the entry comes again and again.
    await set_ack_wait(orchestrator.client, 0.3)
    sidecar.start()
    job = await orchestrator.submit("null:seconds=2", frames=100)

    await orchestrator.event(job, "render.completed")

    await until(lambda: not sidecar.spooled(), "end of the job")
    assert "entry came again" in sidecar.messages()
    assert (job.claims, job.epoch) == (1, 1)
    assert len(orchestrator.events_of(job)) == 2
    assert await orchestrator.entry_count() == 0


async def test_an_entry_is_kept_from_others_for_as_long_as_the_render_takes(
    sidecar: Sidecar, other_sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    await set_ack_wait(orchestrator.client, 1.5)
    sidecar.start()
    job = await orchestrator.submit("null:seconds=4", frames=100)
    await orchestrator.event(job, "render.started")
    other_sidecar.start()

    await orchestrator.event(job, "render.completed")

    assert job.claims == 1


async def test_the_entry_of_a_finished_job_is_acked(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    job = await orchestrator.submit()
    job.state = "terminal"
    sidecar.start()

    await until(lambda: job.claims == 1, "claim")

    for _ in range(200):
        if await orchestrator.entry_count() == 0:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the entry is still there")


async def test_a_job_that_is_not_to_be_had_yet_is_handed_back_for_a_while(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    orchestrator.on_claim = lambda job: (
        {"answer": "later", "delayMs": 300} if job.claims < 3 else None
    )
    job = await orchestrator.submit()
    sidecar.start()

    await orchestrator.event(job, "render.completed")
    assert job.claims == 3


async def test_a_claim_without_an_answer_is_repeated_then_the_entry_handed_back(
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


async def test_an_entry_nobody_can_read_goes_to_the_dead_letters_with_a_reason(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    letters: list[DeadLetter] = []

    async def hear(message: Msg) -> None:
        letters.append(DeadLetter.model_validate_json(message.data))

    await orchestrator.client.subscribe("dlq.>", cb=hear)
    terminated: list[str] = []

    async def note(message: Msg) -> None:
        terminated.append(json.loads(message.data)["reason"])

    await orchestrator.client.subscribe("$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.>", cb=note)
    await orchestrator.client.jetstream().publish(gpu_work_subject("x"), b'{"jobId": "x"}')
    job = await orchestrator.submit()
    sidecar.start()

    await orchestrator.event(job, "render.completed")

    assert len(letters) == 1
    assert (letters[0].stream, letters[0].payload) == ("GPU", '{"jobId": "x"}')
    assert "owner" in letters[0].reason
    assert letters[0].subject == gpu_work_subject("x")
    assert terminated[0].startswith("INVALID_MESSAGE")
