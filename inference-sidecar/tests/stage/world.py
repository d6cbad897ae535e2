"""Broker, store, orchestrator and sidecar, used by one test after another."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

from stage.broker import TestBroker, provision
from stage.object_store import ObjectStore
from stage.orchestrator import Orchestrator
from stage.sidecar import Sidecar
from stage.until import until


@dataclass
class World:
    """A sidecar that keeps running from test to test, which saves its start.

    Jobs and their objects are new in each test; `settle` sees that no job is left.
    """

    broker: TestBroker
    store: ObjectStore
    orchestrator: Orchestrator
    sidecar: Sidecar

    def begin(self) -> None:
        """Starts the sidecar if need be, and lets a test see only what happens in it."""
        orchestrator, store = self.orchestrator, self.store
        del orchestrator.beats[:-1]
        for seen in (orchestrator.events, orchestrator.event_headers, orchestrator.requests):
            seen.clear()
        store.puts.clear()
        store.gets.clear()
        self.sidecar.forget_log()
        if not self.sidecar.is_running():
            self.sidecar.start()

    async def settle(self) -> None:
        """Ends what the test left over. A sidecar that does not become idle is ended too."""
        orchestrator, store = self.orchestrator, self.store
        for faults in store.faults.values():
            faults.clear()
        store.slow_get_seconds = store.slow_put_seconds = 0.0
        store.gets_together, store.has_bucket = None, True
        await store.start()
        orchestrator.on_next = orchestrator.on_order = None
        orchestrator.on_claim = orchestrator.on_store = None
        orchestrator.finishes = orchestrator.says_handled = True
        for job in orchestrator.jobs.values():
            job.state = "terminal"
        beat = orchestrator.beats[-1] if orchestrator.beats else {"jobs": []}
        for held in beat["jobs"]:
            job = orchestrator.jobs[held["jobId"]]
            await orchestrator.stop(self.sidecar.worker_id, job, held["epoch"])
        try:
            await until(self._is_idle, "an idle sidecar", 15)
        except AssertionError:
            await self.sidecar.close()

    def _is_idle(self) -> bool:
        beat = self.orchestrator.beats[-1] if self.orchestrator.beats else {}
        is_empty = not self.sidecar.spooled() and not self.sidecar.work_folders()
        return beat.get("state") == "ready" and beat["jobs"] == [] and is_empty


@contextlib.asynccontextmanager
async def running_world(folder: Path) -> AsyncGenerator[World]:
    """Everything but the sidecar is started; it ends with the block."""
    broker, store = TestBroker(folder / "nats"), ObjectStore()
    await broker.start()
    await store.start()
    client = await broker.connect()
    await provision(client)
    orchestrator = Orchestrator(client, store)
    await orchestrator.start()
    world = World(broker, store, orchestrator, Sidecar(folder / "w1", broker.url))
    try:
        yield world
    finally:
        await world.sidecar.close()
        await client.close()
        await store.stop()
        broker.kill()
