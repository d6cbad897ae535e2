import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import {
  beatSchema,
  buckets,
  claimAnswerSchema,
  claimRequestSchema,
  claimTries,
  consumers,
  deadLetterSchema,
  type EventType,
  engineFactsSchema,
  eventId,
  eventSchemas,
  failureCodes,
  failures,
  framesPerSecond,
  gpuEntrySchema,
  heldJobSchema,
  inboxPrefix,
  jobIdSchema,
  limits,
  ownerSchema,
  presignedInputSchema,
  renderedSchema,
  renderOrderSchema,
  requestErrorSchema,
  servicePermissions,
  sha256Schema,
  sizeSchema,
  stopOrderSchema,
  storeAnswerSchema,
  storeRequestSchema,
  streams,
  subjects,
  timings,
  traceparentSchema,
  uploadTries,
  wireName,
} from '@avatar/contracts'
import type { GeneratedFiles } from './generated-files.ts'
import { type PythonModel, renderPythonModels, snake } from './python-models.ts'

const path = 'inference-sidecar/src/inference_sidecar/foundation/contracts.py'

/** What the sidecar speaks, in the order of the Python file: a shape stands before its users. */
const models: readonly PythonModel[] = [
  { name: 'JobId', schema: jobIdSchema, doc: 'The id of a job, a UUID.' },
  { name: 'Owner', schema: ownerSchema, doc: 'Whom a job belongs to: a key owner or a publisher.' },
  { name: 'Sha256', schema: sha256Schema, doc: 'SHA-256 in lower-case hexadecimal.' },
  { name: 'Traceparent', schema: traceparentSchema, doc: 'W3C trace context, version 00.' },
  { name: 'FrameSize', schema: sizeSchema, doc: 'Width and height in pixels.' },
  { name: 'GpuEntry', schema: gpuEntrySchema, doc: 'One entry of the GPU queue: names a job.' },
  { name: 'ClaimRequest', schema: claimRequestSchema, doc: 'A worker asks for a job it pulled.' },
  {
    name: 'PresignedInput',
    schema: presignedInputSchema,
    doc: 'One input of a job, fetched by a short-lived URL and checked.',
  },
  { name: 'RenderOrder', schema: renderOrderSchema, doc: 'The job is yours, under this epoch.' },
  {
    name: 'ClaimAnswer',
    schema: claimAnswerSchema,
    doc: '`render`: yours. `later`: nak with this delay. `drop`: terminal, ack the entry.',
  },
  { name: 'StoreRequest', schema: storeRequestSchema, doc: 'A worker asks for leave to upload.' },
  {
    name: 'StoreAnswer',
    schema: storeAnswerSchema,
    doc: '`grant`: PUT, exactly these headers. `stop`: cancelled. `lost`: not yours. `drop`: terminal.',
  },
  { name: 'RequestError', schema: requestErrorSchema, doc: 'No answer could be given; ask again.' },
  { name: 'StopOrder', schema: stopOrderSchema, doc: 'Stop this attempt and forget it.' },
  {
    name: 'EngineFacts',
    schema: engineFactsSchema,
    doc: 'What an engine found and uses, once it is loaded.',
  },
  { name: 'HeldJob', schema: heldJobSchema, doc: "One job in a worker's hands." },
  { name: 'Beat', schema: beatSchema, doc: 'Registry, liveness and progress in one.' },
  {
    name: 'Rendered',
    schema: renderedSchema,
    doc: 'What a worker says of a video it rendered; everything here is shown on the result.',
  },
  ...renderEvents(),
  { name: 'DeadLetter', schema: deadLetterSchema, doc: 'A message as it was, and why it is here.' },
]

/** The Python twin of the contracts, for the sidecar. */
export function writePythonContracts(): GeneratedFiles {
  const sections = [
    head,
    renderFailures(),
    renderPythonModels(models, { FailureCode: failureCodes }),
    renderEventUnion(),
    renderTimings(),
    renderSubjects(),
    renderBroker(),
  ]
  return { [path]: formatted(sections.map((section) => section.trim()).join('\n\n\n')) }
}

/** As `npm run fix` would leave it. */
function formatted(source: string): string {
  const ruff = join(import.meta.dirname, '../../.venv/bin/ruff')
  return execFileSync(ruff, ['format', '--isolated', '--line-length', '100', '-'], {
    input: source,
    encoding: 'utf8',
  })
}

const head = `
"""What the sidecar says and hears on the wire, and the numbers both languages share.

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
`

function renderEventTypes(): EventType[] {
  const types = Object.keys(eventSchemas) as EventType[] // Object.keys forgets the keys.
  return types.filter((type) => type.startsWith('render.'))
}

function renderEvents(): PythonModel[] {
  const docs: Partial<Record<EventType, string>> = {
    'render.started': "The attempt's first forward began.",
    'render.completed': 'The video is uploaded.',
    'render.failed': "The attempt failed; the code's outcome decides whether another may follow.",
    'render.released': 'The worker hands the attempt back, nothing counted.',
    'render.cancelled': 'The worker stopped the attempt because it was told to.',
  }
  return renderEventTypes().map((type) => {
    const doc = docs[type]
    if (!doc) throw new Error(`${type} needs a docstring in scripts/generate/python-contracts.ts`)
    return { name: wireName(type), schema: eventSchemas[type], doc }
  })
}

