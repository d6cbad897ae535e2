import {
  type EventType,
  isTerminal,
  type JobRecord,
  type JobState,
  limits,
  publicEventTypes,
  streams,
  subjects,
} from '@avatar/contracts'
import { AppError, type Log, logFailure } from '@avatar/service-kit'
import type { FastifyReply } from 'fastify'
import type { Api, AppDeps } from '../app-deps.ts'
import { getOwnJob } from '../own-job.ts'
import { statusView } from '../views.ts'
import { failureAnswers, jobParamsSchema } from './answers.ts'

const publicTypes: ReadonlySet<string> = new Set(publicEventTypes)
const terminalTypeOf: { readonly [State in JobState]?: EventType } = {
  completed: 'job.completed',
  failed: 'job.failed',
  cancelled: 'job.cancelled',
}
const terminalTypes: ReadonlySet<string> = new Set(Object.values(terminalTypeOf))

/**
 * How long a stream waits before it looks again although nothing woke it. A change can arrive before
 * the stream can read it, or not at all. Each look also checks the API key and keeps proxies from
 * closing an idle connection.
 */
const lookAgainMs = 1_000
const batchMessages = 100
const eventStream = streams.EVENTS.name

type Fact = { type: string; epoch: number; atMs: number }

/** The client behind an open stream. */
type Follower = { reply: FastifyReply; signal: AbortSignal; authorization: string | undefined }

/**
 * `GET /events/{job_id}`: the job's facts as server-sent events, from the beginning or after
 * `Last-Event-ID`, then progress as it is made, until the terminal event.
 *
 * Facts are read from the broker's stream by direct gets, so that clients cost no consumers. The id
 * of an event is its sequence in that stream; progress has no id.
 */
export function routeEvents(app: Api, deps: AppDeps) {
  const { bus } = deps
  /** The open streams and their owners. */
  const open = new Map<AbortController, string>()
  // The server does not close while a stream is open.
  app.addHook('preClose', async () => {
    for (const controller of open.keys()) controller.abort()
  })

  app.get(
    '/events/:job_id',
    {
      // The answer to a HEAD request would stay open like any other stream.
      exposeHeadRoute: false,
      schema: {
        operationId: 'followEvents',
        summary: 'Follow a job by server-sent events',
        produces: ['text/event-stream'],
        params: jobParamsSchema,
        response: failureAnswers('JOB_NOT_FOUND', 'INVALID_REQUEST', 'TOO_MANY_REQUESTS'),
      },
    },
    async (request, reply) => {
      const { owner } = request
      const job = await getOwnJob(deps, owner, request.params.job_id)
      if ([...open.values()].filter((each) => each === owner).length >= limits.sseStreamsPerOwner)
        throw new AppError('TOO_MANY_REQUESTS')
      const controller = new AbortController()
      open.set(controller, owner)
      request.raw.on('close', () => controller.abort())
      reply.hijack()
      reply.raw.writeHead(200, {
        ...reply.getHeaders(),
        'content-type': 'text/event-stream; charset=utf-8',
        'cache-control': 'no-cache',
        'x-accel-buffering': 'no',
        // A connection that stays alive after the stream would keep the server from closing.
        connection: 'close',
      } as never) // Fastify's type of a header allows `undefined`, Node's does not.
      const { authorization } = request.headers
      try {
        const follower = { reply, signal: controller.signal, authorization }
        await follow(job, lastEventId(request.headers['last-event-id']), follower)
      } catch (error) {
        // The logger is the service's own, of which Fastify's type shows a part.
        logFailure(request.log as Log, error, 'event stream broke off', { jobId: job.jobId })
      } finally {
        open.delete(controller)
        reply.raw.end()
      }
    },
  )

  async function follow(job: JobRecord, lastId: number, follower: Follower) {
    const { jobId, owner } = job
    const { reply, signal } = follower
    const sent = new Set<string>()
    let nextSequence = lastId + 1
    let shown = ''
    const watch = deps.changes.watch(jobId)
    reply.raw.write('retry: 1000\n\n')
    try {
      while (!signal.aborted) {
        // A stream ends with its key.
        await deps.apiKeys.ownerOf(follower.authorization)
        const current = await getOwnJob(deps, owner, jobId)
        const subject = subjects.eventsOfJob(jobId)
        const messages = await bus.readStream(eventStream, subject, nextSequence, batchMessages)
        for (const message of messages) {
          nextSequence = message.sequence + 1
          const fact = message.body as Fact // Only our own services may publish on these subjects.
          const key = `${fact.type}:${fact.epoch}`
          // A handler that runs twice publishes the same fact twice.
          if (!publicTypes.has(fact.type) || sent.has(key)) continue
          sent.add(key)
          const data = { type: fact.type, at: new Date(fact.atMs).toISOString(), ...view(current) }
          write(reply, fact.type.slice('job.'.length), data, message.sequence)
          if (terminalTypes.has(fact.type)) return
        }
        if (messages.length === batchMessages) continue
        // A client that has the terminal event and connects again gets nothing more.
        if (isTerminal(current) && (await isEndBefore(nextSequence, current))) return
        const progress = view(current)
        const text = `${progress.stage} ${progress.progress} ${progress.queue_position}`
        if (text !== shown && !isTerminal(current)) write(reply, 'progress', progress)
        shown = text
        await watch.next(lookAgainMs, signal)
        if (!reply.raw.write(': \n\n') && reply.raw.destroyed) return
      }
    } finally {
      watch.close()
    }
  }

  /** Whether the job's terminal event lies before this sequence, or has expired from the stream. */
  async function isEndBefore(sequence: number, job: JobRecord): Promise<boolean> {
    const type = terminalTypeOf[job.state]
    if (!type) return false
    const [end] = await bus.readStream(eventStream, subjects.event(type, job.jobId), 1, 1)
    if (end) return end.sequence < sequence
    const endedMsAgo = deps.clock.nowMs() - (job.finishedAtMs ?? 0)
    return endedMsAgo > streams.EVENTS.maxAgeMs
  }

  const view = (job: JobRecord) => statusView(job, { ...deps, nowMs: deps.clock.nowMs() })
}

/** The last sequence that the client has. A header that is no sequence counts as none. */
function lastEventId(header: string | string[] | undefined): number {
  const id = Number(header ?? 0)
  return Number.isSafeInteger(id) && id > 0 ? id : 0
}

function write(reply: FastifyReply, event: string, data: unknown, id?: number) {
  const head = id === undefined ? '' : `id: ${id}\n`
  reply.raw.write(`${head}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`)
}
