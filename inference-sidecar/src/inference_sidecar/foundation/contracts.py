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
    "INVALID_AUDIO_FORMAT",
    "AUDIO_UNREADABLE",
    "AUDIO_EMPTY",
    "AUDIO_TOO_LONG",
    "NO_FACE",
    "INVALID_REQUEST",
    "MALFORMED_MULTIPART",
    "MALFORMED_REQUEST",
    "UNAUTHORIZED",
    "JOB_NOT_FOUND",
    "ROUTE_NOT_FOUND",
    "JOB_NOT_COMPLETED",
    "JOB_ALREADY_FINISHED",
    "RESULT_DELETED",
    "IMAGE_TOO_LARGE",
    "AUDIO_TOO_LARGE",
    "BODY_TOO_LARGE",
    "URL_TOO_LONG",
    "UNSUPPORTED_MEDIA_TYPE",
    "IDEMPOTENCY_KEY_REUSED",
    "TOO_MANY_REQUESTS",
    "BROKER_UNAVAILABLE",
    "STORE_UNAVAILABLE",
    "ORCHESTRATOR_UNAVAILABLE",
    "STORAGE_FULL",
    "DRAINING",
    "UNEXPECTED",
    "INPUT_GONE",
    "RENDER_FAILED",
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
    "INVALID_AUDIO_FORMAT": "caller",
    "AUDIO_UNREADABLE": "caller",
    "AUDIO_EMPTY": "caller",
    "AUDIO_TOO_LONG": "caller",
    "NO_FACE": "caller",
    "INVALID_REQUEST": "caller",
    "MALFORMED_MULTIPART": "caller",
    "MALFORMED_REQUEST": "caller",
    "UNAUTHORIZED": "caller",
    "JOB_NOT_FOUND": "caller",
    "ROUTE_NOT_FOUND": "caller",
    "JOB_NOT_COMPLETED": "caller",
    "JOB_ALREADY_FINISHED": "caller",
    "RESULT_DELETED": "caller",
    "IMAGE_TOO_LARGE": "caller",
    "AUDIO_TOO_LARGE": "caller",
    "BODY_TOO_LARGE": "caller",
    "URL_TOO_LONG": "caller",
    "UNSUPPORTED_MEDIA_TYPE": "caller",
    "IDEMPOTENCY_KEY_REUSED": "caller",
    "TOO_MANY_REQUESTS": "caller",
    "BROKER_UNAVAILABLE": "dependency",
    "STORE_UNAVAILABLE": "dependency",
    "ORCHESTRATOR_UNAVAILABLE": "us",
    "STORAGE_FULL": "us",
    "DRAINING": "dependency",
    "UNEXPECTED": "us",
    "INPUT_GONE": "us",
    "RENDER_FAILED": "us",
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


class GpuEntry(WireModel):
    """One entry of the GPU queue: names a job."""

    job_id: JobId
    owner: Owner


class ClaimRequest(WireModel):
    """A worker asks for a job it pulled."""

    job_id: JobId
    owner: Owner
    worker_id: Annotated[str, Field(min_length=1, max_length=100)]
    incarnation: Annotated[str, Field(min_length=1, max_length=100)]
    seconds_per_video_second: PositiveFloat


class PresignedInput(WireModel):
    """One input of a job, fetched by a short-lived URL and checked."""

    url: Url
    bytes: PositiveInt
    sha256: Sha256


class RenderOrder(WireModel):
    """The job is yours, under this epoch."""

    answer: Literal["render"] = "render"
    epoch: PositiveInt
    image: PresignedInput
    audio: PresignedInput
    prompt: str
    seed: NonNegativeInt
    frames: PositiveInt
    delivery: FrameSize
    deadline_seconds: PositiveFloat
    traceparent: Traceparent


class ClaimLater(WireModel):
    """The claim answer `later`."""

    answer: Literal["later"] = "later"
    delay_ms: NonNegativeInt


class ClaimDrop(WireModel):
    """The claim answer `drop`."""

    answer: Literal["drop"] = "drop"


ClaimAnswer = Annotated[
    RenderOrder | ClaimLater | ClaimDrop,
    Field(discriminator="answer"),
]
"""`render`: yours. `later`: nak with this delay. `drop`: the job has ended, ack the entry."""


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


class StopOrder(WireModel):
    """Stop this attempt and forget it."""

    job_id: JobId
    epoch: NonNegativeInt


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
    stage: Literal["fetching", "ready", "rendering", "spooled", "uploading", "uploaded"]
    percent: Annotated[float, Field(ge=0, le=100)]
    rendered_for_seconds: NonNegativeFloat
    deadline_seconds: PositiveFloat


class Beat(WireModel):
    """The heartbeat of a worker: registry, liveness and progress in one."""

    worker_id: Annotated[str, Field(min_length=1, max_length=100)]
    incarnation: Annotated[str, Field(min_length=1, max_length=100)]
    engine: Annotated[str, Field(min_length=1, max_length=64)]
    engine_facts: EngineFacts | None = Field(default=None, exclude_if=is_none)
    state: Literal["loading", "ready", "rendering", "draining"]
    seconds_per_video_second: float | None
    at_ms: NonNegativeInt
    jobs: Annotated[list[HeldJob], Field(max_length=64)]


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
    degraded: bool
    render_seconds: NonNegativeFloat


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


