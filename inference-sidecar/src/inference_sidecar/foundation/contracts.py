"""What the sidecar says and hears on the wire, and the numbers both languages share.

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
    """An optional field without a value is left out; the other side knows no null there."""
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


@dataclass(frozen=True)
class Failure:
    """outcome: whether trying again may help; summary: one sentence for the caller."""

    outcome: Literal["reject", "retry"]
    summary: str


FAILURES: Final[dict[FailureCode, Failure]] = {
    "IMAGE_MISSING": Failure(
        "reject",
        'Send the portrait as the multipart file field "image".',
    ),
    "AUDIO_MISSING": Failure(
        "reject",
        'Send the voice recording as the multipart file field "audio".',
    ),
    "INVALID_IMAGE_FORMAT": Failure(
        "reject",
        "Image must be PNG or JPEG.",
    ),
    "IMAGE_UNREADABLE": Failure(
        "reject",
        "The image could not be decoded; export it again as PNG or JPEG.",
    ),
    "IMAGE_DIMENSIONS": Failure(
        "reject",
        "The image must be 128 to 8192 pixels on each side and at most 40 megapixels; resize it.",
    ),
    "INVALID_AUDIO_FORMAT": Failure(
        "reject",
        "Audio must be WAV or MP3.",
    ),
    "AUDIO_UNREADABLE": Failure(
        "reject",
        "The audio could not be decoded; export it again as WAV or MP3.",
    ),
    "AUDIO_EMPTY": Failure(
        "reject",
        "The audio is silent or shorter than 0.2 seconds; record it again.",
    ),
    "AUDIO_TOO_LONG": Failure(
        "reject",
        "Audio must be at most 5 minutes long; cut it into parts.",
    ),
    "NO_FACE": Failure(
        "reject",
        "No face was found in the image; send a frontal portrait of one person.",
    ),
    "INVALID_REQUEST": Failure(
        "reject",
        "A field of the request is not valid; see details.",
    ),
    "MALFORMED_MULTIPART": Failure(
        "reject",
        "The multipart body is incomplete or malformed; send it again.",
    ),
    "MALFORMED_REQUEST": Failure(
        "reject",
        "The request is not valid HTTP; check the URL and the headers.",
    ),
    "UNAUTHORIZED": Failure(
        "reject",
        'Send a valid API key as "Authorization: Bearer <key>".',
    ),
    "JOB_NOT_FOUND": Failure(
        "reject",
        "No such job.",
    ),
    "ROUTE_NOT_FOUND": Failure(
        "reject",
        "No such route; /docs lists them all.",
    ),
    "JOB_NOT_COMPLETED": Failure(
        "reject",
        "The job has no result; /status shows its state.",
    ),
    "JOB_ALREADY_FINISHED": Failure(
        "reject",
        "The job has already finished and cannot be cancelled.",
    ),
    "RESULT_DELETED": Failure(
        "reject",
        "The result was deleted at the end of its retention; submit the job again.",
    ),
    "IMAGE_TOO_LARGE": Failure(
        "reject",
        "The image must be at most 10 MB.",
    ),
    "AUDIO_TOO_LARGE": Failure(
        "reject",
        "The audio must be at most 50 MB.",
    ),
    "BODY_TOO_LARGE": Failure(
        "reject",
        "The request body is too large.",
    ),
    "URL_TOO_LONG": Failure(
        "reject",
        "The URL is too long.",
    ),
    "UNSUPPORTED_MEDIA_TYPE": Failure(
        "reject",
        "Send the request as multipart/form-data.",
    ),
    "IDEMPOTENCY_KEY_REUSED": Failure(
        "reject",
        "This Idempotency-Key was used for another request; choose a new key.",
    ),
    "TOO_MANY_REQUESTS": Failure(
        "retry",
        "Too many requests; try again after Retry-After.",
    ),
    "BROKER_UNAVAILABLE": Failure(
        "retry",
        "The queue did not answer. It is safe to retry with the same Idempotency-Key.",
    ),
    "STORE_UNAVAILABLE": Failure(
        "retry",
        "Storage did not answer. It is safe to retry with the same Idempotency-Key.",
    ),
    "ORCHESTRATOR_UNAVAILABLE": Failure(
        "retry",
        "The orchestrator did not answer; try again.",
    ),
    "STORAGE_FULL": Failure(
        "retry",
        "There is not enough disk space for the upload right now; try again.",
    ),
    "DRAINING": Failure(
        "retry",
        "This instance is shutting down; try again.",
    ),
    "UNEXPECTED": Failure(
        "retry",
        "Something went wrong on our side.",
    ),
    "INPUT_GONE": Failure(
        "reject",
        "The inputs of the job are gone; submit it again.",
    ),
    "RENDER_FAILED": Failure(
        "retry",
        "The engine could not render the job.",
    ),
    "RENDER_PROCESS_DIED": Failure(
        "retry",
        "The render process died.",
    ),
    "GPU_OUT_OF_MEMORY": Failure(
        "reject",
        "The job does not fit into GPU memory, even at a smaller size.",
    ),
    "DEADLINE_EXCEEDED": Failure(
        "reject",
        "The render passed its deadline.",
    ),
    "UPLOAD_FAILED": Failure(
        "reject",
        "The finished video could not be stored; submit the job again.",
    ),
    "OUTPUT_INVALID": Failure(
        "retry",
        "The stored video differs from the one that was rendered.",
    ),
    "WORKER_LOST": Failure(
        "retry",
        "The workers that took the job stopped responding.",
    ),
    "QUEUE_TIMEOUT": Failure(
        "reject",
        "No worker took the job in time; submit it again.",
    ),
    "PUBLISH_REFUSED": Failure(
        "reject",
        "The broker permanently rejected one of our messages.",
    ),
    "FOREIGN_OBJECT": Failure(
        "reject",
        "The event names an object outside the intake folder of its publisher.",
    ),
    "OBJECT_MISSING": Failure(
        "reject",
        "The event names an object that does not exist.",
    ),
    "INVALID_MESSAGE": Failure(
        "reject",
        "The message does not follow its schema.",
    ),
}
"""Every way a request or a job can fail. The code decides the rest."""


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
    """Claim answer that says `later`."""

    answer: Literal["later"] = "later"
    delay_ms: NonNegativeInt


class ClaimDrop(WireModel):
    """Claim answer that says `drop`."""

    answer: Literal["drop"] = "drop"


ClaimAnswer = Annotated[
    RenderOrder | ClaimLater | ClaimDrop,
    Field(discriminator="answer"),
]
"""`render`: yours. `later`: nak with this delay. `drop`: terminal, ack the entry."""


class StoreRequest(WireModel):
    """A worker asks for leave to upload."""

    job_id: JobId
    owner: Owner
    worker_id: Annotated[str, Field(min_length=1, max_length=100)]
    epoch: PositiveInt
    bytes: PositiveInt
    sha256: Sha256


class StoreGrant(WireModel):
    """Store answer that says `grant`."""

    answer: Literal["grant"] = "grant"
    key: str
    url: Url
    headers: dict[str, str]


class StoreStop(WireModel):
    """Store answer that says `stop`."""

    answer: Literal["stop"] = "stop"


class StoreLost(WireModel):
    """Store answer that says `lost`."""

    answer: Literal["lost"] = "lost"


class StoreDrop(WireModel):
    """Store answer that says `drop`."""

    answer: Literal["drop"] = "drop"


StoreAnswer = Annotated[
    StoreGrant | StoreStop | StoreLost | StoreDrop,
    Field(discriminator="answer"),
]
"""`grant`: PUT, exactly these headers. `stop`: cancelled. `lost`: not yours. `drop`: terminal."""


class RequestError(WireModel):
    """No answer could be given; ask again."""

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
    """One job in a worker's hands."""

    job_id: JobId
    owner: Owner
    epoch: PositiveInt
    stage: Literal["fetching", "ready", "rendering", "spooled", "uploading", "uploaded"]
    percent: Annotated[float, Field(ge=0, le=100)]
    rendered_for_seconds: NonNegativeFloat
    deadline_seconds: PositiveFloat