function renderEventUnion(): string {
  const names = renderEventTypes().map(wireName)
  const id = eventId({
    type: '{event.type}' as EventType, // Placeholders of a Python f-string.
    jobId: '{event.job_id}',
    epoch: '{event.epoch}' as unknown as number,
  })
  return `
RenderEvent = ${names.join(' | ')}
"""Everything a worker may state as a fact."""


def event_id(event: RenderEvent) -> str:
    """The \`Nats-Msg-Id\`: the same fact of the same attempt is stored once per window."""
    return f"${id}"
`
}

function renderFailures(): string {
  const codes = Object.keys(failures).map((code) => `    "${code}",`)
  const rows = Object.entries(failures).map(
    ([code, { outcome, summary }]) =>
      `    "${code}": Failure(\n        "${outcome}",\n        ${JSON.stringify(summary)},\n    ),`,
  )
  return `
FailureCode = Literal[
${codes.join('\n')}
]


@dataclass(frozen=True)
class Failure:
    """outcome: whether trying again may help; summary: one sentence for the caller."""

    outcome: Literal["reject", "retry"]
    summary: str


FAILURES: Final[dict[FailureCode, Failure]] = {
${rows.join('\n')}
}
"""Every way a request or a job can fail. The code decides the rest."""
`
}

function renderTimings(): string {
  const rows = Object.entries(timings).map(
    ([name, ms]) => `    ${snake(name.replace(/Ms$/, 'Seconds'))}: float = ${ms / 1000}`,
  )
  return `
@dataclass(frozen=True)
class Timings:
    """Every wait and back-off, in seconds. What each is for stands in the contracts."""

${rows.join('\n')}


def scaled_timings(divisor: float) -> Timings:
    """The same timings, \`divisor\` times shorter: tests run with 10. Never below a millisecond."""
    whole = Timings()
    return Timings(
        **{each.name: max(0.001, getattr(whole, each.name) / divisor) for each in fields(whole)}
    )


CLAIM_TRIES: Final = ${claimTries}
"""How many times a claim is asked before the entry is handed back."""

UPLOAD_TRIES: Final = ${uploadTries}
"""How many times an upload is tried before it is spooled and offered again later."""

FRAMES_PER_SECOND: Final = ${framesPerSecond}
"""Frames a second of every delivered video."""

MESSAGE_MAX_BYTES: Final = ${limits.messageMaxBytes}
"""The longest message any stream takes."""

BEAT_MAX_JOBS: Final = ${limits.beatMaxJobs}
"""As many jobs a beat can name."""
`
}

function renderSubjects(): string {
  return `
CLAIM_SUBJECT: Final = "${subjects.claim}"
STORE_SUBJECT: Final = "${subjects.store}"


def event_subject(event: RenderEvent) -> str:
    """Where a fact is published."""
    return f"${subjects.event('{event.type}' as EventType, '{event.job_id}')}"


def gpu_work_subject(job_id: str) -> str:
    """Where the queue entry of a job lies."""
    return f"${subjects.gpuWork('{job_id}')}"


def beat_subject(worker_id: str) -> str:
    """Where a worker says that it lives."""
    return f"${subjects.beat('{worker_id}')}"


def stop_subject(worker_id: str) -> str:
    """Where a worker is told to stop an attempt."""
    return f"${subjects.stop('{worker_id}')}"
`
}

function renderBroker(): string {
  const { gpu } = consumers(timings)
  const { publish, subscribe } = servicePermissions.sidecar
  const list = (items: readonly string[]) => items.map((item) => `    "${item}",`).join('\n')
  return `
GPU_STREAM: Final = "${gpu.stream}"
GPU_STREAM_SUBJECT: Final = "${streams.GPU.subjects[0]}"
GPU_CONSUMER: Final = "${gpu.name}"
GPU_CONSUMER_FILTER: Final = "${gpu.filters[0]}"
GPU_MAX_ACK_PENDING: Final = ${gpu.maxAckPending}
GPU_DEAD_LETTER_SUBJECT: Final = "${subjects.deadLetter(gpu.stream, gpu.name)}"
EVENTS_STREAM: Final = "${streams.EVENTS.name}"
EVENTS_STREAM_SUBJECT: Final = "${streams.EVENTS.subjects[0]}"
DLQ_STREAM: Final = "${streams.DLQ.name}"
DLQ_STREAM_SUBJECT: Final = "${streams.DLQ.subjects[0]}"
JOB_BUCKET: Final = "${buckets.job.name}"

NATS_USER: Final = "sidecar"
INBOX_PREFIX: Final = "${inboxPrefix('sidecar')}"
"""Its own, so that no other service can read the answers to this one."""

PUBLISH_PERMISSIONS: Final = (
${list(publish)}
)
"""All that the broker lets this service publish to."""

SUBSCRIBE_PERMISSIONS: Final = (
${list(subscribe)}
)
"""All that the broker lets this service hear."""
`
}
