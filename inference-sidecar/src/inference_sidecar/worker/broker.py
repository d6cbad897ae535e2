"""The connection to NATS: it reconnects for ever, and a publish is repeated until it is stored."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from pydantic import TypeAdapter, ValidationError

from inference_sidecar.config import SidecarConfig
from inference_sidecar.foundation.contracts import (
    INBOX_PREFIX,
    ClaimRequest,
    RenderEvent,
    RequestError,
    StoreRequest,
    WireModel,
    event_id,
    event_subject,
)
from inference_sidecar.foundation.log import Log
from inference_sidecar.foundation.trace import continue_trace, trace_id_of
from inference_sidecar.worker.bell import Bell

_PUBLISH_TRY_SECONDS: Final = 2.0
_PUBLISH_AGAIN_SECONDS: Final = 0.25
_PING_SECONDS: Final = 20
_FLUSH_SECONDS: Final = 2.0
BrokerErrors: Final = (NatsError, TimeoutError, OSError)
"""All that the client throws when the broker is away or refuses."""

Answer = TypeVar("Answer")


class BrokerGone(Exception):
    """The broker ended the connection for good; only a new start, with other settings, may help."""


class Broker:
    """What the sidecar may do on the bus; make one with `connect`."""

    def __init__(self, client: Client, log: Log, reconnected: Bell, is_gone: asyncio.Event) -> None:
        self.client = client
        self.reconnected = reconnected
        self._is_gone = is_gone
        self._log = log
        self._js: JetStreamContext = client.jetstream(  # pyright: ignore[reportUnknownMemberType] - typed in parts
            timeout=_PUBLISH_TRY_SECONDS
        )

    async def publish_event(self, event: RenderEvent, traceparent: str) -> None:
        """Publishes an event until it is stored, however long the broker is away."""
        log = self._log.bind(
            jobId=event.job_id, attempt=event.epoch, traceId=trace_id_of(traceparent)
        )
        await self.store_message(
            event_subject(event), event.to_json(), event_id(event), traceparent, log
        )

    async def store_message(
        self, subject: str, body: bytes, message_id: str, traceparent: str, log: Log
    ) -> None:
        """Publishes to a stream until it is stored; the same id is stored once."""
        headers = {"Nats-Msg-Id": message_id, "traceparent": continue_trace(traceparent)}
        while True:
            try:
                # The client keeps what is said into a broken connection, so every try of a long
                # silence would be sent when the broker is back.
                if self.client.is_connected:
                    await self._js.publish(
                        subject, body, headers=headers, timeout=_PUBLISH_TRY_SECONDS
                    )
                    return
            except BrokerErrors as error:
                log.warning(
                    "message not stored, publishing again", subject=subject, err=repr(error)
                )
            await asyncio.sleep(_PUBLISH_AGAIN_SECONDS)

    async def ask(
        self,
        subject: str,
        request: ClaimRequest | StoreRequest,
        answers: TypeAdapter[Answer | RequestError],
        timeout_seconds: float,
        traceparent: str,
    ) -> Answer | None:
        """One request, one answer; None where nobody answered, or the responder could not."""
        log = self._log.bind(
            jobId=request.job_id, traceId=trace_id_of(traceparent), subject=subject
        )
        if not self.client.is_connected:
            # A claim that reached the orchestrator late would take a job nobody waits for.
            log.debug("broker away, nobody asked")
            return None
        try:
            reply = await self.client.request(
                subject,
                request.to_json(),
                timeout=timeout_seconds,
                headers={"traceparent": continue_trace(traceparent)},
            )
            answer = answers.validate_json(reply.data)
        except (*BrokerErrors, ValidationError) as error:
            log.warning("request not answered", err=_brief(error))
            return None
        if isinstance(answer, RequestError):
            log.warning("request not answered", code=answer.code)
            return None
        return answer

    async def announce(self, subject: str, message: WireModel) -> None:
        """Says something to whoever listens now; what cannot be said now is not said later."""
        if not self.client.is_connected:
            return
        try:
            await self.client.publish(subject, message.to_json())
        except BrokerErrors as error:
            self._log.warning("announcement not sent", subject=subject, err=repr(error))

    async def listen(self, subject: str, hear: Callable[[Msg], Awaitable[None]]) -> None:
        """Hears a subject until the connection is closed, across reconnects."""
        await self.client.subscribe(  # pyright: ignore[reportUnknownMemberType]
            subject, cb=hear
        )

    async def ack(self, message: Msg) -> None:
        """The entry is done with."""
        await self._settle(message, b"+ACK")

    async def nak(self, message: Msg, delay_seconds: float) -> None:
        """Somebody may have the entry after the delay."""
        delay = json.dumps({"delay": int(delay_seconds * 1e9)})
        await self._settle(message, f"-NAK {delay}".encode() if delay_seconds > 0 else b"-NAK")

    async def in_progress(self, message: Msg) -> None:
        """The entry is still in our hands; said late, it would be no news."""
        if self.client.is_connected:
            await self._settle(message, b"+WPI")

    async def terminate(self, message: Msg, reason: str) -> None:
        """The entry leaves the queue for good; the reason goes into the broker's advisory."""
        line = " ".join(reason.split())[:200]
        # The client's own `term` takes no reason.
        await self._settle(message, f"+TERM {line}".encode())

    async def _settle(self, message: Msg, word: bytes) -> None:
        """A lost word stays lost: the entry then comes again, and is known by then."""
        try:
            await self.client.publish(message.reply, word)
        except BrokerErrors as error:
            self._log.warning("entry not settled", err=repr(error))

    async def watch(self) -> None:
        """Raises `BrokerGone` when the connection has ended for good."""
        await self._is_gone.wait()
        raise BrokerGone(f"The broker ended the connection: {self.client.last_error!r}")

    async def close(self) -> None:
        """Sends what is still to be sent, then ends the connection."""
        try:
            async with asyncio.timeout(_FLUSH_SECONDS):
                await self.client.flush()
        except BrokerErrors as error:
            self._log.warning("broker away at the end", err=repr(error))
        with contextlib.suppress(*BrokerErrors):
            await self.client.close()


