"""The only door to spans. Nothing of OpenTelemetry is imported before the first sampled job."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Literal, Protocol, Self

from inference_sidecar.foundation.background_tasks import BackgroundTasks
from inference_sidecar.foundation.contracts import ATTRIBUTE_ATTEMPT, ATTRIBUTE_JOB_ID
from inference_sidecar.foundation.errors import SidecarError
from inference_sidecar.foundation.log import Log
from inference_sidecar.foundation.trace import (
    attempt_trace,
    continue_trace,
    is_sampled,
    span_id_of,
    trace_id_of,
)
from inference_sidecar.telemetry.outbox import Outbox

QUEUE_SPANS: Final = 2048
"""As many wait at most, wherever they wait; then the oldest are dropped."""
_CLOSE_SECONDS: Final = 2.0

SpanKind = Literal["internal", "client", "producer"]
Attributes = Mapping[str, str | int | float | bool]


@dataclass(frozen=True)
class SpanRecord:
    """One finished span. error: what it failed with, a code or the name of an exception's type."""

    name: str
    kind: SpanKind
    trace_id: str
    span_id: str
    parent_id: str | None
    start_ns: int
    end_ns: int
    attributes: Attributes
    error: str | None


class SpanSink(Protocol):
    """Takes finished spans; see `open_telemetry.OpenTelemetrySink`."""

    def write(self, record: SpanRecord) -> None:
        """Takes one, without waiting for anything."""
        ...

    def close(self) -> None:
        """Hands over what it still has. Blocks for as long as that takes, some milliseconds."""
        ...


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
        self._latest_start: Sequence[SpanRecord] = ()
        self._sink: SpanSink | None = None
        self._loading: asyncio.Task[None] | None = None
        self._is_closed = False

    def attempt(self, traceparent: str, job_id: str, epoch: int) -> SpanParent:
        """What the spans of one attempt hang below; the orchestrator writes the attempt itself."""
        return SpanParent(
            self,
            attempt_trace(traceparent, job_id, epoch),
            {ATTRIBUTE_JOB_ID: job_id, ATTRIBUTE_ATTEMPT: epoch},
        )

    def write(self, record: SpanRecord) -> None:
        """Takes a finished span of a sampled trace. Called from the event loop."""
        if self._is_closed:
            return
        if self._sink is not None:
            self._hand_over(self._sink, record)
            return
        self._waiting.append(record)
        if self._loading is None:
            self._loading = self._tasks.start(self._load())

    def write_start(self, records: Sequence[SpanRecord]) -> None:
        """Takes the spans of a start. Those of the latest one wait for the first sampled job.

        A start is no job's, so nothing says whether it is sampled; and where no job is, nothing is
        written at all.
        """
        if self._loading is None:
            self._latest_start = records
            return
        for record in records:
            self.write(record)

    async def _load(self) -> None:
        try:
            # Takes a fifth of a second, in which the loop goes on.
            self._sink = await asyncio.to_thread(
                _open_telemetry, asyncio.get_running_loop(), self._outbox
            )
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it costs spans alone
            self._log.warning("spans cannot be written", err=repr(error))
            self._is_closed = True
            self._waiting.clear()
            return
        self._tasks.start(self._outbox.run())
        for record in (*self._latest_start, *self._waiting):
            self._hand_over(self._sink, record)
        self._latest_start = ()
        self._waiting.clear()

    def _hand_over(self, sink: SpanSink, record: SpanRecord) -> None:
        try:
            sink.write(record)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a span, its job goes on
            self._log.debug("span not written", err=repr(error))

    async def close(self) -> None:
        """Sends what there is while the connection is still open, for two seconds at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                if self._loading is not None:
                    await asyncio.shield(self._loading)
                self._is_closed = True
                if self._sink is not None:
                    await asyncio.to_thread(self._sink.close)
                await self._outbox.sent()
        self._is_closed = True
        await self._tasks.stop()
        if self._outbox.dropped:
            self._log.debug("messages with spans dropped", messages=self._outbox.dropped)


def _open_telemetry(loop: asyncio.AbstractEventLoop, outbox: Outbox) -> SpanSink:
    from inference_sidecar.telemetry.open_telemetry import OpenTelemetrySink  # noqa: PLC0415

    def hand_over(message: bytes) -> None:
        # A loop that is closed by now sends nothing more.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(outbox.put, message)

    return OpenTelemetrySink(hand_over)


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
