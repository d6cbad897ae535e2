"""The messages that the sidecar sends and receives, and the numbers both languages share.

Generated from `contracts/src` by `npm run generate`. Do not edit.

Readers ignore unknown fields, so that an older worker understands a newer orchestrator. Names are
snake_case here and camelCase on the wire.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

MAX_SAFE_INTEGER: Final = 2**53 - 1
"""The largest integer that JavaScript reads exactly."""

PositiveInt = Annotated[int, Field(gt=0, le=MAX_SAFE_INTEGER)]
NonNegativeInt = Annotated[int, Field(ge=0, le=MAX_SAFE_INTEGER)]
PositiveFloat = Annotated[float, Field(gt=0)]
NonNegativeFloat = Annotated[float, Field(ge=0)]
Url = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9+.-]*:\S+$")]


def is_none(value: object) -> bool:
    """An optional field without a value is left out: the schemas allow no null."""
    return value is None


class WireModel(BaseModel):
    """Reads and writes one message. Strict: no number from a string, no integer from a float."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        extra="ignore",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
    )

    def to_json(self) -> bytes:
        """The message as it travels."""
        return self.model_dump_json().encode()


FailureCode = Literal[
    "IMAGE_MISSING",
    "AUDIO_MISSING",
    "INVALID_IMAGE_FORMAT",
    "IMAGE_UNREADABLE",
    "IMAGE_DIMENSIONS",
    "INVALID_VIDEO_FORMAT",
    "VIDEO_UNREADABLE",
    "VIDEO_TOO_LONG",
    "INVALID_AUDIO_FORMAT",
    "AUDIO_UNREADABLE",
    "AUDIO_EMPTY",
    "AUDIO_TOO_LONG",
    "SPEAKER_NOT_FOUND",
    "FACE_TURNED",
    "FACE_TOO_SMALL",
    "NO_FACE",
    "FACE_UNUSABLE",
    "INVALID_REQUEST",
    "MALFORMED_MULTIPART",
    "MALFORMED_REQUEST",
    "UNAUTHORIZED",
    "JOB_NOT_FOUND",
    "ROUTE_NOT_FOUND",
    "METHOD_NOT_ALLOWED",
    "REQUEST_TIMEOUT",
    "JOB_NOT_COMPLETED",
    "JOB_ALREADY_FINISHED",
    "RESULT_DELETED",
    "IMAGE_TOO_LARGE",
    "VIDEO_TOO_LARGE",
    "AUDIO_TOO_LARGE",
    "BODY_TOO_LARGE",
    "URL_TOO_LONG",
    "UNSUPPORTED_MEDIA_TYPE",
    "IDEMPOTENCY_KEY_REUSED",
    "NOT_OFFERED",
    "CLIENT_GONE",
    "TOO_MANY_REQUESTS",
    "TOO_MANY_JOBS",
    "GPU_SECONDS_EXHAUSTED",
    "BUDGET_EXHAUSTED",
    "QUEUE_FULL",
    "SERVICE_BUDGET_EXHAUSTED",
    "BROKER_UNAVAILABLE",
    "STORE_UNAVAILABLE",
    "PROVIDER_UNAVAILABLE",
    "ORCHESTRATOR_UNAVAILABLE",
    "STORAGE_FULL",
    "DRAINING",
    "UNEXPECTED",
    "INPUT_GONE",
    "RENDER_FAILED",
    "RENDER_BROKEN",
    "RENDER_PROCESS_DIED",
    "GPU_OUT_OF_MEMORY",
    "DEADLINE_EXCEEDED",
    "UPLOAD_FAILED",
    "OUTPUT_INVALID",
    "WORKER_LOST",
    "QUEUE_TIMEOUT",
    "PUBLISH_REFUSED",
    "FOREIGN_OBJECT",
    "OBJECT_MISSING",
    "INVALID_MESSAGE",
]


