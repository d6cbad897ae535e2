"""The GPU queue as a worker sees it: one entry at a time, and only when asked for."""

from __future__ import annotations

import asyncio
import json
from typing import Final

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from inference_sidecar.foundation.contracts import GPU_CONSUMER, GPU_STREAM
from inference_sidecar.foundation.log import Log
from inference_sidecar.worker.broker import Broker, BrokerErrors

_PULL_SUBJECT: Final = f"$JS.API.CONSUMER.MSG.NEXT.{GPU_STREAM}.{GPU_CONSUMER}"
_PULL_SECONDS: Final = 5.0
_PULL_AGAIN_SECONDS: Final = 0.25
_ENDED_IN_TIME: Final = frozenset({"404", "408"})
"""No entry, and the time of the request is over."""


class EntryQueue:
    """Pulls from the provisioned consumer; nothing is created, for that is not allowed to us.

    Own pulls rather than the client's `fetch`: at the end an entry that is already on its way to us
    must be handed back at once, and after a reconnect a new request must go out at once.
    """

    def __init__(self, broker: Broker, log: Log) -> None:
        self._broker = broker
        self._log = log
        self._inbox = broker.client.new_inbox()
        self._pulls = 0
        self._heard: asyncio.Queue[Msg] = asyncio.Queue()
        self._is_waiting = False
        self._subscription: Subscription | None = None

    async def open(self) -> None:
        """Begins to listen for entries; none comes before the first `next`."""
        self._subscription = await self._broker.client.subscribe(  # pyright: ignore[reportUnknownMemberType]
            f"{self._inbox}.*", cb=self._hear
        )

    async def next(self) -> Msg | None:
        """The next entry; None when there was none for a while, or the request got lost."""
        if not self._broker.client.is_connected:
            # Requests of a long silence would all be sent when the broker is back, and each of them
            # would bring an entry.
            await self._broker.reconnected.heard_within(_PULL_AGAIN_SECONDS)
            return None
        self._is_waiting = True
        try:
            return await self._pull()
        finally:
            self._is_waiting = False
            await self._hand_back()

    async def _pull(self) -> Msg | None:
        self._pulls += 1
        reply = f"{self._inbox}.{self._pulls}"
        request = {"batch": 1, "expires": int(_PULL_SECONDS * 1e9)}
        try:
            await self._broker.client.publish(
                _PULL_SUBJECT, json.dumps(request).encode(), reply=reply
            )
        except BrokerErrors as error:
            self._log.warning("pull not sent, trying again", err=repr(error))
            await asyncio.sleep(_PULL_AGAIN_SECONDS)
            return None
        return await self._entry_or_end_of(reply)

    async def _hear(self, message: Msg) -> None:
        self._heard.put_nowait(message)
        if not self._is_waiting:
            await self._hand_back()

    async def _entry_or_end_of(self, reply: str) -> Msg | None:
        heard = asyncio.ensure_future(self._next_heard(reply))
        # The broker forgot the request when the connection broke, so waiting on is in vain.
        reconnected = asyncio.ensure_future(
            self._broker.reconnected.heard_within(_PULL_SECONDS + 1)
        )
        try:
            await asyncio.wait({heard, reconnected}, return_when="FIRST_COMPLETED")
            return heard.result() if heard.done() else None
        except asyncio.CancelledError:
            if heard.done() and (message := heard.result()) is not None:
                self._heard.put_nowait(message)
            raise
        finally:
            heard.cancel()
            reconnected.cancel()

    async def _next_heard(self, reply: str) -> Msg | None:
        while True:
            message = await self._heard.get()
            status = (message.headers or {}).get("Status")
            if status is None:
                return message
            if message.subject != reply:
                continue
            if status not in _ENDED_IN_TIME:
                self._log.warning("pull refused, trying again", status=status)
                await asyncio.sleep(_PULL_AGAIN_SECONDS)
            return None

    async def close(self) -> None:
        """Asks for no more, and hands back at once what was on its way."""
        if self._subscription is None:
            return
        try:
            await self._subscription.unsubscribe()
            async with asyncio.timeout(_PULL_AGAIN_SECONDS):
                await self._broker.client.flush()
        except BrokerErrors as error:
            self._log.warning("broker away while the queue is left", err=repr(error))
        await self._hand_back()

    async def _hand_back(self) -> None:
        """An entry that comes while nobody waits belongs to whoever does."""
        while not self._heard.empty():
            message = self._heard.get_nowait()
            if (message.headers or {}).get("Status") is None:
                await self._broker.nak(message, 0)
