"""The connection to NATS: it reconnects for ever, and tells when that is over."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Final, TypeVar

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from pydantic import TypeAdapter, ValidationError

from inference_sidecar.config import SidecarConfig
from inference_sidecar.foundation.background_tasks import BackgroundTasks
from inference_sidecar.foundation.contracts import (
    FAILURES,
    INBOX_PREFIX,
    ClaimRequest,
    RequestError,
    StoreRequest,
    WireModel,
)
from inference_sidecar.foundation.log import Log
from inference_sidecar.foundation.log_failure import log_failure
from inference_sidecar.foundation.trace import continue_trace, trace_id_of
from inference_sidecar.worker.auto_reset_event import AutoResetEvent
from inference_sidecar.worker.publisher import BrokerErrors, Publisher, RefusedSubjects

_PING_EVERY_SECONDS: Final = 20
_PINGS_UNANSWERED_MAX: Final = 2
_PONG_AT_LAST_SECONDS: Final = _PING_EVERY_SECONDS * (_PINGS_UNANSWERED_MAX + 2)
"""By then a broker that does not answer has been left, and the pong with it."""
_FLUSH_SECONDS: Final = 2.0

Answer = TypeVar("Answer")
Message = TypeVar("Message", bound=WireModel)


class BrokerGone(Exception):
    """The broker ended the connection for good; only a restart with other settings may help."""


class Broker:
    """What the sidecar may do on the bus; make one with `connect`."""

    def __init__(
        self,
        client: Client,
        log: Log,
        reconnected: AutoResetEvent,
        is_gone: asyncio.Event,
        refused: RefusedSubjects,
    ) -> None:
        self.client = client
        self.reconnected = reconnected
        self.publisher = Publisher(client, refused)
        self._is_gone = is_gone
        self._log = log
        self._pings = BackgroundTasks()

    async def ask(
        self,
        subject: str,
        request: ClaimRequest | StoreRequest,
        answers: TypeAdapter[Answer | RequestError],
        timeout_seconds: float,
        traceparent: str,
    ) -> Answer | None:
        """One request; None when nobody answered, or the responder could not."""
        log = self._log.bind(
            jobId=request.job_id, traceId=trace_id_of(traceparent), subject=subject
        )
        if not self.client.is_connected:
            # A claim that reached the orchestrator late would take a job that nobody waits for.
            log.debug("broker away, request not sent")
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
            is_mismatch = isinstance(error, ValidationError)
            log.warning(
                "request not answered", err=describe_mismatch(error) if is_mismatch else repr(error)
            )
            return None
        if isinstance(answer, RequestError):
            code = answer.code if answer.code in FAILURES else "UNEXPECTED"
            log_failure(log, code, "request not answered")
            return None
        return answer

    async def announce(self, subject: str, message: WireModel) -> None:
        """Publishes to whoever listens now; what cannot be sent now is not sent later."""
        if not self.client.is_connected:
            return
        try:
            await self.client.publish(subject, message.to_json())
        except BrokerErrors as error:
            self._log.warning("announcement not sent", subject=subject, err=repr(error))

    async def listen(
        self, subject: str, model: type[Message], handle: Callable[[Message], None]
    ) -> None:
        """Hands over each message of a subject, across reconnects, until the connection is closed.

        A message that does not follow the model is logged and ignored.
        """

        async def parse(message: Msg) -> None:
            try:
                handle(model.model_validate_json(message.data))
            except ValidationError as error:
                reason = describe_mismatch(error)
                self._log.warning("message not understood", subject=subject, reason=reason)

        await self.client.subscribe(subject, cb=parse)  # pyright: ignore[reportUnknownMemberType]

    async def ack(self, message: Msg) -> None:
        """Removes the entry from the queue."""
        await self._settle(message, b"+ACK")

    async def nak(self, message: Msg, delay_seconds: float) -> None:
        """Offers the entry to any worker after the delay."""
        delay = json.dumps({"delay": int(delay_seconds * 1e9)})
        await self._settle(message, f"-NAK {delay}".encode() if delay_seconds > 0 else b"-NAK")

    async def in_progress(self, message: Msg) -> None:
        """Extends the lease of an entry. Sent late it would be worthless, so it is not buffered."""
        if self.client.is_connected:
            await self._settle(message, b"+WPI")

    async def terminate(self, message: Msg, reason: str) -> None:
        """Removes the entry from the queue for good; the broker's advisory carries the reason."""
        line = " ".join(reason.split())[:200]
        # The client's own `term` takes no reason.
        await self._settle(message, f"+TERM {line}".encode())

    async def _settle(self, message: Msg, answer: bytes) -> None:
        """An answer that is lost costs nothing: the entry is redelivered, and known by then."""
        try:
            await self.client.publish(message.reply, answer)
        except BrokerErrors as error:
            self._log.warning("entry not settled", err=repr(error))

    async def ping(self, within_seconds: float) -> bool:
        """Whether the broker answers a round trip in time; all that was sent before has arrived."""
        if not self.client.is_connected:
            return False
        pong = asyncio.Event()

        async def wait_for_pong() -> None:
            with contextlib.suppress(*BrokerErrors):
                await self.client.flush(_PONG_AT_LAST_SECONDS)
                pong.set()

        # Goes on in the background: a pong that comes after its flush has given up ends the
        # client's reader silently.
        self._pings.start(wait_for_pong())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_seconds):
                await pong.wait()
        return pong.is_set()

    async def watch(self) -> None:
        """Raises `BrokerGone` when the connection has ended for good."""
        await self._is_gone.wait()
        raise BrokerGone(f"The broker ended the connection: {self.client.last_error!r}")

    async def close(self) -> None:
        """Sends what is still to be sent, then ends the connection."""
        if not await self.ping(_FLUSH_SECONDS):
            self._log.warning("broker away at the end")
        with contextlib.suppress(*BrokerErrors):
            await self.client.close()
        await self._pings.stop()


def describe_mismatch(error: ValidationError) -> str:
    """Which fields of a message are wrong, without their values: those may be secret."""
    return "; ".join(
        f"{'.'.join(map(str, each['loc'])) or 'message'}: {each['msg']}"
        for each in error.errors(include_input=False, include_url=False)
    )


async def connect(config: SidecarConfig, worker_id: str, log: Log) -> Broker:
    """Connects, waiting for the broker as long as it takes; afterwards it reconnects for ever."""
    reconnected, is_gone, refused = AutoResetEvent(), asyncio.Event(), RefusedSubjects()
    logged: set[str] = set()

    async def on_error(error: Exception) -> None:
        # Each attempt to connect ends here, four times a second: one line for each new reason.
        reason = repr(error)
        (log.debug if reason in logged else log.warning)("broker error", err=reason)
        logged.add(reason)
        await refused.note(error)

    async def on_disconnect() -> None:
        log.warning("broker away")

    async def on_reconnect() -> None:
        logged.clear()
        log.info("broker back")
        reconnected.set()

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
        ping_interval=_PING_EVERY_SECONDS,
        max_outstanding_pings=_PINGS_UNANSWERED_MAX,
        connect_timeout=5,
        error_cb=on_error,
        disconnected_cb=on_disconnect,
        reconnected_cb=on_reconnect,
        closed_cb=on_closed,
    )
    return Broker(client, log, reconnected, is_gone, refused)