FAILURES: Final[dict[FailureCode, Literal["caller", "us", "dependency"]]] = {
    "IMAGE_MISSING": "caller",
    "AUDIO_MISSING": "caller",
    "INVALID_IMAGE_FORMAT": "caller",
    "IMAGE_UNREADABLE": "caller",
    "IMAGE_DIMENSIONS": "caller",
    "INVALID_VIDEO_FORMAT": "caller",
    "VIDEO_UNREADABLE": "caller",
    "VIDEO_TOO_LONG": "caller",
    "INVALID_AUDIO_FORMAT": "caller",
    "AUDIO_UNREADABLE": "caller",
    "AUDIO_EMPTY": "caller",
    "AUDIO_TOO_LONG": "caller",
    "SPEAKER_NOT_FOUND": "caller",
    "FACE_TURNED": "caller",
    "FACE_TOO_SMALL": "caller",
    "NO_FACE": "caller",
    "FACE_UNUSABLE": "caller",
    "INVALID_REQUEST": "caller",
    "MALFORMED_MULTIPART": "caller",
    "MALFORMED_REQUEST": "caller",
    "UNAUTHORIZED": "caller",
    "JOB_NOT_FOUND": "caller",
    "ROUTE_NOT_FOUND": "caller",
    "METHOD_NOT_ALLOWED": "caller",
    "REQUEST_TIMEOUT": "caller",
    "JOB_NOT_COMPLETED": "caller",
    "JOB_ALREADY_FINISHED": "caller",
    "RESULT_DELETED": "caller",
    "IMAGE_TOO_LARGE": "caller",
    "VIDEO_TOO_LARGE": "caller",
    "AUDIO_TOO_LARGE": "caller",
    "BODY_TOO_LARGE": "caller",
    "URL_TOO_LONG": "caller",
    "UNSUPPORTED_MEDIA_TYPE": "caller",
    "IDEMPOTENCY_KEY_REUSED": "caller",
    "NOT_OFFERED": "caller",
    "CLIENT_GONE": "caller",
    "TOO_MANY_REQUESTS": "caller",
    "TOO_MANY_JOBS": "caller",
    "GPU_SECONDS_EXHAUSTED": "caller",
    "BUDGET_EXHAUSTED": "caller",
    "QUEUE_FULL": "us",
    "SERVICE_BUDGET_EXHAUSTED": "us",
    "BROKER_UNAVAILABLE": "dependency",
    "STORE_UNAVAILABLE": "dependency",
    "PROVIDER_UNAVAILABLE": "dependency",
    "ORCHESTRATOR_UNAVAILABLE": "us",
    "STORAGE_FULL": "us",
    "DRAINING": "dependency",
    "UNEXPECTED": "us",
    "INPUT_GONE": "us",
    "RENDER_FAILED": "us",
    "RENDER_BROKEN": "us",
    "RENDER_PROCESS_DIED": "us",
    "GPU_OUT_OF_MEMORY": "us",
    "DEADLINE_EXCEEDED": "us",
    "UPLOAD_FAILED": "dependency",
    "OUTPUT_INVALID": "us",
    "WORKER_LOST": "us",
    "QUEUE_TIMEOUT": "us",
    "PUBLISH_REFUSED": "us",
    "FOREIGN_OBJECT": "caller",
    "OBJECT_MISSING": "caller",
    "INVALID_MESSAGE": "caller",
}
"""Whom each failure blames, which decides the level at which it is logged."""


LOG_KEYS: Final = frozenset(
    (
        "time",
        "level",
        "service",
        "msg",
        "traceId",
        "jobId",
        "attempt",
        "workerId",
        "owner",
        "subject",
        "code",
        "blame",
        "requestId",
        "route",
        "method",
        "status",
        "durationMs",
        "err",
        "count",
        "reason",
        "state",
        "isNew",
        "changed",
        "tries",
        "answer",
        "retryAfterMs",
        "objects",
        "done",
        "fault",
        "chunk",
        "degraded",
        "loop",
        "phase",
        "signal",
        "origin",
        "problems",
        "config",
        "wakeId",
        "pool",
        "day",
        "provider",
        "wanted",
        "engine",
        "facts",
        "secondsPerVideoSecond",
        "incarnation",
        "exitStatus",
        "pid",
        "metricsPort",
        "bucket",
        "consumer",
        "sequence",
        "aheadMs",
        "jumpedByMs",
        "text",
        "lines",
        "logger",
        "details",
    )
)
"""The keys that a line of the log may have."""

LOG_LINE_MAX_BYTES: Final = 16384
"""The most bytes of a line, its newline included."""


JobId = Annotated[
    str,
    Field(
        pattern=r"^([0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[1-8][0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}|00000000-0000-0000-0000-000000000000|ffffffff-ffff-ffff-ffff-ffffffffffff)$"
    ),
]
"""The id of a job, a UUID."""

Owner = Annotated[str, Field(pattern=r"^(o_[0-9A-Za-z]{12}|[a-z][a-z0-9-]{1,31})$")]
"""Whom a job belongs to: a key owner or a publisher."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""SHA-256 in lower-case hexadecimal."""

Traceparent = Annotated[str, Field(pattern=r"^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")]
"""W3C trace context, version 00."""


class FrameSize(WireModel):
    """Width and height in pixels."""

    width: PositiveInt
    height: PositiveInt


class OfferedQuality(WireModel):
    """A quality that a worker renders, and how fast."""

    quality: Literal["draft", "standard", "high"]
    seconds_per_video_second: PositiveFloat


class Offers(WireModel):
    """What a worker can do."""

    qualities: Annotated[list[OfferedQuality], Field(max_length=3)]
    speakers: Annotated[int, Field(ge=1, le=2)]
    video: bool


