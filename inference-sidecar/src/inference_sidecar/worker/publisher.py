"""Publishes to streams: a message is repeated until it is stored, unless it never can be."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Final

from nats.aio.client import Client
from nats.errors import ConnectionReconnectingError, MaxPayloadError
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.errors import APIError

from inference_sidecar.foundation.background_tasks import run_until
from inference_sidecar.foundation.errors import PublishRefused
from inference_sidecar.foundation.log import Log
from inference_sidecar.foundation.log_failure import log_failure

BrokerErrors: Final = (NatsError, TimeoutError, OSError)
"""Everything that the client raises when the broker is away or refuses."""

_TRY_SECONDS: Final = 2.0
_AGAIN_SECONDS: Final = 0.25
_LOG_AGAIN_SECONDS: Final = 1.0
_LOG_AGAIN_MAX_SECONDS: Final = 60.0
_NO_ROOM: Final = frozenset({10023, 10028, 10047, 10077})
"""JetStream's codes for a stream, memory or disk that is full."""
_NEVER: Final = frozenset({10054, 10059, 10060})
"""JetStream's codes for a message that is too large and for a stream that does not exist."""
_PERMISSION: Final = re.compile(r'permissions violation for publish to "([^"]+)"', re.IGNORECASE)


class RefusedSubjects:
    """Subjects that we may not publish to, as far as the broker has said so.

    The broker answers such a publish with an error that names the subject and nothing else; the
    client only passes it to its error callback.
    """

    def __init__(self) -> None:
        self._awaited: dict[asyncio.Future[None], str] = {}

    def note(self, error: Exception) -> None:
        """Tells who publishes to the subject of a permission violation; ignores other errors."""
        if match := _PERMISSION.search(str(error)):
            for refusal, subject in list(self._awaited.items()):
                # The client has put the whole text into lower case.
                if subject.lower() == match[1].lower() and not refusal.done():
                    refusal.set_result(None)

    def refusal_of(self, subject: str) -> asyncio.Future[None]:
        """Done once the subject is refused from now on; to be cancelled when it does not matter."""
        refusal = asyncio.get_running_loop().create_future()
        self._awaited[refusal] = subject
        refusal.add_done_callback(self._awaited.pop)
        return refusal


class Publisher:
    """Publishes until the broker confirms, and logs what is in the way."""

    def __init__(self, client: Client, refused: RefusedSubjects) -> None:
        self._client = client
        self._refused = refused
        self._js: JetStreamContext = client.jetstream()  # pyright: ignore[reportUnknownMemberType] - typed in parts

    async def store(
        self, subject: str, body: bytes, message_id: str, traceparent: str, log: Log
    ) -> None:
        """Returns when the message is stored; the same id is stored once.

        traceparent: names the span below which whoever handles the message hangs its own.

        Raises `PublishRefused` at once when it never can be: no permission for the subject, a
        message that is too large, no such stream. Everything else is tried again, for ever.
        """
        headers = {"Nats-Msg-Id": message_id, "traceparent": traceparent}
        log = log.bind(subject=subject)
        began, tries, log_at, gap = time.monotonic(), 0, 0.0, _LOG_AGAIN_SECONDS
        while True:
            tries += 1
            try:
                await self._try(subject, body, headers)
                break
            except BrokerErrors as error:
                if time.monotonic() >= log_at:
                    _log_trouble(log, error, tries)
                    log_at = time.monotonic() + gap
                    gap = min(2 * gap, _LOG_AGAIN_MAX_SECONDS)
            await asyncio.sleep(_AGAIN_SECONDS)
        if tries > 1:
            took_ms = round((time.monotonic() - began) * 1000)
            log.info("message stored after retries", tries=tries, durationMs=took_ms)

    async def _try(self, subject: str, body: bytes, headers: dict[str, str]) -> None:
        if not self._client.is_connected:
            # The client buffers what is published while it reconnects, so every try of a long
            # outage would be sent when the broker is back.
            raise ConnectionReconnectingError
        publishing = await run_until(
            self._refused.refusal_of(subject),
            self._js.publish(subject, body, headers=headers, timeout=_TRY_SECONDS),
        )
        if publishing.cancelled():
            raise PublishRefused("There is no permission to publish to this subject.")
        try:
            publishing.result()
        except MaxPayloadError as error:
            raise PublishRefused("The message is larger than the broker accepts.") from error
        except APIError as error:
            if error.err_code in _NEVER:
                raise PublishRefused(f"{error}.") from error
            raise


def _log_trouble(log: Log, error: Exception, tries: int) -> None:
    is_full = isinstance(error, APIError) and error.err_code in _NO_ROOM
    code = "STORAGE_FULL" if is_full else "BROKER_UNAVAILABLE"
    reason = str(error) or repr(error)
    log_failure(log, code, "message not stored, publishing again", tries=tries, reason=reason)
