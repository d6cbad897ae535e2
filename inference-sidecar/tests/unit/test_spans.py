"""The door to spans: what is written, within which limits, and at whose cost."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.otlp.json.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from inference_sidecar.engines.engine import RenderRequest, Size
from inference_sidecar.foundation.contracts import (
    SPAN_LIMIT_BYTES_PER_MESSAGE,
    SPAN_LIMIT_CHARACTERS_PER_VALUE,
    SPAN_LIMIT_CHUNKS_PER_RENDER,
    SPAN_LIMIT_SPANS_PER_MESSAGE,
)
from inference_sidecar.foundation.errors import GpuOutOfMemory
from inference_sidecar.foundation.log import configure_log
from inference_sidecar.foundation.trace import attempt_trace, is_sampled
from inference_sidecar.rendering.render_protocol import StageBegunLine, StageLine
from inference_sidecar.rendering.render_spans import RenderSpans
from inference_sidecar.telemetry.spans import SpanParent, Spans
from stage.until import until

TRACE_ID = "1" * 32
MS = 1_000_000


def header(flags: str = "01") -> str:
    return f"00-{TRACE_ID}-{'2' * 16}-{flags}"


class Bus:
    """Receives the messages, or does not while it is away."""

    def __init__(self) -> None:
        self.is_away = False
        self.messages: list[bytes] = []
        self.lines = io.StringIO()
        self.spans = Spans("w1", self.publish, configure_log("info", self.lines))

    async def publish(self, message: bytes) -> bool:
        if not self.is_away:
            self.messages.append(message)
        return not self.is_away

    def attempt(self, flags: str = "01") -> SpanParent:
        return self.spans.attempt(attempt_trace(header(flags), "job", 1), "job", 1)

    async def written(self) -> list[dict[str, Any]]:
        await self.spans.close()
        return [
            span
            for message in self.messages
            for resource in json.loads(message)["resourceSpans"]
            for scope in resource["scopeSpans"]
            for span in scope["spans"]
        ]


@pytest.fixture
async def bus() -> AsyncIterator[Bus]:
    made = Bus()
    yield made
    await made.spans.close()


def attributes(span: dict[str, Any]) -> dict[str, Any]:
    return {each["key"]: next(iter(each["value"].values())) for each in span["attributes"]}


def test_the_attempt_has_the_id_that_the_orchestrator_gives_it() -> None:
    known = hashlib.sha256(b"job:3").hexdigest()[:16]
    assert attempt_trace(header("01"), "job", 3) == f"00-{TRACE_ID}-{known}-01"
    assert attempt_trace(header("00"), "job", 3) == f"00-{TRACE_ID}-{known}-00"
    assert [is_sampled(header(flags)) for flags in ("00", "01", "02", "03")] == [
        *(False, True, False, True)
    ]


async def test_a_span_that_fails_tells_its_code_and_never_its_text(bus: Bus) -> None:
    with pytest.raises(GpuOutOfMemory), bus.attempt().begin("render"):
        raise GpuOutOfMemory("secret")
    with pytest.raises(ValueError, match="secret"), bus.attempt().begin("upload", kind="client"):
        raise ValueError("secret")
    render, upload = await bus.written()
    assert attributes(render)["error.type"] == "GPU_OUT_OF_MEMORY"
    assert attributes(upload)["error.type"] == "ValueError"
    assert {span["status"]["code"] for span in (render, upload)} == {2}
    assert "secret" not in str(bus.messages)


async def test_values_are_scrubbed_and_then_cut(bus: Bus) -> None:
    padding = "x" * (SPAN_LIMIT_CHARACTERS_PER_VALUE - 5)
    bus.attempt().begin("render", {"avatar.size": f"{padding} hf_{'s' * 30}"}).end()
    (span,) = await bus.written()
    size = attributes(span)["avatar.size"]
    assert len(size) == SPAN_LIMIT_CHARACTERS_PER_VALUE
    assert "sss" not in size


async def test_messages_are_small(bus: Bus) -> None:
    # As many messages as may wait at once, whenever the loop comes to send them.
    for number in range(200):
        bus.attempt().begin("chunk", {"avatar.size": "\u00e9" * 500, "avatar.chunk": number}).end()
    written = await bus.written()
    assert [int(attributes(span)["avatar.chunk"]) for span in written] == list(range(200))
    assert len(bus.messages) > 200 / SPAN_LIMIT_SPANS_PER_MESSAGE + 1
    assert max(map(len, bus.messages)) <= SPAN_LIMIT_BYTES_PER_MESSAGE
    for message in bus.messages:
        (resource,) = json.loads(message)["resourceSpans"]
        assert len(resource["scopeSpans"][0]["spans"]) <= SPAN_LIMIT_SPANS_PER_MESSAGE


async def test_a_bus_that_is_away_costs_the_oldest_spans_and_no_time(bus: Bus) -> None:
    bus.is_away = True
    for number in range(5_000):
        bus.attempt().begin("chunk", {"avatar.chunk": number}).end()
        if number % 1000 == 0:
            await asyncio.sleep(0)
    assert len(bus.spans._waiting) <= 2048
    async with asyncio.timeout(10):
        await bus.spans.close()
    assert bus.messages == []


async def test_an_unsampled_span_is_a_name_in_a_header_and_nothing_else(bus: Bus) -> None:
    with bus.attempt("00").begin("render") as span, span.begin("chunk") as chunk:
        pass
    assert chunk.traceparent.startswith(f"00-{TRACE_ID}-")
    assert chunk.traceparent.endswith("-00")
    assert await bus.written() == []


async def test_a_span_that_cannot_be_written_costs_itself_alone(bus: Bus) -> None:
    for number in range(3):
        bus.attempt().begin("upload", {"avatar.bytes": number}).end()
        bus.spans.write(None)  # pyright: ignore[reportArgumentType] - a mistake of ours
    written = await bus.written()
    assert [attributes(span)["avatar.bytes"] for span in written] == ["0", "1", "2"]


async def test_what_is_over_is_sent_within_a_second_or_when_a_message_is_full(bus: Bus) -> None:
    bus.attempt().begin("upload").end()
    await until(lambda: len(bus.messages) == 1, "the message of one span")
    for _ in range(2 * SPAN_LIMIT_SPANS_PER_MESSAGE):
        bus.attempt().begin("chunk").end()
    await until(lambda: len(bus.messages) == 3, "two full messages")


async def test_a_span_reads_as_the_sdk_of_opentelemetry_writes_it(bus: Bus) -> None:
    values = {"avatar.size": "\u00e9", "avatar.frames": 75, "avatar.degraded": True}
    values |= {"avatar.audio_seconds": 2.5}
    with pytest.raises(GpuOutOfMemory), bus.attempt().begin("upload", values, kind="client"):
        raise GpuOutOfMemory("no")
    (written,) = await bus.written()

    provider = TracerProvider(resource=Resource({"service.name": "sidecar"}))
    outside = SpanContext(
        *(int(TRACE_ID, 16), int(written["parentSpanId"], 16)),
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
    )
    theirs = provider.get_tracer("inference_sidecar").start_span(
        "upload",
        set_span_in_context(NonRecordingSpan(outside)),
        SpanKind.CLIENT,
        {"avatar.job.id": "job", "avatar.attempt": 1, **values, "error.type": "GPU_OUT_OF_MEMORY"},
        start_time=int(written["startTimeUnixNano"]),
    )
    theirs.set_status(Status(StatusCode.ERROR))
    theirs.end(int(written["endTimeUnixNano"]))
    assert isinstance(theirs, ReadableSpan)
    (expected,) = json.loads(encode_spans([theirs]).to_json())["resourceSpans"]
    (message,) = [json.loads(message)["resourceSpans"] for message in bus.messages]
    assert message[0]["resource"] == expected["resource"]
    assert message[0]["scopeSpans"][0]["scope"] == expected["scopeSpans"][0]["scope"]
    # Which of them says that a context is remote is left to readers, and its ids are drawn.
    (span,) = expected["scopeSpans"][0]["spans"]
    assert {**span, "flags": None, "spanId": written["spanId"]} == {**written, "flags": None}


def stage(name: str, at_ms: int, **counts: int) -> tuple[StageBegunLine, StageLine]:
    facts = {"order": 1, "name": name, "start_ns": at_ms * MS, "attributes": counts}
    begun = StageBegunLine.model_validate(facts)
    return begun, StageLine.model_validate({**facts, "end_ns": (at_ms + 5) * MS})


@pytest.fixture
def render(bus: Bus) -> RenderSpans:
    request = RenderRequest("job", Path(), Path(), "a secret prompt", 7, Size(1280, 720), 75)
    return RenderSpans(bus.attempt(), "null", request)


async def test_a_render_tells_at_most_so_many_chunks(bus: Bus, render: RenderSpans) -> None:
    for number in range(SPAN_LIMIT_CHUNKS_PER_RENDER + 50):
        begun, ended = stage("chunk", 10 * number, chunk=number)
        render.begin_stage(begun)
        render.end_stage(ended)
    render.end()
    names = [span["name"] for span in await bus.written()]
    assert names.count("chunk") == SPAN_LIMIT_CHUNKS_PER_RENDER
    assert names.count("render") == 1
    assert "secret" not in str(bus.messages)


async def test_a_render_includes_its_stages_and_ignores_those_of_an_engine_of_ones_own(
    bus: Bus, render: RenderSpans
) -> None:
    for line in (*stage("prepare", 10), *stage("my own", 20, chunk=1)):
        if isinstance(line, StageLine):
            render.end_stage(line)
        else:
            render.begin_stage(line)
    render.start(at_ms=12, resumed_chunks=0)
    render.end()
    prepare, whole = await bus.written()
    assert [prepare["name"], whole["name"]] == ["prepare", "render"]
    assert prepare["parentSpanId"] == whole["spanId"]
    assert whole["startTimeUnixNano"] == str(10 * MS)


async def test_a_smaller_size_after_the_first_is_degraded(bus: Bus, render: RenderSpans) -> None:
    render.plan("720p")
    render.start(1, 0)
    render.plan("480p")
    render.end()
    (whole,) = await bus.written()
    assert attributes(whole)["avatar.size"] == "480p"
    assert attributes(whole)["avatar.degraded"] is True


async def test_only_a_wait_that_can_be_felt_is_told(bus: Bus, render: RenderSpans) -> None:
    render.wait("rendering")
    render.order()
    render._came_at_ns -= 60 * MS
    render.wait("loading")
    render.order()
    render.order()
    (wait,) = await bus.written()
    assert wait["name"] == "wait for the engine"
    assert attributes(wait)["avatar.engine_state"] == "loading"