class NextRequest(WireModel):
    """A worker asks for the next job."""

    worker_id: Annotated[str, Field(min_length=1, max_length=100)]
    incarnation: Annotated[str, Field(min_length=1, max_length=100)]
    ask: Annotated[str, Field(min_length=1, max_length=64)]
    pool: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
    seconds_per_video_second: PositiveFloat
    offers: Offers | None = Field(default=None, exclude_if=is_none)
    is_idle: bool
    wait_ms: Annotated[float, Field(ge=0, le=60000)]


class ClaimRequest(WireModel):
    """A worker asks for fresh URLs of the inputs of an attempt in hand."""

    job_id: JobId
    owner: Owner
    worker_id: Annotated[str, Field(min_length=1, max_length=100)]
    incarnation: Annotated[str, Field(min_length=1, max_length=100)]
    epoch: PositiveInt


class PresignedInput(WireModel):
    """One input of a job, fetched by a short-lived URL and checked."""

    url: Url
    bytes: PositiveInt
    sha256: Sha256


class PresignedVoice(WireModel):
    """A voice that drives one mouth, from so many seconds after the start on."""

    url: Url
    bytes: PositiveInt
    sha256: Sha256
    start_seconds: NonNegativeFloat


class FaceBox(WireModel):
    """A part of the picture, in shares of its width and height."""

    left: Annotated[float, Field(ge=0, le=1)]
    top: Annotated[float, Field(ge=0, le=1)]
    right: Annotated[float, Field(ge=0, le=1)]
    bottom: Annotated[float, Field(ge=0, le=1)]


class RenderOptions(WireModel):
    """What a job asks for beyond its media; what it did not ask for is left out."""

    quality: Literal["draft", "standard", "high"] | None = Field(default=None, exclude_if=is_none)
    aspect: Literal["auto", "16:9", "9:16", "1:1", "4:5", "5:4", "2:3", "3:2"] | None = Field(
        default=None, exclude_if=is_none
    )
    speaker: Annotated[int, Field(ge=0, le=7)] | FaceBox | None = Field(
        default=None, exclude_if=is_none
    )
    speakers: Annotated[list[FaceBox], Field(max_length=2)] | None = Field(
        default=None, exclude_if=is_none
    )
    speaking: Literal["together", "in_turn", "turns"] | None = Field(
        default=None, exclude_if=is_none
    )
    lead_seconds: NonNegativeFloat | None = Field(default=None, exclude_if=is_none)
    tail_seconds: NonNegativeFloat | None = Field(default=None, exclude_if=is_none)
    expressiveness: PositiveFloat | None = Field(default=None, exclude_if=is_none)
    camera: Literal["auto", "still", "drift"] | None = Field(default=None, exclude_if=is_none)
    video_length: Literal["audio", "shorter", "video"] | None = Field(
        default=None, exclude_if=is_none
    )
    video_end: Literal["hold", "pingpong"] | None = Field(default=None, exclude_if=is_none)


class RenderOrder(WireModel):
    """The job is yours, under this epoch."""

    answer: Literal["render"] = "render"
    job_id: JobId
    owner: Owner
    epoch: PositiveInt
    image: PresignedInput
    audio: PresignedInput
    voices: Annotated[list[PresignedVoice], Field(max_length=2)] | None = Field(
        default=None, exclude_if=is_none
    )
    source: PresignedInput | None = Field(default=None, exclude_if=is_none)
    prompt: str
    seed: NonNegativeInt
    frames: PositiveInt
    delivery: FrameSize
    how: RenderOptions | None = Field(default=None, exclude_if=is_none)
    deadline_seconds: PositiveFloat
    traceparent: Traceparent


class NextNone(WireModel):
    """The next answer `none`."""

    answer: Literal["none"] = "none"


NextAnswer = Annotated[
    RenderOrder | NextNone,
    Field(discriminator="answer"),
]
"""`render`: yours. `none`: no job may start now; ask again."""


class ClaimLost(WireModel):
    """The claim answer `lost`."""

    answer: Literal["lost"] = "lost"


ClaimAnswer = Annotated[
    RenderOrder | ClaimLost,
    Field(discriminator="answer"),
]
"""`render`: the same order with fresh URLs. `lost`: the attempt is not yours any more."""


class StoreRequest(WireModel):
    """A worker asks for permission to upload."""

    job_id: JobId
    owner: Owner
    worker_id: Annotated[str, Field(min_length=1, max_length=100)]
    epoch: PositiveInt
    bytes: PositiveInt
    sha256: Sha256


class StoreGrant(WireModel):
    """The store answer `grant`."""

    answer: Literal["grant"] = "grant"
    key: str
    url: Url
    headers: dict[str, str]


class StoreStop(WireModel):
    """The store answer `stop`."""

    answer: Literal["stop"] = "stop"


class StoreLost(WireModel):
    """The store answer `lost`."""

    answer: Literal["lost"] = "lost"


