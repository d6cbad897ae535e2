"""An auto-reset event wakes one wait, and is never lost."""

from __future__ import annotations

import asyncio
import time

import pytest

from inference_sidecar.worker.auto_reset_event import AutoResetEvent


async def test_returns_at_once_when_it_was_set_before_the_wait() -> None:
    event = AutoResetEvent()
    event.set()
    async with asyncio.timeout(1):
        await event.wait_at_most(60)


async def test_wakes_who_waits() -> None:
    event = AutoResetEvent()
    asyncio.get_running_loop().call_soon(event.set)
    async with asyncio.timeout(1):
        await event.wait_at_most(60)


async def test_a_wait_that_is_cancelled_takes_nothing_from_the_next_one() -> None:
    event = AutoResetEvent()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await event.wait_at_most(60)
    event.set()
    async with asyncio.timeout(1):
        await event.wait_at_most(60)


async def test_wakes_only_one_wait() -> None:
    event = AutoResetEvent()
    event.set()
    await event.wait_at_most(60)
    began = time.monotonic()
    await event.wait_at_most(0.05)
    assert time.monotonic() - began >= 0.04
