"""The connection to NATS: it reconnects for ever, and tells when that is over."""

from __future__ import annotations

import asyncio
import contextlib
import time
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
    FailureCode,
    RequestError,
    WireModel,
    inbox_prefix,
)
from inference_sidecar.foundation.log import Log
from inference_sidecar.foundation.log_failure import log_failure
from inference_sidecar.worker.auto_reset_event import AutoResetEvent
from inference_sidecar.worker.publisher import BrokerErrors, Publisher, RefusedSubjects
from inference_sidecar.worker.repeated_errors import RepeatedErrors

_PING_EVERY_SECONDS: Final = 20
_PINGS_UNANSWERED_MAX: Final = 2
_PONG_AT_LAST_SECONDS: Final = _PING_EVERY_SECONDS * (_PINGS_UNANSWERED_MAX + 2)
"""By then a broker that does not answer has been left, and the pong with it."""
_FLUSH_SECONDS: Final = 2.0

Answer = TypeVar("Answer")
Message = TypeVar("Message", bound=WireModel)


class BrokerGone(Exception):
    """The broker ended the connection for good; only a restart with other settings may help."""


class NotAnswered(Exception):
    """Nobody answered a request, or the responder could not.

    is_silence: the request was sent and nothing came back in time, so an answer may be lost.
    """

    def __init__(
        self, reason: str, *, code: FailureCode | None = None, is_silence: bool = False
    ) -> None:
        super().__init__(reason)
        self.code: FailureCode | None = code
        self.is_silence = is_silence

    def log_to(self, log: Log) -> None:
        """As the failure that the responder named; otherwise a warning."""
        if self.code is None:
            log.warning("request not answered", err=self)
        else:
            log_failure(log, self.code, "request not answered")


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
        request: WireModel,
        answers: TypeAdapter[Answer | RequestError],
        timeout_seconds: float,
        traceparent: str | None = None,
    ) -> Answer:
        """One request. Raises `NotAnswered`, at once when the broker is away.

        The client would buffer it then; and an ask that arrived late would claim a job for nobody.
        """
        if not self.client.is_connected:
            raise NotAnswered("The broker is away.")
        try:
            reply = await self.client.request(
                subject,
                request.to_json(),
                timeout=timeout_seconds,
                headers=None if traceparent is None else {"traceparent": traceparent},
            )
            answer = answers.validate_json(reply.data)
        except TimeoutError as error:
            raise NotAnswered(repr(error), is_silence=True) from error
        except BrokerErrors as error:
            raise NotAnswered(repr(error)) from error
        except ValidationError as error:
            raise NotAnswered(describe_mismatch(error)) from error
        if isinstance(answer, RequestError):
            code = answer.code if answer.code in FAILURES else "UNEXPECTED"
            raise NotAnswered("The responder failed.", code=code)
        return answer

    async def announce(self, subject: str, message: WireModel) -> None:
        """Publishes to whoever listens now; what cannot be sent now is not sent later."""
        await self.send_now(subject, message.to_json())

    async def send_now(self, subject: str, body: bytes) -> bool:
        """Publishes to whoever listens now. False if that is not possible now."""
        if not self.client.is_connected:
            return False
        try:
            await self.client.publish(subject, body)
        except BrokerErrors as error:
            self._log.warning("announcement not sent", subject=subject, err=error)
            return False
        return True

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
    repeated = RepeatedErrors()

    async def on_error(error: Exception) -> None:
        # Each attempt to connect ends here, four times a second.
        count = repeated.note(error, time.monotonic())
        if count is None:
            log.debug("broker error", err=error)
        else:
            log.warning("broker error", err=error, count=count)
        refused.note(error)

    async def on_disconnect() -> None:
        log.warning("broker away")

    async def on_reconnect() -> None:
        repeated.forget()
        log.info("broker back")
        reconnected.set()

    async def on_closed() -> None:
        is_gone.set()

    client = await nats.connect(  # pyright: ignore[reportUnknownMemberType]
        config.nats_url,
        user=config.nats_user,
        password=config.nats_password.get_secret_value(),
        name=worker_id,
        inbox_prefix=inbox_prefix(config.nats_user),
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
    repeated.forget()
    return Broker(client, log, reconnected, is_gone, refused)
