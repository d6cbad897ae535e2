"""One contract for everything that runs beside its owner: stop means stopped."""

from __future__ import annotations

import asyncio

import pytest

from inference_sidecar.foundation.background_tasks import BackgroundTasks


async def test_stop_returns_when_everything_has_ended() -> None:
    tasks, ended = BackgroundTasks(), asyncio.Event()

    async def loop() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.set()

    task = tasks.start(loop())
    await asyncio.sleep(0)

    await tasks.stop()

    assert ended.is_set()
    assert task.cancelled()


async def test_stopping_twice_and_before_the_start_is_fine() -> None:
    tasks = BackgroundTasks()
    await tasks.stop()
    tasks.start(asyncio.sleep(60))
    await tasks.stop()
    await tasks.stop()


async def test_a_task_that_fails_while_it_is_stopped_makes_the_stop_fail() -> None:
    tasks = BackgroundTasks()

    async def loop() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise OSError("the disk is gone")

    tasks.start(loop())
    await asyncio.sleep(0)

    with pytest.raises(OSError, match="the disk is gone"):
        await tasks.stop()


async def test_a_cancellation_that_gets_lost_is_repeated() -> None:
    tasks, lost = BackgroundTasks(), asyncio.Event()

    async def loop() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            lost.set()
        await asyncio.Event().wait()

    task = tasks.start(loop())
    await asyncio.sleep(0)

    await tasks.stop()

    assert lost.is_set()
    assert task.cancelled()


async def test_waiting_ends_with_the_tasks_or_with_the_time() -> None:
    tasks = BackgroundTasks()
    await tasks.wait(60)
    quick = tasks.start(asyncio.sleep(0))
    await tasks.wait(60)
    assert quick.done()
    slow = tasks.start(asyncio.sleep(60))
    await tasks.wait(-1)
    assert not slow.done()
    await tasks.stop()


async def test_whoever_watches_learns_of_the_first_failure_but_not_of_cancelled_tasks() -> None:
    tasks, may_fail = BackgroundTasks(), asyncio.Event()

    async def fail() -> None:
        await may_fail.wait()
        raise OSError("the disk is gone")

    watching = asyncio.create_task(tasks.watch())
    await asyncio.sleep(0)
    tasks.start(asyncio.sleep(60)).cancel()
    tasks.start(asyncio.sleep(0))
    tasks.start(fail())
    await tasks.wait(0.01)
    assert not watching.done()

    may_fail.set()

    with pytest.raises(OSError, match="the disk is gone"):
        await watching
