"""One world for all tests of a module: its sidecar starts once, because no test is about its start.

A module here needs `pytestmark = pytest.mark.asyncio(loop_scope="module")`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from stage.object_store import ObjectStore
from stage.orchestrator import Orchestrator
from stage.sidecar import Sidecar
from stage.world import World, running_world


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with running_world(tmp_path_factory.mktemp("world")) as started:
        yield started


@pytest_asyncio.fixture(loop_scope="module")
async def orchestrator(world: World) -> AsyncIterator[Orchestrator]:
    """Comes with a sidecar that runs."""
    world.begin()
    yield world.orchestrator
    await world.settle()


@pytest.fixture
def store(world: World) -> ObjectStore:
    return world.store


@pytest.fixture
def sidecar(world: World) -> Sidecar:
    return world.sidecar
