import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import {
  contractsNumber,
  deadlineFactor,
  deadlineMinSeconds,
  type EventType,
  engineFactsSchema,
  eventId,
  eventSchemas,
  faceBoxSchema,
  failureCodes,
  failures,
  framesPerSecond,
  gpuSchema,
  heldJobSchema,
  inboxPrefix,
  jobIdSchema,
  limits,
  loadingSchema,
  logLineMaxBytes,
  logLineSchema,
  offeredQualitySchema,
  offersSchema,
  ownerSchema,
  paceKeySchema,
  poolUserPrefix,
  presignedInputSchema,
  presignedVoiceSchema,
  renderedSchema,
  renderOptionsSchema,
  renderOrderSchema,
  samplingSchema,
  servicePermissions,
  sha256Schema,
  sizeSchema,
  spanAttributes,
  spanLimits,
  spanNames,
  startStageSchema,
  streams,
  subjects,
  timings,
  traceparentSchema,
  uploadTries,
  usedSchema,
  warningSchema,
  wireName,
  wireSchemas,
  workerCountsSchema,
  workerTimeSchema,
} from '@avatar/contracts'
import type { z } from 'zod'
import type { GeneratedFiles } from './generated-files.ts'
import { renderPythonModels, snake } from './python-models.ts'

const path = 'inference-sidecar/src/inference_sidecar/foundation/contracts.py'

/** Shapes that are part of a message and no message of their own. */
const parts = {
  JobId: jobIdSchema,
  Owner: ownerSchema,
  Sha256: sha256Schema,
  Traceparent: traceparentSchema,
  FrameSize: sizeSchema,
  OfferedQuality: offeredQualitySchema,
  Offers: offersSchema,
  PresignedInput: presignedInputSchema,
  PresignedVoice: presignedVoiceSchema,
  FaceBox: faceBoxSchema,
  RenderOptions: renderOptionsSchema,
  RenderOrder: renderOrderSchema,
  EngineFacts: engineFactsSchema,
  HeldJob: heldJobSchema,
  PaceKey: paceKeySchema,
  WorkerTime: workerTimeSchema,
  Gpu: gpuSchema,
  StartStage: startStageSchema,
  Loading: loadingSchema,
  WorkerCounts: workerCountsSchema,
  Used: usedSchema,
  JobWarning: warningSchema,
  Sampling: samplingSchema,
  Rendered: renderedSchema,
}

/** Docstrings in the order of the Python file: each shape stands before those that use it. */
const docs = {
  JobId: 'The id of a job, a UUID.',
  Owner: 'Whom a job belongs to: a key owner or a publisher.',
  Sha256: 'SHA-256 in lower-case hexadecimal.',
  Traceparent: 'W3C trace context, version 00.',
  FrameSize: 'Width and height in pixels.',
  OfferedQuality: 'A quality that a worker renders, and how fast.',
  Offers: 'What a worker can do.',
  NextRequest: 'A worker asks for the next job.',
  ClaimRequest: 'A worker asks for fresh URLs of the inputs of an attempt in hand.',
  PresignedInput: 'One input of a job, fetched by a short-lived URL and checked.',
  PresignedVoice: 'A voice that drives one mouth, from so many seconds after the start on.',
  FaceBox: 'A part of the picture, in shares of its width and height.',
  RenderOptions: 'What a job asks for beyond its media; what it did not ask for is left out.',
  RenderOrder: 'The job is yours, under this epoch.',
  NextAnswer: '`render`: yours. `none`: no job may start now; ask again.',
  ClaimAnswer:
    '`render`: the same order with fresh URLs. `lost`: the attempt is not yours any more.',
  StoreRequest: 'A worker asks for permission to upload.',
  StoreAnswer:
    '`grant`: PUT with exactly these headers. `stop`: cancelled. `lost`: not yours. `drop`: ended.',
  RequestError: 'The request could not be answered; ask again.',
  HelloRequest: 'A worker asks whether to stay, before it loads anything.',
  HelloAnswer:
    '`work`: load and take jobs; 0 seconds stand for no limit. `leave`: nobody needs it; end at once.',
  StopOrder: 'Stop this attempt and forget it.',
  DrainOrder: 'Finish the job in hand, take no other, and leave.',
  EngineFacts: 'What an engine found and uses, once it is loaded.',
  HeldJob: 'One job that a worker holds.',
  PaceKey: 'What renders are compared by: engine, size and device.',
  WorkerTime: 'How one incarnation of a worker has spent its time so far.',
  Gpu: 'What the driver tells of one GPU; a query that it does not support leaves its field out.',
  StartStage: 'How long one stage of a start took, or has taken so far.',
  Loading: 'What a worker is loading, and how much of it is done.',
  WorkerCounts: 'What a worker did from its start to its end.',
  Beat: 'The heartbeat of a worker: registry, liveness and progress in one.',
  JobWarning:
    'A doubt about an input: what was found, what was done, and how to get a better video.',
  Used: 'The GPU time of one attempt, and what it was used for.',
  Sampling: 'How a model of diffusion made a video.',
  Rendered: 'What a worker reports about a rendered video; all of it is shown on the result.',
  RenderStarted: "The attempt's first forward pass began.",
  RenderCompleted: 'The video is uploaded.',
  RenderFailed: "The attempt failed; the code's outcome decides whether another may follow.",
  RenderReleased: 'The worker hands the attempt back; it does not count.',
  RenderCancelled: 'The worker stopped the attempt on request.',
}

