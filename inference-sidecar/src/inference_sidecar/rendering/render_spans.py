"""One render as spans, from the lines of the processes that made it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final, Literal

from inference_sidecar.engines.engine import RenderRequest
from inference_sidecar.foundation.contracts import (
    ATTRIBUTE_CHUNK,
    ATTRIBUTE_DEGRADED,
    ATTRIBUTE_ENGINE,
    ATTRIBUTE_ENGINE_STATE,
    ATTRIBUTE_FRAMES,
    ATTRIBUTE_GEN_AI_MODEL,
    ATTRIBUTE_GEN_AI_OPERATION,
    ATTRIBUTE_GEN_AI_OUTPUT,
    ATTRIBUTE_GEN_AI_PROVIDER,
    ATTRIBUTE_GEN_AI_SEED,
    ATTRIBUTE_RESUMED_CHUNKS,
    ATTRIBUTE_SIZE,
    ATTRIBUTE_STEPS,
    SPAN_CHUNK,
    SPAN_FINISH_FILE,
    SPAN_LIMIT_CHUNKS_PER_RENDER,
    SPAN_PREPARE,
    SPAN_RENDER,
    SPAN_WAIT_FOR_ENGINE,
)
from inference_sidecar.rendering.render_protocol import StageBegunLine, StageLine
from inference_sidecar.telemetry.spans import Span, SpanParent

_WAIT_TOLD_NS: Final = 50_000_000
_ATTRIBUTES: Final = {
    "chunk": ATTRIBUTE_CHUNK,
    "steps": ATTRIBUTE_STEPS,
    "frames": ATTRIBUTE_FRAMES,
}


class RenderSpans:
    """Follows one render, which may outlive the process that began it."""

    def __init__(self, attempt: SpanParent, engine: str, request: RenderRequest) -> None:
        self._attempt = attempt
        self._came_at_ns = time.time_ns()
        self._waited_for: Literal["loading", "rendering"] | None = None
        self._render: Span | None = None
        self._open: dict[str, Span] = {}
        self._chunks = 0
        self._first_size = ""
        self._attributes: dict[str, str | int | float | bool] = {
            ATTRIBUTE_GEN_AI_OPERATION: "generate_content",
            ATTRIBUTE_GEN_AI_PROVIDER: "avatar",
            ATTRIBUTE_GEN_AI_MODEL: engine,
            ATTRIBUTE_GEN_AI_SEED: request.seed,
            ATTRIBUTE_GEN_AI_OUTPUT: "video",
            ATTRIBUTE_ENGINE: engine,
            ATTRIBUTE_FRAMES: request.frames,
            ATTRIBUTE_DEGRADED: False,
            ATTRIBUTE_RESUMED_CHUNKS: 0,
        }

    @property
    def are_written(self) -> bool:
        """Whether anybody will see them; only then need stages be told."""
        return self._attempt.is_sampled

    def wait(self, state: Literal["loading", "rendering"]) -> None:
        """The engine is not free."""
        self._waited_for = state

    def order(self) -> None:
        """A process is given the order. Only the first one was waited for."""
        now_ns = time.time_ns()
        if self._waited_for is None or self._render is not None:
            return
        if now_ns - self._came_at_ns > _WAIT_TOLD_NS:
            attributes = {ATTRIBUTE_ENGINE_STATE: self._waited_for}
            self._attempt.begin(SPAN_WAIT_FOR_ENGINE, attributes, start_ns=self._came_at_ns).end(
                end_ns=now_ns
            )
        self._waited_for = None

    def plan(self, size: str) -> None:
        """The engine renders at this size, which is the first one unless the memory ran out."""
        self._first_size = self._first_size or size
        self._attributes[ATTRIBUTE_SIZE] = size
        self._attributes[ATTRIBUTE_DEGRADED] = size != self._first_size

    def start(self, at_ms: int, resumed_chunks: int) -> None:
        """The first forward pass of a process begins."""
        self._attributes[ATTRIBUTE_RESUMED_CHUNKS] = resumed_chunks
        self._begun(at_ms * 1_000_000)

    def begin_stage(self, line: StageBegunLine) -> None:
        """A stage begins. Stages follow each other, but another one of the same name may be cut."""
        self._cut(line.name)
        if line.name == SPAN_FINISH_FILE:
            parent: SpanParent = self._attempt
        elif line.name in {SPAN_PREPARE, SPAN_CHUNK}:
            parent = self._begun(line.start_ns)
        else:
            # Of an engine that has stages of its own; the names of spans are a closed set.
            return
        if line.name == SPAN_CHUNK:
            self._chunks += 1
            if self._chunks > SPAN_LIMIT_CHUNKS_PER_RENDER:
                return
        attributes = _known(line.attributes)
        self._open[line.name] = parent.begin(line.name, attributes, start_ns=line.start_ns)

    def end_stage(self, line: StageLine) -> None:
        """A stage has ended."""
        if (span := self._open.pop(line.name, None)) is not None:
            span.end(end_ns=line.end_ns, error=line.error)

    def lose_process(self, error: str) -> None:
        """The process is gone, and cut the stage that it was in."""
        for name in list(self._open):
            self._cut(name, error)

    def end(self, error: str | None = None) -> None:
        """The last frame is made, or none will come. Twice is fine."""
        if error is not None:
            self.lose_process(error)
        if self._render is not None:
            self._render.set(self._attributes)
            self._render.end(error=error)

    def _begun(self, start_ns: int) -> Span:
        if self._render is None:
            self._render = self._attempt.begin(SPAN_RENDER, start_ns=start_ns)
        return self._render

    def _cut(self, name: str, error: str = "cut") -> None:
        if (span := self._open.pop(name, None)) is not None:
            span.end(error=error)


def _known(counts: Mapping[str, int]) -> dict[str, int]:
    return {_ATTRIBUTES[name]: count for name, count in counts.items() if name in _ATTRIBUTES}