class StoreDrop(WireModel):
    """The store answer `drop`."""

    answer: Literal["drop"] = "drop"


StoreAnswer = Annotated[
    StoreGrant | StoreStop | StoreLost | StoreDrop,
    Field(discriminator="answer"),
]
"""`grant`: PUT with exactly these headers. `stop`: cancelled. `lost`: not yours. `drop`: ended."""


class RequestError(WireModel):
    """The request could not be answered; ask again."""

    answer: Literal["error"] = "error"
    code: str


class HelloRequest(WireModel):
    """A worker asks whether to stay, before it loads anything."""

    worker_id: Annotated[str, Field(min_length=1, max_length=100)]
    incarnation: Annotated[str, Field(min_length=1, max_length=100)]
    pool: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
    wake_id: Annotated[str, Field(pattern=r"^[0-9a-f]{24}$")] | None = Field(
        default=None, exclude_if=is_none
    )
    release: Annotated[str, Field(min_length=1, max_length=100)] | None = Field(
        default=None, exclude_if=is_none
    )
    gpu: Annotated[str, Field(min_length=1, max_length=100)] | None = Field(
        default=None, exclude_if=is_none
    )
    contracts: PositiveInt


class HelloWork(WireModel):
    """The hello answer `work`."""

    answer: Literal["work"] = "work"
    idle_seconds: NonNegativeFloat
    lifetime_seconds: NonNegativeFloat
    wake_id: Annotated[str, Field(pattern=r"^[0-9a-f]{24}$")] | None = Field(
        default=None, exclude_if=is_none
    )


class HelloLeave(WireModel):
    """The hello answer `leave`."""

    answer: Literal["leave"] = "leave"
    reason: Annotated[str, Field(min_length=1, max_length=200)]


HelloAnswer = Annotated[
    HelloWork | HelloLeave,
    Field(discriminator="answer"),
]
"""`work`: load and take jobs; 0 seconds stand for no limit. `leave`: nobody needs it; end at once."""


class StopOrder(WireModel):
    """Stop this attempt and forget it."""

    job_id: JobId
    epoch: NonNegativeInt


class DrainOrder(WireModel):
    """Finish the job in hand, take no other, and leave."""

    reason: Annotated[str, Field(min_length=1, max_length=200)]


class EngineFacts(WireModel):
    """What an engine found and uses, once it is loaded."""

    device: Annotated[str, Field(max_length=100)]
    precision: Annotated[str, Field(max_length=100)]
    attention_backend: Annotated[str, Field(max_length=100)]
    peak_memory_bytes: NonNegativeInt
    details: dict[str, Annotated[str, Field(max_length=200)]]


class HeldJob(WireModel):
    """One job that a worker holds."""

    job_id: JobId
    owner: Owner
    epoch: PositiveInt
    stage: Literal["fetching", "ready", "rendering", "spooled", "uploading", "uploaded", "ended"]
    percent: Annotated[float, Field(ge=0, le=100)]
    rendered_for_seconds: NonNegativeFloat
    deadline_seconds: PositiveFloat
    gpu_seconds: NonNegativeFloat | None = Field(default=None, exclude_if=is_none)
    remaining_seconds: NonNegativeFloat | None = Field(default=None, exclude_if=is_none)


class PaceKey(WireModel):
    """What renders are compared by: engine, size and device."""

    engine: Annotated[str, Field(min_length=1, max_length=64)]
    size: Annotated[str, Field(min_length=1, max_length=32)]
    device: Annotated[str, Field(min_length=1, max_length=100)]
    frames_per_chunk: PositiveInt


class WorkerTime(WireModel):
    """How one incarnation of a worker has spent its time so far."""

    loading_seconds: NonNegativeFloat
    idle_seconds: NonNegativeFloat
    rendering_seconds: NonNegativeFloat


class Gpu(WireModel):
    """What the driver tells of one GPU; a query that it does not support leaves its field out."""

    index: NonNegativeInt
    name: Annotated[str, Field(max_length=100)]
    uuid: Annotated[str, Field(max_length=100)]
    utilization: Annotated[float, Field(ge=0, le=1)] | None = Field(
        default=None, exclude_if=is_none
    )
    memory_used_bytes: NonNegativeInt | None = Field(default=None, exclude_if=is_none)
    memory_total_bytes: NonNegativeInt | None = Field(default=None, exclude_if=is_none)
    temperature_celsius: float | None = Field(default=None, exclude_if=is_none)
    power_watts: NonNegativeFloat | None = Field(default=None, exclude_if=is_none)
    is_throttled: bool | None = Field(default=None, exclude_if=is_none)


class StartStage(WireModel):
    """How long one stage of a start took, or has taken so far."""

    stage: Literal["wake", "spawn", "weights", "engine", "calibrate", "total"]
    seconds: NonNegativeFloat