def _brief(error: BaseException) -> str:
    """Neither URLs nor the values of a message: both may be secret."""
    if isinstance(error, ValidationError):
        return describe_mismatch(error)
    return repr(error)


def describe_mismatch(error: ValidationError) -> str:
    """Which fields of a message are wrong, without their values."""
    return "; ".join(
        f"{'.'.join(map(str, each['loc'])) or 'message'}: {each['msg']}"
        for each in error.errors(include_input=False, include_url=False)
    )


async def connect(config: SidecarConfig, worker_id: str, log: Log) -> Broker:
    """Connects, waiting for the broker as long as it takes; afterwards it reconnects for ever."""
    reconnected, is_gone = Bell(), asyncio.Event()
    told: set[str] = set()

    async def on_error(error: Exception) -> None:
        # Each attempt to connect ends here, four times a second: one line for each new reason.
        reason = repr(error)
        (log.debug if reason in told else log.warning)("broker error", err=reason)
        told.add(reason)

    async def on_disconnect() -> None:
        log.warning("broker away")

    async def on_reconnect() -> None:
        told.clear()
        log.info("broker back")
        reconnected.ring()

    async def on_closed() -> None:
        is_gone.set()

    client = await nats.connect(  # pyright: ignore[reportUnknownMemberType]
        config.nats_url,
        user=config.nats_user,
        password=config.nats_password.get_secret_value(),
        name=worker_id,
        inbox_prefix=INBOX_PREFIX,
        allow_reconnect=True,
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.25,
        ping_interval=_PING_SECONDS,
        max_outstanding_pings=2,
        connect_timeout=5,
        error_cb=on_error,
        disconnected_cb=on_disconnect,
        reconnected_cb=on_reconnect,
        closed_cb=on_closed,
    )
    return Broker(client, log, reconnected, is_gone)