/** The contracts in Python, for the sidecar. */
export function writePythonContracts(): GeneratedFiles {
  const schemas: Readonly<Record<string, z.ZodType>> = { ...wireSchemas, ...parts }
  const models = Object.entries(docs).map(([name, doc]) => {
    const schema = schemas[name]
    if (!schema) throw new Error(`there is no shape named ${name}`)
    return { name, schema, doc }
  })
  const sections = [
    head,
    renderFailures(),
    renderLogLine(),
    renderPythonModels(models, { FailureCode: failureCodes }),
    renderEventUnion(),
    renderTimings(),
    renderSubjects(),
    renderBroker(),
    renderSpans(),
  ]
  return { [path]: formatted(sections.map((section) => section.trim()).join('\n\n\n')) }
}

/** The source as `npm run fix` would format it. */
export function formatted(source: string): string {
  const ruff = join(import.meta.dirname, '../../.venv/bin/ruff')
  return execFileSync(ruff, ['format', '--isolated', '--line-length', '100', '-'], {
    input: source,
    encoding: 'utf8',
  })
}

const head = `
"""The messages that the sidecar sends and receives, and the numbers both languages share.

Generated from \`contracts/src\` by \`npm run generate\`. Do not edit.

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
Url = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9+.-]*:\\S+$")]


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
`

function renderEventUnion(): string {
  const types = Object.keys(eventSchemas).filter((type) => type.startsWith('render.'))
  const names = types.map(wireName)
  const id = eventId({
    type: '{event.type}' as EventType, // Placeholders of a Python f-string.
    jobId: '{event.job_id}',
    epoch: '{event.epoch}' as unknown as number,
  })
  return `
RenderEvent = ${names.join(' | ')}
"""Every event that a worker publishes."""


def event_id(event: RenderEvent) -> str:
    """The \`Nats-Msg-Id\`: JetStream stores an event of an attempt once per duplicate window."""
    return f"${id}"
`
}

function renderFailures(): string {
  const codes = Object.keys(failures).map((code) => `    "${code}",`)
  const rows = Object.entries(failures).map(([code, { blame }]) => `    "${code}": "${blame}",`)
  return `
FailureCode = Literal[
${codes.join('\n')}
]


FAILURES: Final[dict[FailureCode, Literal["caller", "us", "dependency"]]] = {
${rows.join('\n')}
}
"""Whom each failure blames, which decides the level at which it is logged."""
`
}

function renderLogLine(): string {
  const names = Object.keys(logLineSchema.shape)
  return `
LOG_KEYS: Final = frozenset(
    (
${names.map((name) => `        "${name}",`).join('\n')}
    )
)
"""The keys that a line of the log may have."""

LOG_LINE_MAX_BYTES: Final = ${logLineMaxBytes}
"""The most bytes of a line, its newline included."""
`
}

