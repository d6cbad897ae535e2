"""No render is lost while the broker is away."""

# The NATS client is typed in parts only.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest
from pydantic import SecretStr

from inference_sidecar.config import SidecarConfig
from inference_sidecar.foundation.contracts import NATS_USER
from inference_sidecar.foundation.log import configure_log
from inference_sidecar.worker.broker import BrokerGone, connect
from stage.broker import PASSWORD, TestBroker
from stage.orchestrator import Orchestrator
from stage.sidecar import Sidecar
from stage.until import until


async def test_a_render_goes_on_while_the_broker_restarts_and_is_reported_once(
    sidecar: Sidecar, orchestrator: Orchestrator, broker: TestBroker
) -> None:
    sidecar.start()
    job = await orchestrator.submit("null:seconds=2", frames=100)
    await orchestrator.event(job, "render.started")

    broker.kill()
    await until(lambda: "rendered" in sidecar.messages(), "render without a broker")
    await broker.start()

    await orchestrator.event(job, "render.completed")
    assert job.epoch == 1
    stored = await orchestrator.client.jetstream().stream_info("EVENTS")
    assert stored.state.messages == 2, "started and completed, once each"


async def test_events_of_an_outage_are_stored_when_the_broker_is_back(
    sidecar: Sidecar, orchestrator: Orchestrator, broker: TestBroker
) -> None:
    sidecar.start()
    job = await orchestrator.submit("null:seconds=1 null:fail", frames=100)
    await orchestrator.event(job, "render.started")
    broker.kill()
    await until(lambda: "attempt failed" in sidecar.messages(), "failure without a broker")

    await broker.start()

    failed = await orchestrator.event(job, "render.failed")
    assert failed["code"] == "RENDER_FAILED"


async def test_asks_stop_orders_and_heartbeats_resume_after_the_broker_was_killed(
    sidecar: Sidecar, orchestrator: Orchestrator, broker: TestBroker
) -> None:
    sidecar.start()
    await until(lambda: orchestrator.beats and orchestrator.beats[-1]["state"] == "ready", "ready")

    broker.kill()
    await until(lambda: "broker away" in sidecar.messages(), "line in the log")
    await broker.start()
    await until(lambda: "broker back" in sidecar.messages(), "line in the log")
    await until(lambda: orchestrator.client.is_connected, "our own connection")
    beats = len(orchestrator.beats)

    job = await orchestrator.submit("null:seconds=600", frames=250, deadline_seconds=900.0)
    await orchestrator.event(job, "render.started")
    await until(lambda: len(orchestrator.beats) > beats, "heartbeats")
    await orchestrator.stop("w1", job)
    await orchestrator.event(job, "render.cancelled")


async def test_a_sidecar_waits_for_a_broker_that_is_not_there_yet(
    sidecar: Sidecar, orchestrator: Orchestrator, broker: TestBroker
) -> None:
    job = await orchestrator.submit()
    broker.kill()
    sidecar.start()
    await until(lambda: "configuration" in sidecar.messages(), "first line")
    await asyncio.sleep(0.5)

    await broker.start()

    await orchestrator.event(job, "render.completed")


async def test_a_broker_that_rejects_the_password_is_logged_once_and_tried_again(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    sidecar.start(NATS_PASSWORD="wrong-password")

    def refusals(level: str) -> int:
        return sum(
            "Authorization" in line.get("err", {}).get("message", "") and line["level"] == level
            for line in sidecar.log()
        )

    await until(lambda: refusals("debug") >= 3, "more attempts")

    assert refusals("warn") == 1
    assert "wrong-password" not in sidecar.log_text()
    assert orchestrator.beats == []
    sidecar.signal(signal.SIGTERM)
    assert await sidecar.ended() == 0


async def test_a_sidecar_reconnects_when_its_user_is_let_in_again(
    sidecar: Sidecar, orchestrator: Orchestrator, broker: TestBroker
) -> None:
    sidecar.start()
    job = await orchestrator.submit("null:seconds=3", frames=100)
    await orchestrator.event(job, "render.started")

    broker.throw_out(NATS_USER)
    await until(lambda: "rendered" in sidecar.messages(), "render without a broker")
    assert orchestrator.events_of(job, "render.completed") == []
    broker.restore()

    await orchestrator.event(job, "render.completed")


async def test_a_connection_that_is_closed_for_good_is_an_error(
    orchestrator: Orchestrator, broker: TestBroker, tmp_path: Path
) -> None:
    config = SidecarConfig.model_validate(
        {"nats_url": broker.url, "nats_password": SecretStr(PASSWORD), "spool_dir": tmp_path}
    )
    connection = await connect(config, "w1", configure_log("silent"))
    assert orchestrator.client.is_connected

    await connection.client.close()

    with pytest.raises(BrokerGone):
        await asyncio.wait_for(connection.watch(), 5)
