"""Tasks that run beside their owner until it, or something else, stops them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

Result = TypeVar("Result")

_CANCEL_AGAIN_SECONDS: Final = 1.0


class BackgroundTasks:
    """Keeps its tasks from being garbage-collected, and stops them all together.

    Stopping twice is fine, and so is stopping before anything was started.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._failed: asyncio.Future[None] | None = None

    def start(self, work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
        """Runs the work; whoever cares about its end or its failure awaits the task."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if self._failed is None or self._failed.done() or task.cancelled():
            return
        if (error := task.exception()) is not None:
            self._failed.set_exception(error)

    async def watch(self) -> None:
        """Raises what the next task fails with that nobody awaits; runs until then or cancelled."""
        self._failed = asyncio.get_running_loop().create_future()
        await self._failed

    async def wait(self, seconds: float) -> None:
        """Gives what runs this much time to end by itself."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=max(0.0, seconds))

    async def stop(self) -> None:
        """Cancels what still runs, and returns when it has ended. Raises the first failure."""
        tasks = running = set(self._tasks)
        while running:
            for task in running:
                task.cancel()
            # Repeated, because before Python 3.12 a cancellation may get lost in `wait_for`.
            _, running = await asyncio.wait(running, timeout=_CANCEL_AGAIN_SECONDS)
        for task in tasks:
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error


async def run_until(
    stop: Coroutine[Any, Any, object] | asyncio.Future[None], work: Coroutine[Any, Any, Result]
) -> asyncio.Task[Result]:
    """Runs the work, and cancels it when `stop` is done first. The task returned has ended."""
    working, stopping = asyncio.create_task(work), asyncio.ensure_future(stop)
    try:
        await asyncio.wait({working, stopping}, return_when="FIRST_COMPLETED")
        return working
    finally:
        stopping.cancel()
        working.cancel()
        await asyncio.wait({working})
