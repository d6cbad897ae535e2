"""A fresh world for each test: broker, store, orchestrator, and a sidecar not yet started."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stage.broker import TestBroker, provision
from stage.object_store import ObjectStore
from stage.orchestrator import Orchestrator
from stage.sidecar import Sidecar


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[TestBroker]:
    server = TestBroker(tmp_path / "nats")
    await server.start()
    yield server
    server.kill()


@pytest.fixture
async def store() -> AsyncIterator[ObjectStore]:
    server = ObjectStore()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def orchestrator(broker: TestBroker, store: ObjectStore) -> AsyncIterator[Orchestrator]:
    client = await broker.connect()
    await provision(client)
    stage = Orchestrator(client, store)
    await stage.start()
    yield stage
    await client.close()


@pytest.fixture
async def sidecar(
    tmp_path: Path, broker: TestBroker, orchestrator: Orchestrator
) -> AsyncIterator[Sidecar]:
    worker = Sidecar(tmp_path / "w1", broker.url)
    assert orchestrator.client.is_connected
    yield worker
    await worker.close()


@pytest.fixture
async def other_sidecar(
    tmp_path: Path, broker: TestBroker, orchestrator: Orchestrator
) -> AsyncIterator[Sidecar]:
    worker = Sidecar(tmp_path / "w2", broker.url, "w2")
    assert orchestrator.client.is_connected
    yield worker
    await worker.close()
