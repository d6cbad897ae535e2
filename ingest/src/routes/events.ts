import { isTerminal, type JobRecord, limits } from '@avatar/contracts'
import { AppError, type Log, logFailure } from '@avatar/service-kit'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { z } from 'zod'
import { byKey } from '../api-keys.ts'
import type { Api, AppDeps } from '../app-deps.ts'
import { hangUpSignal } from '../hang-up.ts'
import { type Fact, factsAfter, jobTimeline } from '../job-timeline.ts'
import { getOwnJob } from '../own-job.ts'
import { statusView } from '../views.ts'
import { failureAnswers, jobParamsSchema } from './answers.ts'

/**
 * How long a stream waits before it looks again although nothing woke it. A change can arrive before
 * the stream can read it, or not at all. Each look also checks the API key and keeps proxies from
 * closing an idle connection.
 */
const lookAgainMs = 1_000

const querySchema = z.object({
  token: z.string().optional().describe('from `POST /events/{job_id}/token`, instead of the key'),
})

/** The client behind an open stream. */
type Follower = {
  reply: FastifyReply
  signal: AbortSignal
  /** Resolves while the client may follow the job. */
  authenticate: () => Promise<string>
  timeline: ReturnType<typeof jobTimeline>
  /** The facts that it lacks. */
  facts: readonly Fact[]
}

/**
 * `GET /events/{job_id}`: the job's facts as server-sent events, from the beginning or after
 * `Last-Event-ID`, then progress as it is made, until the terminal event. Progress has no id. A client
 * that has the terminal event and connects again gets a 204, at which `EventSource` gives up.
 */
export function routeEvents(app: Api, deps: AppDeps) {
  /** The open streams and their owners. */
  const open = new Map<AbortController, string>()
  deps.metrics.of('ingest').event_streams.observe((tell) => tell(open.size))
  // The server does not close while a stream is open.
  app.addHook('preClose', async () => {
    for (const controller of open.keys()) controller.abort()
  })

  app.get(
    '/events/:job_id',
    {
      // The answer to a HEAD request would stay open like any other stream.
      exposeHeadRoute: false,
      config: { isPublic: true },
      onRequest: async (request, reply) => {
        request.owner = await deps.gate.pass(request, reply, credentialOf(request))
      },
      schema: {
        operationId: 'followEvents',
        summary: 'Follow a job by server-sent events',
        security: [{ apiKey: [] }, { apiKeyHeader: [] }, { eventToken: [] }],
        params: jobParamsSchema,
        querystring: querySchema,
        response: {
          204: z.null().describe('The job has ended, and the client has its last event.'),
          ...failureAnswers('JOB_NOT_FOUND', 'INVALID_REQUEST'),
        },
      },
    },
    async (request, reply) => {
      const { owner } = request
      const job = await getOwnJob(deps, owner, request.params.job_id)
      const timeline = jobTimeline(deps, job.jobId)
      const history = await timeline.read(job)
      const facts = factsAfter(history, lastEventId(request))
      reply.header('cache-control', 'no-store')
      if (facts.length === 0 && history.at(-1)?.isEnd) return reply.code(204).send(null)
      if ([...open.values()].filter((each) => each === owner).length >= limits.sseStreamsPerOwner)
        throw tooManyStreams()
      const controller = new AbortController()
      open.set(controller, owner)
      const signal = AbortSignal.any([controller.signal, hangUpSignal(reply)])
      request.isEventStream = true
      reply.hijack()
      reply.raw.writeHead(200, {
        ...reply.getHeaders(),
        'content-type': 'text/event-stream; charset=utf-8',
        'x-accel-buffering': 'no',
        // A connection that stays alive after the stream would keep the server from closing.
        connection: 'close',
      } as never) // Fastify's type of a header allows `undefined`, Node's does not.
      try {
        const { ownerOf: authenticate } = credentialOf(request)
        await follow(job, { reply, signal, authenticate, timeline, facts })
      } catch (error) {
        // The logger is the service's own, of which Fastify's type shows a part.
        logFailure(request.log as Log, error, 'event stream broke off', { jobId: job.jobId })
      } finally {
        open.delete(controller)
        reply.raw.end()
      }
    },
  )

  /** The token of the query, or else the key. A stream may outlive its token, but not its key. */
  function credentialOf({ headers, params, query }: FastifyRequest) {
    const { token } = query as { token?: unknown } // Not validated yet when the request arrives.
    const { job_id: jobId } = params as { job_id: string }
    const openedAtMs = deps.clock.nowMs()
    if (typeof token !== 'string') return byKey(deps.apiKeys, headers)
    const ownerOf = () => deps.eventTokens.ownerOf(token, jobId.toLowerCase(), openedAtMs)
    return { credential: `${token} ${jobId}`, ownerOf }
  }

  async function follow(job: JobRecord, follower: Follower) {
    const { reply, signal, timeline } = follower
    let { facts } = follower
    let current = job
    let shown = ''
    const watch = deps.changes.watch(job.jobId)
    reply.raw.write('retry: 1000\n\n')
    try {
      while (!signal.aborted) {
        for (const { id, type, atMs, isEnd } of facts) {
          const data = { type, at: new Date(atMs).toISOString(), ...view(current) }
          write(reply, type.slice('job.'.length), data, id)
          if (isEnd) return
        }
        const progress = view(current)
        const { stage, progress: percent, queue_position, waiting_for, worker } = progress
        const { state, percent: loaded, reason } = worker ?? {}
        const text = `${stage} ${percent} ${queue_position} ${waiting_for} ${state} ${loaded} ${reason}`
        if (text !== shown && !isTerminal(current)) write(reply, 'progress', progress)
        shown = text
        await watch.next(lookAgainMs, signal)
        if (!reply.raw.write(': \n\n') && reply.raw.destroyed) return
        // A stream ends with its key.
        await follower.authenticate()
        current = await getOwnJob(deps, job.owner, job.jobId)
        facts = await timeline.read(current)
      }
    } finally {
      watch.close()
    }
  }

  const view = (job: JobRecord) => statusView(job, { ...deps, nowMs: deps.clock.nowMs() })
}

function tooManyStreams(): AppError {
  const { sseStreamsPerOwner: most } = limits
  const message = `This key has ${most} event streams open, and no more are allowed; close one.`
  return new AppError('TOO_MANY_REQUESTS', { message, details: { max_streams: most } })
}

function lastEventId({ headers }: FastifyRequest): string | undefined {
  const id = headers['last-event-id']
  return typeof id === 'string' ? id : undefined
}

function write(reply: FastifyReply, event: string, data: unknown, id?: string) {
  const head = id === undefined ? '' : `id: ${id}\n`
  reply.raw.write(`${head}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`)
}
