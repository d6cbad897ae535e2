"""The only door to spans: ids and times are ours, and what is over is encoded once a second."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Final, Self

from inference_sidecar.foundation.background_tasks import BackgroundTasks
from inference_sidecar.foundation.contracts import (
    ATTRIBUTE_ATTEMPT,
    ATTRIBUTE_JOB_ID,
    SPAN_LIMIT_SPANS_PER_MESSAGE,
)
from inference_sidecar.foundation.errors import SidecarError
from inference_sidecar.foundation.log import Log
from inference_sidecar.foundation.trace import (
    continue_trace,
    is_sampled,
    span_id_of,
    trace_id_of,
)
from inference_sidecar.telemetry.otlp import SpanKind, SpanRecord, SpanValue, messages_of
from inference_sidecar.telemetry.outbox import Outbox

QUEUE_SPANS: Final = 2048
"""As many wait at most, wherever they wait; then the oldest are dropped."""
_EVERY_SECONDS: Final = 1.0
_CLOSE_SECONDS: Final = 2.0

Attributes = Mapping[str, SpanValue]


class Spans:
    """Writes the spans of sampled traces. It never delays a job, and drops spans first.

    worker_id: whose they are. publish: sends one message now; False if that is not possible now.
    """

    def __init__(
        self, worker_id: str, publish: Callable[[bytes], Awaitable[bool]], log: Log
    ) -> None:
        self.worker_id = worker_id
        self._log = log
        self._outbox = Outbox(publish)
        self._tasks = BackgroundTasks()
        self._waiting: deque[SpanRecord] = deque(maxlen=QUEUE_SPANS)
        self._has_some = asyncio.Event()
        self._are_many = asyncio.Event()
        self._latest_start: Sequence[SpanRecord] = ()
        self._has_begun = False
        self._is_closed = False

    def attempt(self, traceparent: str, job_id: str, epoch: int) -> SpanParent:
        """What the spans of one attempt hang below; the orchestrator writes the attempt itself.

        traceparent: names the span of the attempt, see `attempt_trace`.
        """
        return SpanParent(self, traceparent, {ATTRIBUTE_JOB_ID: job_id, ATTRIBUTE_ATTEMPT: epoch})

    def write(self, record: SpanRecord) -> None:
        """Takes a finished span of a sampled trace. Called from the event loop."""
        if self._is_closed:
            return
        if not self._has_begun:
            self._begin()
        self._waiting.append(record)
        self._has_some.set()
        if len(self._waiting) >= SPAN_LIMIT_SPANS_PER_MESSAGE:
            self._are_many.set()

    def write_start(self, records: Sequence[SpanRecord]) -> None:
        """Takes the spans of a start. Those of the latest one wait for the first sampled job.

        A start is no job's, so nothing says whether it is sampled; and where no job is, nothing is
        written at all.
        """
        if not self._has_begun:
            self._latest_start = records
            return
        for record in records:
            self.write(record)

    def _begin(self) -> None:
        self._has_begun = True
        self._waiting.extend(self._latest_start)
        self._latest_start = ()
        self._tasks.start(self._outbox.run())
        self._tasks.start(self._run())

    async def _run(self) -> None:
        """Encodes what is over, once a second or when there is enough for a message."""
        while True:
            await self._has_some.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_EVERY_SECONDS):
                    await self._are_many.wait()
            while self._waiting:
                self._encode_some()
                await asyncio.sleep(0)
            self._has_some.clear()
            self._are_many.clear()

    def _encode_some(self) -> None:
        """At most one message at a time: some milliseconds on the event loop."""
        count = min(len(self._waiting), SPAN_LIMIT_SPANS_PER_MESSAGE)
        records = [self._waiting.popleft() for _ in range(count)]
        try:
            messages = list(messages_of(records))
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a span, its job goes on
            self._log.debug("span not written", err=repr(error))
            messages = [message for record in records for message in self._alone(record)]
        for message in messages:
            self._outbox.put(message)

    def _alone(self, record: SpanRecord) -> list[bytes]:
        """The message of one span among which another one cannot be written."""
        with contextlib.suppress(Exception):
            return list(messages_of([record]))
        return []

    async def close(self) -> None:
        """Sends what there is while the connection is still open, for two seconds at most."""
        self._is_closed = True
        while self._waiting:
            self._encode_some()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._outbox.sent()
        await self._tasks.stop()
        if self._outbox.dropped:
            self._log.debug("messages with spans dropped", messages=self._outbox.dropped)


class SpanParent:
    """What spans hang below: an attempt, or a span. Children inherit its attributes.

    traceparent: what a message or a request carries that is caused by it.
    """

    def __init__(self, spans: Spans, traceparent: str, inherited: Attributes) -> None:
        self.traceparent = traceparent
        self._spans = spans
        self._inherited = inherited

    @property
    def is_sampled(self) -> bool:
        """Whether anything is written of it."""
        return is_sampled(self.traceparent)

    def begin(
        self,
        name: str,
        attributes: Attributes | None = None,
        *,
        kind: SpanKind = "internal",
        start_ns: int | None = None,
    ) -> Span:
        """Begins a child, by default now. It is written when it ends."""
        return Span(
            self._spans,
            continue_trace(self.traceparent),
            self._inherited,
            name=name,
            kind=kind,
            parent_id=span_id_of(self.traceparent),
            start_ns=time.time_ns() if start_ns is None else start_ns,
            attributes=dict(attributes or {}),
        )


class Span(SpanParent):
    """A span that goes on. As a context manager it ends with its block, and fails as that does."""

    def __init__(
        self,
        spans: Spans,
        traceparent: str,
        inherited: Attributes,
        *,
        name: str,
        kind: SpanKind,
        parent_id: str,
        start_ns: int,
        attributes: dict[str, str | int | float | bool],
    ) -> None:
        super().__init__(spans, traceparent, inherited)
        self._name = name
        self._kind: SpanKind = kind
        self._parent_id = parent_id
        self._start_ns = start_ns
        self._attributes = attributes
        self._is_over = False

    def set(self, attributes: Attributes) -> None:
        """Adds what is known only now."""
        self._attributes.update(attributes)

    def end(self, *, end_ns: int | None = None, error: str | None = None) -> None:
        """Writes it. Only the first call counts."""
        if self._is_over or not self.is_sampled:
            return
        self._is_over = True
        self._spans.write(
            SpanRecord(
                self._name,
                self._kind,
                trace_id_of(self.traceparent),
                span_id_of(self.traceparent),
                self._parent_id,
                self._start_ns,
                # The clock may have been set back meanwhile.
                max(self._start_ns, time.time_ns() if end_ns is None else end_ns),
                {**self._inherited, **self._attributes},
                error,
            )
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        self.end(error=None if error is None else error_name(error))


def error_name(error: BaseException) -> str:
    """What a span says of an error: its code, or its type; never its text, which may be secret."""
    return error.code if isinstance(error, SidecarError) else type(error).__name__
