"""A bell that wakes its one listener when something changed."""

from __future__ import annotations

import asyncio
import contextlib


class Bell:
    """Rings are never lost: one that comes while nobody listens is heard at once by the next."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Something changed."""
        self._rung.set()

    async def heard_within(self, seconds: float) -> None:
        """Returns at the next ring, or when the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._rung.wait()
        self._rung.clear()
