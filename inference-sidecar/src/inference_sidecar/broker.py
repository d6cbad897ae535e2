"""The connection to NATS: it reconnects for ever, and a publish is repeated until it is stored."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, Final

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext

from inference_sidecar.config import SidecarConfig
from inference_sidecar.contracts import (
    GPU_CONSUMER,
    GPU_DEAD_LETTER_SUBJECT,
    GPU_STREAM,
    INBOX_PREFIX,
    RenderEvent,
    WireModel,
    event_id,
    event_subject,
)
from inference_sidecar.log import Log

_PUBLISH_TRY_SECONDS: Final = 2.0
_PUBLISH_AGAIN_SECONDS: Final = 0.25
_PULL_SECONDS: Final = 5.0


class Broker:
    """What the sidecar may do on the bus; make one with `connect`."""

    def __init__(self, client: Client, log: Log) -> None:
        self._client = client
        self._log = log
        self._js: JetStreamContext = client.jetstream(timeout=_PUBLISH_TRY_SECONDS)
        self._pull: JetStreamContext.PullSubscription | None = None

    async def publish_event(self, event: RenderEvent, traceparent: str) -> None:
        """Publishes an event until it is stored, however long the broker is away."""
        headers = {"Nats-Msg-Id": event_id(event), "traceparent": traceparent}
        while True:
            try:
                await self._js.publish(
                    event_subject(event),
                    event.to_json(),
                    headers=headers,
                    timeout=_PUBLISH_TRY_SECONDS,
                )
            except (NatsError, TimeoutError, OSError) as error:
                self._log.warning("event not stored, publishing again", err=repr(error))
                await asyncio.sleep(_PUBLISH_AGAIN_SECONDS)
            else:
                return

    async def ask(
        self, subject: str, request: WireModel, timeout_seconds: float, traceparent: str
    ) -> dict[str, Any] | None:
        """One request, one answer; None where nobody answered, or the responder could not."""
        try:
            reply = await self._client.request(
                subject,
                request.to_json(),
                timeout=timeout_seconds,
                headers={"traceparent": traceparent},
            )
            answer: dict[str, Any] = json.loads(reply.data)
        except (NatsError, TimeoutError, OSError, ValueError) as error:
            self._log.warning("request not answered", subject=subject, err=repr(error))
            return None
        return None if answer.get("answer") == "error" else answer

    async def announce(self, subject: str, message: WireModel) -> None:
        """Says something to whoever listens now; what cannot be said now is not said later."""
        if not self._client.is_connected:
            return
        try:
            await self._client.publish(subject, message.to_json())
        except (NatsError, OSError) as error:
            self._log.warning("announcement not sent", subject=subject, err=repr(error))

    async def listen(self, subject: str, hear: Callable[[Msg], Awaitable[None]]) -> None:
        """Hears a subject until the connection is closed."""
        await self._client.subscribe(subject, cb=hear)

    async def pull_entry(self) -> Msg | None:
        """The next entry of the GPU queue; None when there is none for a while."""
        try:
            if self._pull is None:
                self._pull = await self._js.pull_subscribe_bind(
                    consumer=GPU_CONSUMER, stream=GPU_STREAM
                )
            messages = await self._pull.fetch(1, timeout=_PULL_SECONDS)
        except TimeoutError:
            return None
        except (NatsError, OSError) as error:
            self._log.warning("pull failed, trying again", err=repr(error))
            await asyncio.sleep(_PUBLISH_AGAIN_SECONDS)
            return None
        return messages[0] if messages else None

    async def settle(self, message: Msg, body: bytes) -> None:
        """Acks, naks or keeps a message in the protocol's own words; a lost word stays lost."""
        try:
            await self._client.publish(message.reply, body)
        except (NatsError, OSError) as error:
            self._log.warning("entry not settled", err=repr(error))

    async def ack(self, message: Msg) -> None:
        """The entry is done with."""
        await self.settle(message, b"+ACK")

    async def nak(self, message: Msg, delay_seconds: float) -> None:
        """Somebody may have the entry after the delay."""
        delay = json.dumps({"delay": int(delay_seconds * 1e9)})
        await self.settle(message, f"-NAK {delay}".encode() if delay_seconds > 0 else b"-NAK")

    async def in_progress(self, message: Msg) -> None:
        """The entry is still in our hands."""
        await self.settle(message, b"+WPI")

    async def bury(self, message: Msg, reason: str) -> None:
        """An entry nobody can read: to the dead letters, then out of the queue."""
        letter = {
            "stream": GPU_STREAM,
            "consumer": GPU_CONSUMER,
            "subject": message.subject,
            "sequence": message.metadata.sequence.stream,
            "reason": reason,
            "code": "INVALID_MESSAGE",
            "payload": message.data.decode(errors="replace"),
            "atMs": int(message.metadata.timestamp.timestamp() * 1000),
        }
        await self._js.publish(GPU_DEAD_LETTER_SUBJECT, json.dumps(letter).encode())
        await self.settle(message, b"+TERM unreadable")

    async def close(self) -> None:
        """Sends what is still to be sent, then ends the connection."""
        try:
            await asyncio.wait_for(self._client.flush(), 2)
        except (NatsError, OSError, TimeoutError) as error:
            self._log.warning("broker away at the end", err=repr(error))
        await self._client.close()


async def connect(config: SidecarConfig, log: Log) -> Broker:
    """Connects, waiting for the broker as long as it takes."""

    async def on_error(error: Exception) -> None:
        log.debug("broker error", err=repr(error))

    async def on_disconnect() -> None:
        log.warning("broker away")

    async def on_reconnect() -> None:
        log.info("broker back")

    client = await nats.connect(
        config.nats_url,
        user=config.nats_user,
        password=config.nats_password.get_secret_value(),
        name=config.worker_id,
        inbox_prefix=INBOX_PREFIX,
        allow_reconnect=True,
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.25,
        ping_interval=20,
        max_outstanding_pings=2,
        connect_timeout=5,
        error_cb=on_error,
        disconnected_cb=on_disconnect,
        reconnected_cb=on_reconnect,
    )
    return Broker(client, log)