class Beat(WireModel):
    """Registry, liveness and progress in one."""

    worker_id: Annotated[str, Field(min_length=1, max_length=100)]
    incarnation: Annotated[str, Field(min_length=1, max_length=100)]
    engine: Annotated[str, Field(min_length=1, max_length=64)]
    engine_facts: EngineFacts | None = Field(default=None, exclude_if=is_none)
    state: Literal["loading", "ready", "rendering", "draining"]
    seconds_per_video_second: float | None
    at_ms: NonNegativeInt
    jobs: Annotated[list[HeldJob], Field(max_length=64)]


class Rendered(WireModel):
    """What a worker says of a video it rendered; everything here is shown on the result."""

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
    """The attempt's first forward began."""

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
    """The worker hands the attempt back, nothing counted."""

    type: Literal["render.released"] = "render.released"
    job_id: JobId
    owner: Owner
    epoch: NonNegativeInt
    revision: NonNegativeInt
    at_ms: NonNegativeInt
    worker_id: str


class RenderCancelled(WireModel):
    """The worker stopped the attempt because it was told to."""

    type: Literal["render.cancelled"] = "render.cancelled"
    job_id: JobId
    owner: Owner
    epoch: NonNegativeInt
    revision: NonNegativeInt
    at_ms: NonNegativeInt
    worker_id: str


class DeadLetter(WireModel):
    """A message as it was, and why it is here."""

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
"""Everything a worker may state as a fact."""


def event_id(event: RenderEvent) -> str:
    """The `Nats-Msg-Id`: the same fact of the same attempt is stored once per window."""
    return f"{event.job_id}:{event.type}:{event.epoch}"


@dataclass(frozen=True)
class Timings:
    """Every wait and back-off, in seconds. What each is for stands in the contracts."""

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
"""How many times a claim is asked before the entry is handed back."""

UPLOAD_TRIES: Final = 4
"""How many times an upload is tried before it is spooled and offered again later."""

FRAMES_PER_SECOND: Final = 25
"""Frames a second of every delivered video."""

MESSAGE_MAX_BYTES: Final = 65536
"""The longest message any stream takes."""

BEAT_MAX_JOBS: Final = 64
"""As many jobs a beat can name."""


CLAIM_SUBJECT: Final = "ctl.request.claim"
STORE_SUBJECT: Final = "ctl.request.store"


def event_subject(event: RenderEvent) -> str:
    """Where a fact is published."""
    return f"evt.{event.type}.{event.job_id}"


def gpu_work_subject(job_id: str) -> str:
    """Where the queue entry of a job lies."""
    return f"gpu.work.standard.normal.{job_id}"


def beat_subject(worker_id: str) -> str:
    """Where a worker says that it lives."""
    return f"beat.{worker_id}"


def stop_subject(worker_id: str) -> str:
    """Where a worker is told to stop an attempt."""
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
JOB_BUCKET: Final = "job"

NATS_USER: Final = "sidecar"
INBOX_PREFIX: Final = "_INBOX_sidecar"
"""Its own, so that no other service can read the answers to this one."""

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
"""All that the broker lets this service publish to."""

SUBSCRIBE_PERMISSIONS: Final = (
    "_INBOX_sidecar.>",
    "ctl.stop.*",
)
"""All that the broker lets this service hear."""