class Loading(WireModel):
    """What a worker is loading, and how much of it is done."""

    part: Annotated[str, Field(min_length=1, max_length=100)]
    percent: Annotated[float, Field(ge=0, le=100)]


class WorkerCounts(WireModel):
    """What a worker did from its start to its end."""

    jobs: NonNegativeInt
    busy_seconds: NonNegativeFloat
    loading_seconds: NonNegativeFloat
    idle_seconds: NonNegativeFloat


class Beat(WireModel):
    """The heartbeat of a worker: registry, liveness and progress in one."""

    worker_id: Annotated[str, Field(min_length=1, max_length=100)]
    incarnation: Annotated[str, Field(min_length=1, max_length=100)]
    engine: Annotated[str, Field(min_length=1, max_length=64)]
    release: Annotated[str, Field(min_length=1, max_length=100)] | None = Field(
        default=None, exclude_if=is_none
    )
    engine_facts: EngineFacts | None = Field(default=None, exclude_if=is_none)
    state: Literal["loading", "ready", "rendering", "draining", "gone"]
    trouble: Annotated[str, Field(min_length=1, max_length=500)] | None = Field(
        default=None, exclude_if=is_none
    )
    seconds_per_video_second: float | None
    pool: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")] | None = Field(
        default=None, exclude_if=is_none
    )
    pace_key: PaceKey | None = Field(default=None, exclude_if=is_none)
    offers: Offers | None = Field(default=None, exclude_if=is_none)
    time: WorkerTime | None = Field(default=None, exclude_if=is_none)
    idle_seconds: NonNegativeFloat | None = Field(default=None, exclude_if=is_none)
    wake_id: Annotated[str, Field(pattern=r"^[0-9a-f]{24}$")] | None = Field(
        default=None, exclude_if=is_none
    )
    loading: Loading | None = Field(default=None, exclude_if=is_none)
    counts: WorkerCounts | None = Field(default=None, exclude_if=is_none)
    gpus: Annotated[list[Gpu], Field(max_length=16)] | None = Field(
        default=None, exclude_if=is_none
    )
    startup: Annotated[list[StartStage], Field(max_length=6)] | None = Field(
        default=None, exclude_if=is_none
    )
    starting: StartStage | None = Field(default=None, exclude_if=is_none)
    disk_free: Annotated[float, Field(ge=0, le=1)] | None = Field(default=None, exclude_if=is_none)
    at_ms: NonNegativeInt
    jobs: Annotated[list[HeldJob], Field(max_length=64)]


class JobWarning(WireModel):
    """A doubt about an input: what was found, what was done, and how to get a better video."""

    code: Annotated[str, Field(max_length=40)]
    message: Annotated[str, Field(max_length=400)]


class Used(WireModel):
    """The GPU time of one attempt, and what it was used for."""

    gpu_seconds: NonNegativeFloat
    size: Annotated[str, Field(max_length=32)] | None = Field(default=None, exclude_if=is_none)
    engine: Annotated[str, Field(max_length=64)] | None = Field(default=None, exclude_if=is_none)
    device: Annotated[str, Field(max_length=100)] | None = Field(default=None, exclude_if=is_none)
    frames_per_chunk: PositiveInt | None = Field(default=None, exclude_if=is_none)
    seconds_per_video_second: PositiveFloat | None = Field(default=None, exclude_if=is_none)
    is_resumed: bool | None = Field(default=None, exclude_if=is_none)


class Sampling(WireModel):
    """How a model of diffusion made a video."""

    quality: Literal["draft", "standard", "high"]
    recipe: Annotated[str, Field(max_length=64)]
    steps: PositiveInt
    forwards: PositiveInt


class Rendered(WireModel):
    """What a worker reports about a rendered video; all of it is shown on the result."""

    key: str
    bytes: PositiveInt
    sha256: Sha256
    width: PositiveInt
    height: PositiveInt
    frames: PositiveInt
    fps: PositiveInt
    video_seconds: PositiveFloat
    engine: Annotated[str, Field(max_length=64)]
    engine_facts: EngineFacts | None = Field(default=None, exclude_if=is_none)
    generation: FrameSize
    sampling: Sampling | None = Field(default=None, exclude_if=is_none)
    degraded: bool
    resumed: bool | None = Field(default=None, exclude_if=is_none)
    render_seconds: NonNegativeFloat
    warnings: Annotated[list[JobWarning], Field(max_length=6)] | None = Field(
        default=None, exclude_if=is_none
    )
    checks: dict[str, float] | None = Field(default=None, exclude_if=is_none)


class RenderStarted(WireModel):
    """The attempt's first forward pass began."""

    type: Literal["render.started"] = "render.started"
    job_id: JobId
    owner: Owner
    epoch: NonNegativeInt
    revision: NonNegativeInt
    at_ms: NonNegativeInt
    worker_id: str


