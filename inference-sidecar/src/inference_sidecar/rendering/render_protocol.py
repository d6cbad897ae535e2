"""The messages between parent and render process: JSON lines over a socket pair."""

from __future__ import annotations

import socket
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, TypeAdapter

from inference_sidecar.engines.engine import Offers, Readiness, RenderRequest
from inference_sidecar.foundation.contracts import (
    EngineFacts,
    FailureCode,
    FrameSize,
    JobWarning,
    Loading,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    Sampling,
    WireModel,
)
from inference_sidecar.foundation.errors import SidecarError
from inference_sidecar.media.ffmpeg_run import EncodedVideo

MAX_LINE_BYTES: Final = 1 << 20
_TRACEBACK_TAIL_CHARACTERS: Final = 4_000
_FACT_CHARACTERS: Final = 100
_DETAIL_CHARACTERS: Final = 200
_DETAILS_MAX: Final = 20

_Nanoseconds = Annotated[int, Field(ge=0)]
"""Since 1970: more than the integers of the contracts, which JavaScript must be able to read."""


class _AboutOrder(WireModel):
    order: PositiveInt


class RenderOrderLine(_AboutOrder):
    """Parent: render this, as order number `order`.

    started_at_ms: when an earlier process began it; its finished pieces lie beside the output.
    are_stages_wanted: whether its stages are to be told.
    """

    kind: Literal["render"] = "render"
    request: RenderRequest
    output: Path
    started_at_ms: NonNegativeInt | None = None
    are_stages_wanted: bool = True


class StopLine(_AboutOrder):
    """Parent: stop this order within one forward pass."""

    kind: Literal["stop"] = "stop"


ParentLine = Annotated[RenderOrderLine | StopLine, Field(discriminator="kind")]


class StageBegunLine(WireModel):
    """Child: a stage begins. order: None while the engine loads."""

    kind: Literal["stage-begun"] = "stage-begun"
    order: PositiveInt | None
    name: str
    start_ns: _Nanoseconds
    attributes: dict[str, int]


class StageLine(WireModel):
    """Child: a stage has ended. error: what ended it, a code or the name of an exception's type."""

    kind: Literal["stage"] = "stage"
    order: PositiveInt | None
    name: str
    start_ns: _Nanoseconds
    end_ns: _Nanoseconds
    attributes: dict[str, int]
    error: str | None = None


class LoadingLine(WireModel):
    """Child: so much of a part of the engine is read."""

    kind: Literal["loading"] = "loading"
    loading: Loading


class ReadyLine(WireModel):
    """Child: the engine is loaded.

    size_class, frames_per_chunk, device_uuid, offers: see `Readiness`.
    """

    kind: Literal["ready"] = "ready"
    engine: str
    facts: EngineFacts
    seconds_per_video_second: NonNegativeFloat
    size_class: str | None = None
    frames_per_chunk: PositiveInt | None = None
    device_uuid: str | None = None
    offers: Offers = Field(default_factory=Offers)


class NotLoadedLine(WireModel):
    """Child: the engine cannot be loaded; this process ends."""

    kind: Literal["not-loaded"] = "not-loaded"
    message: str
    context: dict[str, object]


class TakenLine(_AboutOrder):
    """Child: the order has arrived. Comes before every other line about the order."""

    kind: Literal["taken"] = "taken"


class PlannedLine(_AboutOrder):
    """Child: the engine renders at this size. Comes again when the memory ran out.

    is_cut: chunks begin where scenes of a source video do, so there are more of them than usual.
    """

    kind: Literal["planned"] = "planned"
    size_class: str
    is_cut: bool = False


class StartedLine(_AboutOrder):
    """Child: the first forward pass begins.

    fraction: how much of the render an earlier process has done, 0 to 1.
    """

    kind: Literal["started"] = "started"
    at_ms: NonNegativeInt
    estimated_seconds: NonNegativeFloat
    fraction: NonNegativeFloat


