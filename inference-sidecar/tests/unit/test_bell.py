"""A ring is heard once, and never lost."""

from __future__ import annotations

import asyncio
import time

from inference_sidecar.worker.bell import Bell


async def test_a_ring_that_came_before_is_heard_at_once() -> None:
    bell = Bell()
    bell.ring()
    async with asyncio.timeout(1):
        await bell.heard_within(60)


async def test_a_ring_is_heard_once() -> None:
    bell = Bell()
    bell.ring()
    await bell.heard_within(60)
    began = time.monotonic()
    await bell.heard_within(0.05)
    assert time.monotonic() - began >= 0.04