class RenderCompleted(WireModel):
    """The video is uploaded."""

    type: Literal["render.completed"] = "render.completed"
    job_id: JobId
    owner: Owner
    epoch: NonNegativeInt
    revision: NonNegativeInt
    at_ms: NonNegativeInt
    worker_id: str
    used: Used | None = Field(default=None, exclude_if=is_none)
    rendered: Rendered
    render_started_at_ms: NonNegativeInt
    render_ended_at_ms: NonNegativeInt


class RenderFailed(WireModel):
    """The attempt failed; the code's outcome decides whether another may follow."""

    type: Literal["render.failed"] = "render.failed"
    job_id: JobId
    owner: Owner
    epoch: NonNegativeInt
    revision: NonNegativeInt
    at_ms: NonNegativeInt
    worker_id: str
    used: Used | None = Field(default=None, exclude_if=is_none)
    code: FailureCode
    message: Annotated[str, Field(max_length=1000)]


class RenderReleased(WireModel):
    """The worker hands the attempt back; it does not count."""

    type: Literal["render.released"] = "render.released"
    job_id: JobId
    owner: Owner
    epoch: NonNegativeInt
    revision: NonNegativeInt
    at_ms: NonNegativeInt
    worker_id: str
    used: Used | None = Field(default=None, exclude_if=is_none)


class RenderCancelled(WireModel):
    """The worker stopped the attempt on request."""

    type: Literal["render.cancelled"] = "render.cancelled"
    job_id: JobId
    owner: Owner
    epoch: NonNegativeInt
    revision: NonNegativeInt
    at_ms: NonNegativeInt
    worker_id: str
    used: Used | None = Field(default=None, exclude_if=is_none)


RenderEvent = RenderStarted | RenderCompleted | RenderFailed | RenderReleased | RenderCancelled
"""Every event that a worker publishes."""


def event_id(event: RenderEvent) -> str:
    """The `Nats-Msg-Id`: JetStream stores an event of an attempt once per duplicate window."""
    return f"{event.job_id}:{event.type}:{event.epoch}"


@dataclass(frozen=True)
class Timings:
    """Every wait and backoff, in seconds; the contracts say what each is for."""

    beat_every_seconds: float = 2
    beat_spacing_seconds: float = 0.25
    silent_after_seconds: float = 30
    watch_every_seconds: float = 2
    watch_round_trip_seconds: float = 1
    watch_gap_seconds: float = 10
    watch_grace_seconds: float = 45
    overdue_after_seconds: float = 30
    handler_ack_wait_seconds: float = 30
    handler_backoff_seconds: float = 1
    handler_backoff_max_seconds: float = 30
    store_away_nak_seconds: float = 5
    request_timeout_seconds: float = 3
    ask_park_seconds: float = 2
    ask_extra_seconds: float = 1
    ask_again_seconds: float = 1
    ask_grace_seconds: float = 0.5
    suspended_after_seconds: float = 2
    listen_after_seconds: float = 15
    claim_write_seconds: float = 2
    trouble_again_seconds: float = 10
    ended_named_seconds: float = 60
    high_head_start_seconds: float = 60
    quota_again_seconds: float = 15
    worker_posting_every_seconds: float = 60
    death_backoff_seconds: float = 1
    death_backoff_max_seconds: float = 8
    prefetch_before_end_seconds: float = 15
    scale_every_seconds: float = 5
    scaler_lease_seconds: float = 15
    scale_quiet_seconds: float = 15
    ring_again_seconds: float = 30
    wake_deadline_seconds: float = 600
    wake_silent_seconds: float = 60
    hello_again_seconds: float = 2
    hello_give_up_seconds: float = 60
    ring_backoff_seconds: float = 30
    ring_backoff_max_seconds: float = 300
    provider_timeout_seconds: float = 10
    survey_every_seconds: float = 3600
    survey_after_silence_seconds: float = 43200
    survey_again_seconds: float = 60
    no_capacity_after_seconds: float = 600
    other_gpus_for_seconds: float = 3600
    sign_of_life_every_seconds: float = 172800
    bill_closed_after_seconds: float = 21600
    bill_again_seconds: float = 3600
    input_again_seconds: float = 2
    store_again_seconds: float = 3
    report_again_seconds: float = 150
    upload_backoff_seconds: float = 1
    upload_pause_seconds: float = 10
    upload_give_up_seconds: float = 7200
    transfer_stall_seconds: float = 30
    lifetime_reserve_seconds: float = 60
    drain_grace_seconds: float = 25
    take_order_seconds: float = 10
    obey_stop_seconds: float = 3
    engine_load_seconds: float = 1200
    reload_backoff_seconds: float = 1
    reload_backoff_max_seconds: float = 10
    room_again_seconds: float = 5
    request_head_seconds: float = 20
    upload_idle_seconds: float = 30
    upload_seconds: float = 1800
    publish_at_door_seconds: float = 2
    publish_in_pass_seconds: float = 10
    store_at_door_seconds: float = 30
    admission_seconds: float = 600
    reconcile_every_seconds: float = 60
    pending_stale_seconds: float = 60
    behind_seconds: float = 30
    view_check_every_seconds: float = 3600
    queue_timeout_seconds: float = 86400
    sweep_every_seconds: float = 3600
    orphan_age_seconds: float = 3600
    api_key_cache_seconds: float = 2
    event_token_seconds: float = 900
    repeated_failure_seconds: float = 60
    end_missing_seconds: float = 60