class RenderCancelled(WireModel):
    """The worker stopped the attempt on request."""

    type: Literal["render.cancelled"] = "render.cancelled"
    job_id: JobId
    owner: Owner
    epoch: NonNegativeInt
    revision: NonNegativeInt
    at_ms: NonNegativeInt
    worker_id: str


class DeadLetter(WireModel):
    """A message that could not be handled, as it was, and the reason."""

    stream: str
    consumer: str
    subject: str
    sequence: NonNegativeInt
    reason: str
    code: str
    details: dict[str, object] | None = Field(default=None, exclude_if=is_none)
    payload: str
    at_ms: NonNegativeInt


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
    gpu_ack_wait_seconds: float = 45
    in_progress_every_seconds: float = 10
    handler_ack_wait_seconds: float = 30
    handler_backoff_seconds: float = 1
    handler_backoff_max_seconds: float = 30
    store_away_nak_seconds: float = 5
    request_timeout_seconds: float = 3
    claim_again_seconds: float = 2
    later_nak_seconds: float = 10
    after_failure_nak_seconds: float = 2
    death_backoff_seconds: float = 1
    death_backoff_max_seconds: float = 8
    prefetch_before_end_seconds: float = 15
    input_again_seconds: float = 2
    store_again_seconds: float = 3
    report_again_seconds: float = 150
    upload_backoff_seconds: float = 1
    upload_pause_seconds: float = 10
    upload_give_up_seconds: float = 7200
    transfer_stall_seconds: float = 30
    drain_grace_seconds: float = 25
    obey_stop_seconds: float = 3
    engine_load_seconds: float = 1200
    reload_backoff_seconds: float = 1
    reload_backoff_max_seconds: float = 10
    room_again_seconds: float = 5
    publish_at_door_seconds: float = 2
    publish_in_pass_seconds: float = 10
    store_at_door_seconds: float = 30
    admission_seconds: float = 600
    reconcile_every_seconds: float = 60
    pending_stale_seconds: float = 60
    entry_missing_seconds: float = 30
    queue_timeout_seconds: float = 86400
    sweep_every_seconds: float = 3600
    orphan_age_seconds: float = 3600
    api_key_cache_seconds: float = 2


def scaled_timings(divisor: float) -> Timings:
    """The same timings, `divisor` times shorter: tests run with 10. Never below a millisecond."""
    whole = Timings()
    return Timings(
        **{each.name: max(0.001, getattr(whole, each.name) / divisor) for each in fields(whole)}
    )


CLAIM_TRIES: Final = 4
"""How often a claim is requested before the entry is handed back."""

UPLOAD_TRIES: Final = 4
"""How often an upload is tried in a row before the render waits in the spool."""

FRAMES_PER_SECOND: Final = 25
"""Frames per second of every delivered video."""

MESSAGE_MAX_BYTES: Final = 65536
"""The largest message that any stream accepts."""

BEAT_MAX_JOBS: Final = 64
"""The most jobs that one heartbeat can name."""


CLAIM_SUBJECT: Final = "ctl.request.claim"
STORE_SUBJECT: Final = "ctl.request.store"


def event_subject(event: RenderEvent) -> str:
    """The subject of an event."""
    return f"evt.{event.type}.{event.job_id}"


def gpu_work_subject(job_id: str) -> str:
    """The subject of a job's queue entry."""
    return f"gpu.work.standard.normal.{job_id}"


def beat_subject(worker_id: str) -> str:
    """The subject of a worker's heartbeats."""
    return f"beat.{worker_id}"


def stop_subject(worker_id: str) -> str:
    """The subject of stop orders for a worker."""
    return f"ctl.stop.{worker_id}"


GPU_STREAM: Final = "GPU"
GPU_STREAM_SUBJECT: Final = "gpu.work.>"
GPU_CONSUMER: Final = "standard-normal"
GPU_CONSUMER_FILTER: Final = "gpu.work.standard.normal.*"
GPU_MAX_ACK_PENDING: Final = 2000
GPU_DEAD_LETTER_SUBJECT: Final = "dlq.gpu.standard-normal"
EVENTS_STREAM: Final = "EVENTS"
EVENTS_STREAM_SUBJECT: Final = "evt.>"
DLQ_STREAM: Final = "DLQ"
DLQ_STREAM_SUBJECT: Final = "dlq.>"

NATS_USER: Final = "sidecar"
INBOX_PREFIX: Final = "_INBOX_sidecar"
"""Of this service alone, so that no other service can read its replies."""

PUBLISH_PERMISSIONS: Final = (
    "evt.render.*.*",
    "beat.*",
    "ctl.request.claim",
    "ctl.request.store",
    "dlq.gpu.>",
    "$JS.API.CONSUMER.INFO.GPU.standard-normal",
    "$JS.API.CONSUMER.MSG.NEXT.GPU.standard-normal",
    "$JS.ACK.GPU.standard-normal.>",
)
"""The subjects that the broker lets this service publish to."""

SUBSCRIBE_PERMISSIONS: Final = (
    "_INBOX_sidecar.>",
    "ctl.stop.*",
)
"""The subjects that the broker lets this service subscribe to."""
