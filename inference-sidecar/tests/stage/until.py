"""Waiting for something to be seen, with a deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

Seen = TypeVar("Seen")

PATIENCE_SECONDS = 60.0
"""Only what never comes takes so long, however busy the machine is."""


async def until(
    look: Callable[[], Seen | None], what: str, timeout_seconds: float = PATIENCE_SECONDS
) -> Seen:
    """What `look` sees, as soon as it is true; fails when that takes too long."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not seen within {timeout_seconds} s")
        await asyncio.sleep(0.01)
