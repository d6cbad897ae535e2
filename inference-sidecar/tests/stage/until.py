"""Waits for an observable state, with a deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

Seen = TypeVar("Seen")

PATIENCE_SECONDS = 60.0
"""Long enough for a busy machine: what takes longer will never come."""


async def until(
    look: Callable[[], Seen | None], what: str, timeout_seconds: float = PATIENCE_SECONDS
) -> Seen:
    """Returns what `look` returns once that is truthy; fails when it takes too long."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not seen within {timeout_seconds} s")
        await asyncio.sleep(0.01)
