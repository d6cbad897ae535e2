import { z } from 'zod'
import { blames, type FailureCode, failureCodes, failures } from './failures.ts'

/** The most bytes of a line, its newline included. */
export const logLineMaxBytes = 16_384

/** From the quietest to the loudest, and what each is for. */
export const logLevels = {
  trace: 'what only a developer of this line wants to see',
  debug: 'for developers: what is expected, and comes often',
  info: "what is expected to happen, and failures that are a caller's mistake",
  warn: 'what somebody may want to look at, and failures of a dependency',
  error: 'what somebody must look at: failures of ours',
  fatal: 'the last line of a process that ends by it',
} as const

/** Whom a failure blames decides how loud it is. */
export const levelOfBlame = { us: 'error', dependency: 'warn', caller: 'info' } as const

const count = z.int().nonnegative()
const details = z.record(z.string(), z.unknown())

/** An error as a line tells it: never its other properties, which may hold requests and their headers. */
export type LoggedError = {
  type: string
  message: string
  code?: string | undefined
  details?: Readonly<Record<string, unknown>> | undefined
  stack?: string | undefined
  cause?: LoggedError | undefined
}
const errorSchema: z.ZodType<LoggedError> = z.lazy(() =>
  z.strictObject({
    type: z.string(),
    message: z.string(),
    code: z.string().optional(),
    details: details.optional(),
    stack: z.string().optional(),
    cause: errorSchema.optional(),
  }),
)

/** The keys of a line besides those that every line has. The documents list them in this order. */
const keys = {
  traceId: z.string().describe('the trace of the job or of the request'),
  jobId: z.string().describe('the job'),
  attempt: count.describe("the attempt's number, `epoch` on the wire; 0 before the first"),
  workerId: z.string().describe('the worker'),
  owner: z.string().describe('whom the job belongs to, by its stable id'),
  subject: z.string().describe('the subject of a message'),
  code: z.enum(failureCodes).describe('the failure, by its row in the failure table'),
  blame: z.enum(blames).describe('whom that row blames'),
  requestId: z.string().describe('the request, as its answer names it'),
  route: z.string().describe('the route of a request, with its placeholders'),
  method: z.string().describe('the method of a request'),
  status: count.describe('the HTTP status of the answer'),
  durationMs: count.describe('how long it took'),
  err: errorSchema.describe(
    'the error and its causes: `{type, message, code, details, stack, cause}`',
  ),

  count: count.describe('how often it happened since the last line about it'),
  reason: z.string().describe('why, in the words of a library or in one word'),
  state: z.string().describe('the state that a job reached, or was found in'),
  isNew: z.boolean().describe('false for a repeated request, whose job was there already'),
  changed: z.boolean().describe("whether the event changed the job's record"),
  tries: count.describe('how often it was tried'),
  answer: z.string().describe("the orchestrator's answer"),
  retryAfterMs: z.number().describe('when it is tried again'),
  objects: count.describe('objects of the store that were deleted'),
  done: z.record(z.string(), z.number()).describe('what a pass did, counted'),
  fault: z.string().describe('what is wrong with a stored video'),
  chunk: count.describe('the piece of a render that is the next to be rendered'),
  degraded: z.boolean().describe('whether it was rendered smaller than asked'),
  loop: z.string().describe('the loop in the background'),
  phase: z.string().describe('the phase of a stop'),
  signal: z.string().describe('the signal by which the process was asked to stop'),
  origin: z.string().describe('how an error came to end the process'),
  problems: z.array(z.string()).describe('what is wrong with the configuration, one by one'),
  config: details.describe('the settings, without secrets'),
  wakeId: z.string().describe('the wake-up of a worker'),
  pool: z.string().describe('the pool of workers'),
  day: z.iso.date().describe('the day that a bill is for, UTC'),
  provider: z.string().describe('what starts workers'),
  wanted: count.describe('how many workers there should be'),
  engine: z.string().describe('the engine'),
  facts: details.describe('what an engine found, once it is loaded'),
  secondsPerVideoSecond: z.number().describe('how long a second of video takes to render'),
  incarnation: z.string().describe('the life of a worker, another one after each start'),
  exitStatus: z.int().nullable().describe('how a child process ended; negative for a signal'),
  pid: count.describe('a child process'),
  metricsPort: count.describe('where `/metrics` is'),
  bucket: z.string().describe('a bucket of records'),
  consumer: z.string().describe('a consumer of a stream'),
  sequence: count.describe('the sequence of a message in its stream'),
  aheadMs: z.number().describe("how far this machine's clock is ahead of the broker's"),
  jumpedByMs: z.number().describe("how far the broker's clock has jumped"),
  text: z.string().describe('what a program wrote that writes no lines of its own'),
  lines: count.describe('how many lines of such a program were left out'),
  logger: z.string().describe('the library that speaks'),
  details: details.describe('everything else that is known'),
} as const

const fields = z.object(keys).partial()

/** What a line may say besides its sentence. */
export type LogKeys = z.input<typeof fields>

/** One line of the log, whoever wrote it. Whatever leaves a process is such a line. */
export const logLineSchema = z.strictObject({
  time: z.iso.datetime({ precision: 3 }).describe('UTC, to the millisecond'),
  level: z.enum(Object.keys(logLevels) as [keyof typeof logLevels]).describe('how loud it is'),
  service: z.string().describe('who writes: `ingest`, `orchestrator`, `janitor`, `sidecar`'),
  msg: z.string().min(1).describe('a constant sentence; the data is in keys'),
  ...fields.shape,
})
export type LogLine = z.output<typeof logLineSchema>

/** How loud a failure is, by its row in the failure table. */
export function levelOf(code: FailureCode) {
  return levelOfBlame[failures[code].blame]
}

/** What a job writes at `info` from the request to its deletion when all goes well: who says what. */
export const linesOfAJob: readonly (readonly [service: string, msg: string, when: string])[] = [
  ['ingest', 'job accepted', 'its record is there'],
  ['ingest', 'request answered', 'the client has its id'],
  ['orchestrator', 'event handled', 'it is queued'],
  ['sidecar', 'job taken', 'a worker has it'],
  ['sidecar', 'render started', 'the first step has begun'],
  ['orchestrator', 'event handled', 'the record says so'],
  ['sidecar', 'rendered', 'the last frame is there'],
  ['sidecar', 'uploaded', 'the file is in the store'],
  ['sidecar', 'render reported', 'the event is stored'],
  ['orchestrator', 'upload settled', 'the file was looked at, the job is completed'],
  ['sidecar', 'spooled render deleted', "the worker's copy is gone"],
  ['janitor', 'media deleted', 'at the end of the retention'],
  ['orchestrator', 'event handled', 'the record says so'],
]
