"""An event that wakes its one waiter and is unset again."""

from __future__ import annotations

import asyncio
import contextlib


class AutoResetEvent:
    """What is set while nobody waits is not lost: the next wait returns at once."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        """Wakes the waiter, now or at its next wait."""
        self._event.set()

    def clear(self) -> None:
        """Forgets that it was set: only what comes from now on counts."""
        self._event.clear()

    async def wait_at_most(self, seconds: float) -> None:
        """Returns once the event is set, or when the time is over; unsets it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()
        self._event.clear()