def scaled_timings(divisor: float) -> Timings:
    """The same timings, `divisor` times shorter: tests run with 10. Never below a millisecond."""
    whole = Timings()
    return Timings(
        **{each.name: max(0.001, getattr(whole, each.name) / divisor) for each in fields(whole)}
    )


UPLOAD_TRIES: Final = 4
"""How often an upload is tried in a row before the render waits in the spool."""

FRAMES_PER_SECOND: Final = 25
"""Frames per second of every delivered video."""

AUDIO_SILENT_PEAK: Final = 0.001
"""A peak below this share of full scale is silence."""

AUDIO_QUIET_PEAK: Final = 0.0316
"""A voice that stays below this peak is raised, and the caller warned."""

AUDIO_MAX_SECONDS: Final = 300
"""The longest voice that is accepted."""

DEADLINE_FACTOR: Final = 1.5
"""How long a render may take, as a multiple of its estimate."""

DEADLINE_MIN_SECONDS: Final = 600
"""The shortest deadline of a render, unless the orchestrator is set up otherwise."""

MESSAGE_MAX_BYTES: Final = 65536
"""The largest message that any stream accepts."""

BEAT_MAX_JOBS: Final = 64
"""The most jobs that one heartbeat can name."""

CONTRACTS_NUMBER: Final = 1
"""The number of what workers and services say to each other, which a worker tells at hello."""


def next_subject(pool: str) -> str:
    """The subject of a pool's workers that ask for their next job."""
    return f"ctl.request.next.{pool}"


def claim_subject(pool: str) -> str:
    """The subject of a pool's workers that ask for fresh URLs."""
    return f"ctl.request.claim.{pool}"


def store_subject(pool: str) -> str:
    """The subject of a pool's workers that ask for permission to upload."""
    return f"ctl.request.store.{pool}"


def hello_subject(pool: str) -> str:
    """The subject of a pool's workers that ask whether to stay."""
    return f"ctl.request.hello.{pool}"


def event_subject(event: RenderEvent) -> str:
    """The subject of an event."""
    return f"evt.{event.type}.{event.job_id}"


def beat_subject(worker_id: str) -> str:
    """The subject of a worker's heartbeats."""
    return f"beat.{worker_id}"


def spans_subject(worker_id: str) -> str:
    """The subject of a worker's spans."""
    return f"telemetry.spans.{worker_id}"


def stop_subject(worker_id: str) -> str:
    """The subject of stop orders for a worker."""
    return f"ctl.stop.{worker_id}"


def drain_subject(worker_id: str) -> str:
    """The subject of the order to a worker to leave."""
    return f"ctl.drain.{worker_id}"


EVENTS_STREAM: Final = "EVENTS"
EVENTS_STREAM_SUBJECT: Final = "evt.>"

NATS_USER: Final = "sidecar"

POOL_USER_PREFIX: Final = "pool-"
"""What the NATS users of pools are called."""


def inbox_prefix(user: str) -> str:
    """Of one user alone, so that no other can read its replies."""
    return f"_INBOX_{user}"


PUBLISH_PERMISSIONS: Final = (
    "evt.render.*.*",
    "beat.*",
    "telemetry.spans.*",
    "ctl.request.next.*",
    "ctl.request.claim.*",
    "ctl.request.store.*",
    "ctl.request.hello.*",
)
"""The subjects that the broker lets this service publish to."""

SUBSCRIBE_PERMISSIONS: Final = (
    "_INBOX_sidecar.>",
    "ctl.stop.*",
    "ctl.drain.*",
)
"""The subjects that the broker lets this service subscribe to."""


