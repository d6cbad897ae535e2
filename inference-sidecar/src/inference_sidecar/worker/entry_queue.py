"""The GPU queue as a worker sees it: one entry at a time, and only when asked for."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Final

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from pydantic import ValidationError

from inference_sidecar.foundation.contracts import GPU_CONSUMER, GPU_STREAM, GpuEntry
from inference_sidecar.foundation.log import Log
from inference_sidecar.foundation.trace import continue_trace, trace_id_of
from inference_sidecar.worker.broker import Broker, describe_mismatch
from inference_sidecar.worker.dead_letter import dead_letter
from inference_sidecar.worker.publisher import BrokerErrors

_PULL_SUBJECT: Final = f"$JS.API.CONSUMER.MSG.NEXT.{GPU_STREAM}.{GPU_CONSUMER}"
_PULL_SECONDS: Final = 5.0
_PULL_AGAIN_SECONDS: Final = 0.25
_NO_ENTRY: Final = frozenset({"404", "408"})
"""Statuses that say: no entry came before the request expired."""


@dataclass(frozen=True)
class Delivery:
    """One delivery of an entry: what it says, and the message that acknowledges it.

    log: names the job. traceparent: continues the trace of the job by a span of our own.
    """

    entry: GpuEntry
    message: Msg
    traceparent: str
    log: Log


class EntryQueue:
    """Pulls from the provisioned consumer; creates nothing, for that is not allowed to us.

    It pulls by itself instead of using the client's `fetch`: at the end an entry that is already on
    its way to us must be handed back at once, and after a reconnect a request must go out at once.
    """

    def __init__(self, broker: Broker, log: Log) -> None:
        self._broker = broker
        self._log = log
        self._inbox = broker.client.new_inbox()
        self._pulls = 0
        self._received: asyncio.Queue[Msg] = asyncio.Queue()
        self._is_waiting = False
        self._subscription: Subscription | None = None

    async def open(self) -> None:
        """Subscribes to the replies; no entry comes before the first `next`."""
        self._subscription = await self._broker.client.subscribe(  # pyright: ignore[reportUnknownMemberType]
            f"{self._inbox}.*", cb=self._receive
        )

    async def next(self) -> Delivery | None:
        """The next entry; None when there was none for a while, or the request got lost.

        An entry that cannot be parsed is dead-lettered.
        """
        if not self._broker.client.is_connected:
            # The client would buffer the requests of a long outage and send them all when the
            # broker is back, and each would bring an entry.
            await self._broker.reconnected.wait_at_most(_PULL_AGAIN_SECONDS)
            return None
        self._is_waiting = True
        try:
            message = await self._pull()
            return None if message is None else await self._parse(message)
        finally:
            self._is_waiting = False
            await self._hand_back()

    async def _parse(self, message: Msg) -> Delivery | None:
        try:
            entry = GpuEntry.model_validate_json(message.data)
        except ValidationError as error:
            await dead_letter(self._broker, message, describe_mismatch(error), self._log)
            return None
        traceparent = continue_trace((message.headers or {}).get("traceparent"))
        log = self._log.bind(jobId=entry.job_id, traceId=trace_id_of(traceparent))
        return Delivery(entry, message, traceparent, log)

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

    async def _receive(self, message: Msg) -> None:
        self._received.put_nowait(message)
        if not self._is_waiting:
            await self._hand_back()

    async def _entry_or_end_of(self, reply: str) -> Msg | None:
        received = asyncio.ensure_future(self._next_received(reply))
        # The broker forgets the request when the connection breaks, so waiting on is pointless.
        reconnected = asyncio.ensure_future(
            self._broker.reconnected.wait_at_most(_PULL_SECONDS + 1)
        )
        try:
            await asyncio.wait({received, reconnected}, return_when="FIRST_COMPLETED")
            return received.result() if received.done() else None
        except asyncio.CancelledError:
            if received.done() and (message := received.result()) is not None:
                self._received.put_nowait(message)
            raise
        finally:
            received.cancel()
            reconnected.cancel()

    async def _next_received(self, reply: str) -> Msg | None:
        while True:
            message = await self._received.get()
            status = (message.headers or {}).get("Status")
            if status is None:
                return message
            if message.subject != reply:
                continue
            if status not in _NO_ENTRY:
                self._log.warning("pull refused, trying again", status=status)
                await asyncio.sleep(_PULL_AGAIN_SECONDS)
            return None

    async def close(self) -> None:
        """Stops pulling, and hands back at once what was on its way. Fine before `open`."""
        if self._subscription is None:
            return
        try:
            await self._subscription.unsubscribe()
        except BrokerErrors as error:
            self._log.warning("queue not left in order", err=repr(error))
        await self._broker.ping(_PULL_AGAIN_SECONDS)
        await self._hand_back()

    async def _hand_back(self) -> None:
        """An entry that arrives while nobody waits for it is offered to the other workers."""
        while not self._received.empty():
            message = self._received.get_nowait()
            if (message.headers or {}).get("Status") is None:
                await self._broker.nak(message, 0)
