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
import { AppError, type Log, logFailure, type StoredMessage } from '@avatar/service-kit'
import type { FastifyInstance, FastifyReply } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import type { AppDeps } from '../app-deps.ts'
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

/** A doorbell may ring before the message is stored, or not at all: look again after this. */
const lookAgainMs = 1_000
const batchMessages = 100

type Fact = { type: string; epoch: number; atMs: number }

/** Who reads a stream, and by which key. */
type Follower = { reply: FastifyReply; signal: AbortSignal; authorization: string | undefined }

/**
 * `GET /events/{job_id}`: the job's facts as server-sent events, from the beginning or from
 * `Last-Event-ID`, then progress as it is made, until the terminal event.
 *
 * Facts are read from the stream by direct gets: no consumer for each client. The core subscription
 * is only a doorbell. An event's id is its sequence in the stream; progress has none.
 */
export function routeEvents(app: FastifyInstance, deps: AppDeps) {
  const doorbells = new Map<string, Set<() => void>>()
  const open = new Set<AbortController>()
  const openOf = new Map<string, number>()
  const subscription = deps.bus.subscribe('evt.job.*.*', ({ subject }) => {
    for (const ring of doorbells.get(subject.split('.')[3] ?? '') ?? []) ring()
  })
  const stopBeats = deps.workers.onBeat((beat) => {
    for (const held of beat.jobs) for (const ring of doorbells.get(held.jobId) ?? []) ring()
  })
  // The server does not close while a stream is open.
  app.addHook('preClose', async () => {
    for (const controller of open) controller.abort()
    subscription.stop()
    stopBeats()
  })

  app.withTypeProvider<ZodTypeProvider>().get(
    '/events/:job_id',
    {
      // Asked for the headers alone, it would stay open like any other stream.
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
      if ((openOf.get(owner) ?? 0) >= limits.sseStreamsPerOwner)
        throw new AppError('TOO_MANY_REQUESTS')
      openOf.set(owner, (openOf.get(owner) ?? 0) + 1)
      const controller = new AbortController()
      open.add(controller)
      request.raw.on('close', () => controller.abort())
      reply.hijack()
      reply.raw.writeHead(200, {
        ...reply.getHeaders(),
        'content-type': 'text/event-stream; charset=utf-8',
        'cache-control': 'no-cache',
        'x-accel-buffering': 'no',
        // Kept alive after the stream, it would keep the server from closing.
        connection: 'close',
      } as never)
      const { authorization } = request.headers
      try {
        const follower = { reply, signal: controller.signal, authorization }
        await follow(job, lastEventId(request.headers['last-event-id']), follower)
      } catch (error) {
        logFailure(request.log as Log, error, 'event stream broke off', { jobId: job.jobId })
      } finally {
        open.delete(controller)
        openOf.set(owner, (openOf.get(owner) ?? 1) - 1)
        reply.raw.end()
      }
    },
  )

  async function follow(job: JobRecord, lastId: number, follower: Follower) {
    const { jobId, owner } = job
    const { reply, signal } = follower
    const seen = new Set<string>()
    let nextSequence = lastId + 1
    let shown = ''
    const bell = createBell(jobId)
    reply.raw.write(`retry: 1000\n\n`)
    try {
      while (!signal.aborted) {
        // A key that is revoked meanwhile follows nothing any more.
        await deps.apiKeys.ownerOf(follower.authorization)
        const current = await getOwnJob(deps, owner, jobId)
        const subject = subjects.eventsOfJob(jobId)
        const messages = await deps.bus.readStream(
          streams.EVENTS.name,
          subject,
          nextSequence,
          batchMessages,
        )
        for (const message of messages) {
          nextSequence = message.sequence + 1
          const fact = factOf(message)
          const key = `${fact.type}:${fact.epoch}`
          // A handler publishes its outputs again when it runs twice.
          if (!publicTypes.has(fact.type) || seen.has(key)) continue
          seen.add(key)
          const data = { type: fact.type, at: new Date(fact.atMs).toISOString(), ...view(current) }
          write(reply, fact.type.slice(4), data, message.sequence)
          if (terminalTypes.has(fact.type)) return
        }
        if (messages.length === batchMessages) continue
        // A client that has had the end already comes again: nothing follows.
        if (isTerminal(current) && (await isTold(current, nextSequence))) return
        const progress = view(current)
        const text = `${progress.stage} ${progress.progress} ${progress.queue_position}`
        if (text !== shown && !isTerminal(current)) write(reply, 'progress', progress)
        shown = text
        await bell.wait(lookAgainMs, signal)
        if (!reply.raw.write(': \n\n') && reply.raw.destroyed) return
      }
    } finally {
      bell.remove()
    }
  }

  /** Whether the job's end lies before this sequence, or so far back that the stream forgot it. */
  async function isTold(job: JobRecord, nextSequence: number): Promise<boolean> {
    const type = terminalTypeOf[job.state]
    if (!type) return false
    const subject = subjects.event(type, job.jobId)
    const [end] = await deps.bus.readStream(streams.EVENTS.name, subject, 1, 1)
    if (end) return end.sequence < nextSequence
    const endedMsAgo = deps.clock.nowMs() - (job.finishedAtMs ?? 0)
    return endedMsAgo > streams.EVENTS.maxAgeMs
  }

  const view = (job: JobRecord) => statusView(job, { ...deps, nowMs: deps.clock.nowMs() })

  function createBell(jobId: string) {
    let ring: (() => void) | undefined
    let hasRung = false
    const handler = () => {
      hasRung = true
      ring?.()
    }
    const bells = doorbells.get(jobId) ?? new Set()
    doorbells.set(jobId, bells.add(handler))
    return {
      async wait(ms: number, signal: AbortSignal) {
        const rung = new AbortController()
        ring = () => rung.abort()
        // One that rang while we were reading counts.
        if (!hasRung) await deps.clock.wait(ms, AbortSignal.any([rung.signal, signal]))
        hasRung = false
      },
      remove() {
        bells.delete(handler)
        if (bells.size === 0) doorbells.delete(jobId)
      },
    }
  }
}

/** The sequence a client has had last; whatever is no sequence means that it has had nothing. */
function lastEventId(header: string | string[] | undefined): number {
  const id = Number(header ?? 0)
  return Number.isSafeInteger(id) && id > 0 ? id : 0
}

function factOf(message: StoredMessage): Fact {
  return message.body as Fact // Only our own services may publish on these subjects.
}

function write(reply: FastifyReply, event: string, data: unknown, id?: number) {
  const head = id === undefined ? '' : `id: ${id}\n`
  reply.raw.write(`${head}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`)
}