function renderTimings(): string {
  const rows = Object.entries(timings).map(
    ([name, ms]) => `    ${snake(name.replace(/Ms$/, 'Seconds'))}: float = ${ms / 1000}`,
  )
  return `
@dataclass(frozen=True)
class Timings:
    """Every wait and backoff, in seconds; the contracts say what each is for."""

${rows.join('\n')}


def scaled_timings(divisor: float) -> Timings:
    """The same timings, \`divisor\` times shorter: tests run with 10. Never below a millisecond."""
    whole = Timings()
    return Timings(
        **{each.name: max(0.001, getattr(whole, each.name) / divisor) for each in fields(whole)}
    )


UPLOAD_TRIES: Final = ${uploadTries}
"""How often an upload is tried in a row before the render waits in the spool."""

FRAMES_PER_SECOND: Final = ${framesPerSecond}
"""Frames per second of every delivered video."""

AUDIO_SILENT_PEAK: Final = ${limits.audioSilentPeak}
"""A peak below this share of full scale is silence."""

AUDIO_QUIET_PEAK: Final = ${limits.audioQuietPeak}
"""A voice that stays below this peak is raised, and the caller warned."""

AUDIO_MAX_SECONDS: Final = ${limits.audioMaxSeconds}
"""The longest voice that is accepted."""

DEADLINE_FACTOR: Final = ${deadlineFactor}
"""How long a render may take, as a multiple of its estimate."""

DEADLINE_MIN_SECONDS: Final = ${deadlineMinSeconds}
"""The shortest deadline of a render, unless the orchestrator is set up otherwise."""

MESSAGE_MAX_BYTES: Final = ${limits.messageMaxBytes}
"""The largest message that any stream accepts."""

BEAT_MAX_JOBS: Final = ${limits.beatMaxJobs}
"""The most jobs that one heartbeat can name."""

CONTRACTS_NUMBER: Final = ${contractsNumber}
"""The number of what workers and services say to each other, which a worker tells at hello."""
`
}

function renderSubjects(): string {
  return `
def next_subject(pool: str) -> str:
    """The subject of a pool's workers that ask for their next job."""
    return f"${subjects.next('{pool}')}"


def claim_subject(pool: str) -> str:
    """The subject of a pool's workers that ask for fresh URLs."""
    return f"${subjects.claim('{pool}')}"


def store_subject(pool: str) -> str:
    """The subject of a pool's workers that ask for permission to upload."""
    return f"${subjects.store('{pool}')}"


def hello_subject(pool: str) -> str:
    """The subject of a pool's workers that ask whether to stay."""
    return f"${subjects.hello('{pool}')}"


def event_subject(event: RenderEvent) -> str:
    """The subject of an event."""
    return f"${subjects.event('{event.type}' as EventType, '{event.job_id}')}"


def beat_subject(worker_id: str) -> str:
    """The subject of a worker's heartbeats."""
    return f"${subjects.beat('{worker_id}')}"


def spans_subject(worker_id: str) -> str:
    """The subject of a worker's spans."""
    return f"${subjects.spans('{worker_id}')}"


def stop_subject(worker_id: str) -> str:
    """The subject of stop orders for a worker."""
    return f"${subjects.stop('{worker_id}')}"


def drain_subject(worker_id: str) -> str:
    """The subject of the order to a worker to leave."""
    return f"${subjects.drain('{worker_id}')}"
`
}

function renderSpans(): string {
  const constants = (prefix: string, values: Readonly<Record<string, string | number>>) =>
    Object.entries(values)
      .map(
        ([name, value]) =>
          `${prefix}_${snake(name).toUpperCase()}: Final = ${JSON.stringify(value)}`,
      )
      .join('\n')
  return `
${constants('SPAN', spanNames)}

${constants('ATTRIBUTE', spanAttributes)}

${constants('SPAN_LIMIT', spanLimits)}
`
}

function renderBroker(): string {
  const { publish, subscribe } = servicePermissions.sidecar
  const list = (items: readonly string[]) => items.map((item) => `    "${item}",`).join('\n')
  return `
EVENTS_STREAM: Final = "${streams.EVENTS.name}"
EVENTS_STREAM_SUBJECT: Final = "${streams.EVENTS.subjects[0]}"

NATS_USER: Final = "sidecar"

POOL_USER_PREFIX: Final = "${poolUserPrefix}"
"""What the NATS users of pools are called."""


def inbox_prefix(user: str) -> str:
    """Of one user alone, so that no other can read its replies."""
    return f"${inboxPrefix('{user}')}"



PUBLISH_PERMISSIONS: Final = (
${list(publish)}
)
"""The subjects that the broker lets this service publish to."""

SUBSCRIBE_PERMISSIONS: Final = (
${list(subscribe)}
)
"""The subjects that the broker lets this service subscribe to."""
`
}