SPAN_JOB: Final = "job"
SPAN_QUEUE: Final = "queue"
SPAN_ATTEMPT: Final = "attempt"
SPAN_READ_UPLOAD: Final = "read upload"
SPAN_CHECK_IMAGE: Final = "check image"
SPAN_CHECK_AUDIO: Final = "check audio"
SPAN_STORE_IMAGE: Final = "store image"
SPAN_STORE_AUDIO: Final = "store audio"
SPAN_CREATE_RECORD: Final = "create record"
SPAN_ANSWER_CLAIM: Final = "answer claim"
SPAN_ANSWER_STORE: Final = "answer store"
SPAN_VERIFY: Final = "verify"
SPAN_DELETE_OBJECTS: Final = "delete objects"
SPAN_FETCH_IMAGE: Final = "fetch image"
SPAN_FETCH_AUDIO: Final = "fetch audio"
SPAN_WAIT_FOR_ENGINE: Final = "wait for the engine"
SPAN_RENDER: Final = "render"
SPAN_PREPARE: Final = "prepare"
SPAN_CHUNK: Final = "chunk"
SPAN_FINISH_FILE: Final = "finish file"
SPAN_UPLOAD: Final = "upload"
SPAN_START_WORKER: Final = "start worker"
SPAN_SPAWN: Final = "spawn"
SPAN_WEIGHTS: Final = "weights"
SPAN_ENGINE: Final = "engine"
SPAN_CALIBRATE: Final = "calibrate"

ATTRIBUTE_JOB_ID: Final = "avatar.job.id"
ATTRIBUTE_ATTEMPT: Final = "avatar.attempt"
ATTRIBUTE_OWNER: Final = "avatar.owner"
ATTRIBUTE_DOOR: Final = "avatar.door"
ATTRIBUTE_STATE: Final = "avatar.state"
ATTRIBUTE_ANSWER: Final = "avatar.answer"
ATTRIBUTE_OUTCOME: Final = "avatar.outcome"
ATTRIBUTE_CODE: Final = "avatar.code"
ATTRIBUTE_BLAME: Final = "avatar.blame"
ATTRIBUTE_ATTEMPTS: Final = "avatar.attempts"
ATTRIBUTE_AUDIO_SECONDS: Final = "avatar.audio_seconds"
ATTRIBUTE_COST_USD: Final = "avatar.cost_usd"
ATTRIBUTE_START: Final = "avatar.start"
ATTRIBUTE_WORKER: Final = "avatar.worker"
ATTRIBUTE_ENGINE: Final = "avatar.engine"
ATTRIBUTE_ENGINE_STATE: Final = "avatar.engine_state"
ATTRIBUTE_SIZE: Final = "avatar.size"
ATTRIBUTE_FRAMES: Final = "avatar.frames"
ATTRIBUTE_DEGRADED: Final = "avatar.degraded"
ATTRIBUTE_RESUMED_CHUNKS: Final = "avatar.resumed_chunks"
ATTRIBUTE_CHUNK: Final = "avatar.chunk"
ATTRIBUTE_STEPS: Final = "avatar.steps"
ATTRIBUTE_BYTES: Final = "avatar.bytes"
ATTRIBUTE_TRIES: Final = "avatar.tries"
ATTRIBUTE_FAULT: Final = "avatar.fault"
ATTRIBUTE_DELIVERY: Final = "avatar.delivery"
ATTRIBUTE_OBJECTS: Final = "avatar.objects"
ATTRIBUTE_LATE_SECONDS: Final = "avatar.late_seconds"
ATTRIBUTE_ERROR_TYPE: Final = "error.type"
ATTRIBUTE_HTTP_METHOD: Final = "http.request.method"
ATTRIBUTE_HTTP_ROUTE: Final = "http.route"
ATTRIBUTE_HTTP_STATUS: Final = "http.response.status_code"
ATTRIBUTE_HTTP_RESEND_COUNT: Final = "http.request.resend_count"
ATTRIBUTE_MESSAGING_SYSTEM: Final = "messaging.system"
ATTRIBUTE_MESSAGING_OPERATION: Final = "messaging.operation.name"
ATTRIBUTE_MESSAGING_TYPE: Final = "messaging.operation.type"
ATTRIBUTE_MESSAGING_TEMPLATE: Final = "messaging.destination.template"
ATTRIBUTE_MESSAGING_ID: Final = "messaging.message.id"
ATTRIBUTE_MESSAGING_CONSUMER: Final = "messaging.consumer.group.name"
ATTRIBUTE_GEN_AI_OPERATION: Final = "gen_ai.operation.name"
ATTRIBUTE_GEN_AI_PROVIDER: Final = "gen_ai.provider.name"
ATTRIBUTE_GEN_AI_MODEL: Final = "gen_ai.request.model"
ATTRIBUTE_GEN_AI_SEED: Final = "gen_ai.request.seed"
ATTRIBUTE_GEN_AI_OUTPUT: Final = "gen_ai.output.type"

SPAN_LIMIT_ATTRIBUTES_PER_SPAN: Final = 64
SPAN_LIMIT_CHARACTERS_PER_VALUE: Final = 512
SPAN_LIMIT_CHUNKS_PER_RENDER: Final = 200
SPAN_LIMIT_SPANS_PER_MESSAGE: Final = 64
SPAN_LIMIT_BYTES_PER_MESSAGE: Final = 49152
