"""Messages with spans on their way to the bus. Bounded: while the broker is away, the oldest go."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

_MESSAGES_MAX: Final = 32
"""Two thousand spans, or 1.5 MB."""
_AGAIN_SECONDS: Final = 0.25


class Outbox:
    """Used on the event loop alone. dropped: how many messages were never sent."""

    def __init__(self, publish: Callable[[bytes], Awaitable[bool]]) -> None:
        """publish: sends a message now; False if that is not possible now."""
        self._publish = publish
        self._messages: deque[bytes] = deque()
        self._has_some = asyncio.Event()
        self._is_empty = asyncio.Event()
        self._is_empty.set()
        self.dropped = 0

    def put(self, message: bytes) -> None:
        """Takes a message, in place of the oldest one if there are too many."""
        if len(self._messages) == _MESSAGES_MAX:
            self._messages.popleft()
            self.dropped += 1
        self._messages.append(message)
        self._has_some.set()
        self._is_empty.clear()

    async def run(self) -> None:
        """Sends until cancelled."""
        while True:
            await self._has_some.wait()
            message = self._messages.popleft()
            is_sent = await self._publish(message)
            if not is_sent and len(self._messages) < _MESSAGES_MAX:
                self._messages.appendleft(message)
                await asyncio.sleep(_AGAIN_SECONDS)
            elif not is_sent:
                self.dropped += 1
            if not self._messages:
                self._has_some.clear()
                self._is_empty.set()

    async def sent(self) -> None:
        """Returns when everything is sent, however long that takes."""
        await self._is_empty.wait()