class ProgressLine(_AboutOrder):
    """Child: this much is done, 0 to 1."""

    kind: Literal["progress"] = "progress"
    fraction: NonNegativeFloat


class KeptLine(_AboutOrder):
    """Child: this many chunks are safe on disk; another process can resume after them."""

    kind: Literal["kept"] = "kept"
    chunks: PositiveInt


class RenderedLine(_AboutOrder):
    """Child: the last frame is made and the device is free; the file is not yet complete."""

    kind: Literal["rendered"] = "rendered"


class RenderResult(WireModel):
    """One finished render: the encoded file, and what the job's result says about it.

    sampling: see `Plan.sampling`. checks: see `Chunk.checks`.
    """

    engine: str
    engine_facts: EngineFacts
    video: EncodedVideo
    generation: FrameSize
    sampling: Sampling | None = None
    degraded: bool
    warnings: tuple[JobWarning, ...] = ()
    checks: dict[str, float] = Field(default_factory=dict[str, float])
    started_at_ms: NonNegativeInt
    ended_at_ms: NonNegativeInt


class DoneLine(_AboutOrder):
    """Child: the file is complete."""

    kind: Literal["done"] = "done"
    result: RenderResult


class FailedLine(_AboutOrder):
    """Child: the order failed; the process can take the next one."""

    kind: Literal["failed"] = "failed"
    code: FailureCode
    message: str
    context: dict[str, object]


class StoppedLine(_AboutOrder):
    """Child: the order was stopped on request."""

    kind: Literal["stopped"] = "stopped"


OrderLine = (
    TakenLine
    | PlannedLine
    | StartedLine
    | ProgressLine
    | KeptLine
    | StageBegunLine
    | StageLine
    | RenderedLine
    | DoneLine
    | FailedLine
    | StoppedLine
)
ChildLine = Annotated[
    LoadingLine | ReadyLine | NotLoadedLine | OrderLine, Field(discriminator="kind")
]

CHILD_LINES: Final[TypeAdapter[ChildLine]] = TypeAdapter(ChildLine)
_PARENT_LINES: Final[TypeAdapter[ParentLine]] = TypeAdapter(ParentLine)


def facts_of(readiness: Readiness) -> EngineFacts:
    """The engine's readiness, cut to the limits of a message."""
    return EngineFacts(
        device=readiness.device[:_FACT_CHARACTERS],
        precision=readiness.precision[:_FACT_CHARACTERS],
        attention_backend=readiness.attention_backend[:_FACT_CHARACTERS],
        peak_memory_bytes=readiness.peak_memory_bytes,
        details=details_of(readiness.details),
    )


def details_of(details: Mapping[str, str]) -> dict[str, str]:
    """An engine's details, cut to the limits of a message."""
    few = list(details.items())[:_DETAILS_MAX]
    return {name[:_FACT_CHARACTERS]: text[:_DETAIL_CHARACTERS] for name, text in few}


def explain(error: Exception) -> tuple[FailureCode, str, dict[str, object]]:
    """Code, message and context of an error in a render; with a traceback if it is unexpected."""
    if isinstance(error, SidecarError):
        return error.code, str(error), error.context
    trace = "".join(traceback.format_exception(error))[-_TRACEBACK_TAIL_CHARACTERS:]
    return "RENDER_FAILED", f"{type(error).__name__}: {error}", {"err": trace}


class Lines:
    """The child's end of the socket pair: blocking, and safe to write to from several threads."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._reader = self._socket.makefile("rb")
        self._writing = threading.Lock()

    def send(self, line: WireModel) -> None:
        """Sends a line to the parent."""
        with self._writing:
            self._socket.sendall(line.to_json() + b"\n")

    def receive(self) -> ParentLine | None:
        """The parent's next line; None when the parent is gone."""
        line = self._reader.readline()
        return _PARENT_LINES.validate_json(line) if line else None

    def close(self) -> None:
        """Closes the socket."""
        self._reader.close()
        self._socket.close()
