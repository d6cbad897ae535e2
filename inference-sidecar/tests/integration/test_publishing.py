"""A message is published until it is stored; one that never can be is refused at once."""

# The NATS client is typed in parts only.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from inference_sidecar.config import SidecarConfig
from inference_sidecar.foundation.contracts import MESSAGE_MAX_BYTES
from inference_sidecar.foundation.errors import PublishRefused
from inference_sidecar.foundation.log import configure_log
from inference_sidecar.worker.broker import Broker, connect
from stage.broker import PASSWORD, TestBroker, limit_events
from stage.orchestrator import Orchestrator
from stage.sidecar import Sidecar
from stage.until import PATIENCE_SECONDS, until

TRACEPARENT = f"00-{'1' * 32}-{'2' * 16}-00"
SUBJECT = "evt.render.started.a-job"
RETRY_SECONDS = 2.0
"""What is tried again takes at least so long; what is refused at once takes less."""


@pytest.fixture
def lines() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
async def connection(
    orchestrator: Orchestrator, broker: TestBroker, tmp_path: Path, lines: io.StringIO
) -> AsyncIterator[Broker]:
    """The sidecar's connection, in this process."""
    assert orchestrator.client.is_connected
    config = SidecarConfig.model_validate(
        {"nats_url": broker.url, "nats_password": SecretStr(PASSWORD), "spool_dir": tmp_path}
    )
    opened = await connect(config, "w1", configure_log("debug", lines))
    yield opened
    await opened.close()


async def store(connection: Broker, subject: str = SUBJECT, body: bytes = b"{}") -> None:
    await connection.publisher.store(subject, body, "an-id", TRACEPARENT, configure_log("silent"))


def logged(lines: io.StringIO, message: str) -> list[dict[str, Any]]:
    parsed = [json.loads(line) for line in lines.getvalue().splitlines()]
    return [line for line in parsed if line["msg"] == message]


async def test_a_subject_without_permission_is_refused_at_once(connection: Broker) -> None:
    began = time.monotonic()
    for _ in range(2):
        with pytest.raises(PublishRefused, match="permission"):
            await store(connection, "evt.Job.submitted.a-job")
    assert time.monotonic() - began < RETRY_SECONDS
    await store(connection)


@pytest.mark.parametrize("size", [MESSAGE_MAX_BYTES + 1, 2 << 20])
async def test_a_message_that_is_too_large_is_refused_at_once(
    connection: Broker, size: int
) -> None:
    began = time.monotonic()
    with pytest.raises(PublishRefused):
        await store(connection, body=b"x" * size)
    assert time.monotonic() - began < RETRY_SECONDS
    await store(connection)


async def test_trouble_is_logged_at_once_then_ever_more_rarely_and_at_its_end(
    connection: Broker, orchestrator: Orchestrator, lines: io.StringIO
) -> None:
    await orchestrator.client.jetstream().publish("evt.filler", b"")
    await limit_events(orchestrator.client, 1)
    log = configure_log("debug", lines)
    began = time.monotonic()
    storing = asyncio.create_task(
        connection.publisher.store(SUBJECT, b"{}", "an-id", TRACEPARENT, log)
    )

    def trouble() -> list[dict[str, Any]]:
        return logged(lines, "message not stored, publishing again")

    await until(trouble, "first line", 5)
    await until(lambda: len(trouble()) == 3, "more lines")

    assert time.monotonic() - began >= 3, "after one second and after two more"
    assert [line["level"] for line in trouble()] == ["error"] * 3
    assert {line["code"] for line in trouble()} == {"STORAGE_FULL"}
    assert trouble()[0]["tries"] == 1
    assert trouble()[2]["tries"] > 3
    assert "maximum messages" in trouble()[0]["reason"]
    await limit_events(orchestrator.client, -1)
    await storing
    assert logged(lines, "message stored after retries")[0]["tries"] > 3


async def test_a_job_goes_on_when_a_full_stream_has_room_again(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    stream = orchestrator.client.jetstream()
    await stream.publish("evt.filler", b"")
    await limit_events(orchestrator.client, 1)
    sidecar.start()
    job = await orchestrator.submit("null:seconds=1", frames=25)
    await until(lambda: "uploaded" in sidecar.messages(), "upload without a stored event")

    first = {line["msg"]: datetime.fromisoformat(line["time"]) for line in sidecar.log()[::-1]}
    waited = first["message not stored, publishing again"] - first["render started"]
    assert waited.total_seconds() < 5
    await limit_events(orchestrator.client, -1)

    await until(lambda: "render reported" in sidecar.messages(), "line in the log")
    await until(lambda: not sidecar.spooled(), "end of the job")
    # `started` is published in the background, and may be stored after `completed`. Subscribers
    # hear of it even while the stream refuses it.
    stored: list[str] = []
    reader = await stream.subscribe("evt.>", ordered_consumer=True)
    while len(stored) < 3:
        stored.append((await reader.next_msg(PATIENCE_SECONDS)).subject)
    events = [f"evt.render.{end}.{job.job_id}" for end in ("completed", "started")]
    assert sorted(stored) == ["evt.filler", *events]
    assert (await stream.stream_info("EVENTS")).state.messages == 3
    assert (job.claims, job.epoch) == (1, 1)


async def test_a_report_that_is_refused_for_good_costs_its_job_and_not_the_worker(
    sidecar: Sidecar, orchestrator: Orchestrator, broker: TestBroker
) -> None:
    broker.kill()
    broker.deny("evt.render.>")
    await broker.start()
    sidecar.start()
    job = await orchestrator.submit()
    await until(lambda: job.claims, "claim")

    await until(lambda: "uploaded" in sidecar.messages(), "upload")
    await until(lambda: not sidecar.spooled() and not orchestrator.held(job), "a dropped job")

    refused = [line for line in sidecar.log() if line["msg"] == "report refused, dropping it"]
    assert [line["subject"] for line in refused] == [
        f"evt.render.started.{job.job_id}",
        f"evt.render.completed.{job.job_id}",
    ]
    assert {(line["level"], line["code"]) for line in refused} == {("error", "PUBLISH_REFUSED")}
    assert job.state == "open", "its end was never told"
    job.state = "terminal"
    broker.restore()
    following = await orchestrator.submit()
    await orchestrator.event(following, "render.completed")
