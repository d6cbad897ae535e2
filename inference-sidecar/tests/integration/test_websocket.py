"""A worker elsewhere reaches the broker by websocket, through the port of the API."""

from __future__ import annotations

import asyncio

from stage.broker import TestBroker
from stage.orchestrator import Orchestrator
from stage.ports import free_port
from stage.sidecar import Sidecar
from stage.until import until


async def test_a_worker_completes_jobs_by_websocket_before_and_after_the_broker_restarts(
    sidecar: Sidecar, orchestrator: Orchestrator, broker: TestBroker
) -> None:
    sidecar.start(NATS_URL=broker.websocket_url)
    await orchestrator.event(await orchestrator.submit(), "render.completed")

    broker.kill()
    await until(lambda: "broker away" in sidecar.messages(), "line in the log")
    await broker.start()
    await until(lambda: "broker back" in sidecar.messages(), "line in the log")
    await until(lambda: orchestrator.client.is_connected, "our own connection")

    await orchestrator.event(await orchestrator.submit(), "render.completed")


async def test_a_proxy_without_its_broker_is_logged_once(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    answers = 0

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal answers
        answers += 1
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 502 Bad Gateway\r\nX-Request-Id: {answers}\r\nContent-Length: 0\r\n\r\n"
        writer.write(head.encode())
        await writer.drain()
        writer.close()

    port = free_port()
    proxy = await asyncio.start_server(refuse, "127.0.0.1", port)
    sidecar.start(NATS_URL=f"ws://127.0.0.1:{port}")

    await until(lambda: answers >= 4, "more attempts")
    lines = [line for line in sidecar.log() if line["msg"] == "broker error"]
    proxy.close()

    assert [line["level"] for line in lines].count("warn") == 1
    assert "502" in lines[0]["err"]["message"]
    assert orchestrator.beats == []
