import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { text } from 'node:stream/consumers'
import { z } from 'zod'
import { type ControlApi, controlSchema, type FakeParts } from './control-api.ts'
import { patched, patchSchema } from './endpoint.ts'
import { runSchema } from './job-queue.ts'

type ServerParts = FakeParts & {
  perMinute: number
  dollarsPerSecond: number
  lateMs: number
  control: ControlApi
}

const minuteMs = 60_000
const retryAfterSeconds = 2

const outputSchema = z.object({ output: z.unknown(), error: z.string().optional() })

/** A body that does not follow its schema. */
class Unprocessable extends Error {
  override readonly name = 'Unprocessable'
}

/**
 * The three APIs on one server; the original has them on several hosts. `/v2/serverless` and `/v2/billing`
 * manage, `/v2/<endpoint>` takes jobs, and the worker loop polls below it.
 */
export function createRunPodServer(parts: ServerParts) {
  const { state, jobs, fleet, troubles, version, apiKey, workerKey, control } = parts
  const { id } = state.endpoint
  let asked: number[] = []

  return createServer((request, response) => {
    answer(request, response).catch((error: unknown) => {
      if (error instanceof Unprocessable) problem(response, 422, error.message)
      else problem(response, 500, String(error))
    })
  })

  async function answer(request: IncomingMessage, response: ServerResponse) {
    const { pathname } = new URL(request.url ?? '/', 'http://fake')
    if (pathname === '/control') return steer(request, response)
    const [, v2, first, ...rest] = pathname.split('/')
    if (v2 !== 'v2') return problem(response, 404, 'resource not found')
    if (first === id && rest.length > 1 && /^(job-|ping$)/.test(rest[0] ?? ''))
      return worker(request, response, rest)
    // The job API takes the key with and without `Bearer`.
    const key = (request.headers.authorization ?? '').replace(/^Bearer /, '')
    if (key !== apiKey) return problem(response, 401, 'missing bearer token')
    if (first === 'serverless' || first === 'billing') return manage(request, response, first, rest)
    return first === id
      ? job(request, response, rest)
      : problem(response, 404, 'endpoint not found')
  }

  async function steer(request: IncomingMessage, response: ServerResponse) {
    if (request.method !== 'POST') return json(response, 200, control.show())
    return json(response, 200, control.act(await parsed(request, controlSchema)))
  }

  async function manage(
    request: IncomingMessage,
    response: ServerResponse,
    first: string,
    [name, part]: string[],
  ) {
    const now = Date.now()
    asked = asked.filter((at) => now - at < minuteMs)
    if (asked.length >= parts.perMinute) return tooMany(response)
    asked.push(now)
    if (first === 'billing') return json(response, 200, bill())
    if (name !== id) return problem(response, 404, 'resource not found')
    if (part === 'workers') return json(response, 200, workersView())
    if (part === 'releases') return json(response, 200, releasesView())
    if (part !== undefined) return problem(response, 404, 'resource not found')
    if (request.method === 'GET') return json(response, 200, state.endpoint)
    if (request.method !== 'PATCH') return problem(response, 405, 'method not allowed')
    const patch = await parsed(request, patchSchema)
    const next = patched(state.endpoint, patch)
    if (typeof next === 'string') return problem(response, 400, next)
    state.endpoint = next
    state.releases.push({
      ...{ id: `release-${version()}`, version: version() + 1, source: 'MANUAL' },
      createdAt: new Date().toISOString(),
      diff: Object.keys(patch).map((field) => ({ field })),
    })
    return json(response, 200, state.endpoint)
  }

  function workersView() {
    const workers = fleet.all().map((each) => ({
      id: each.id,
      status: statusOf(each),
      isStale: each.version !== version(),
      version: each.version,
      gpuCount: each.child ? 1 : 0,
      image: each.image,
      uptimeSeconds: each.child ? Math.floor((Date.now() - (each.startedAtMs ?? 0)) / 1000) : null,
      gpuTypeId: each.child ? 'NVIDIA L40S' : null,
      dataCenterId: each.child ? 'FAKE-1' : null,
      startedAt: each.child ? new Date(each.startedAtMs ?? 0).toISOString() : null,
    }))
    const count = (status: string) => workers.filter((each) => each.status === status).length
    return {
      workers,
      summary: {
        running: count('RUNNING'),
        idle: count('IDLE'),
        initializing: count('INITIALIZING'),
        throttled: count('THROTTLED'),
        unhealthy: count('UNHEALTHY'),
        total: workers.length,
      },
      endpointVersion: version(),
    }
  }

  function statusOf(each: ReturnType<typeof fleet.all>[number]) {
    if (each.startedAtMs === undefined) return state.isThrottled ? 'THROTTLED' : 'INITIALIZING'
    if (!each.isReady) return 'INITIALIZING'
    return parts.isBusy(each.id) ? 'RUNNING' : 'IDLE'
  }

  function releasesView() {
    const all = fleet.all()
    const onLatest = all.filter((each) => each.version === version()).length
    return {
      endpointVersion: version(),
      rollout: {
        inProgress: onLatest < all.length,
        workersOnLatest: onLatest,
        workersTotal: all.length,
        percentOnLatest: all.length === 0 ? 0 : Math.floor((100 * onLatest) / all.length),
      },
      releases: state.releases.map((release) => ({
        ...release,
        ...{ buildId: null, createdByUserId: null },
        workerCount: all.filter((each) => each.version === release.version).length,
      })),
    }
  }

  function bill() {
    const day = new Date().toISOString().slice(0, 10)
    const gpuAmount = (fleet.workedMs() / 1000) * parts.dollarsPerSecond
    const amounts = { totalAmount: gpuAmount, gpuAmount, cpuAmount: 0, diskAmount: 0, feeAmount: 0 }
    const time = { startTime: `${day}T00:00:00Z`, endTime: `${day}T23:59:59Z` }
    return {
      records: [{ ...time, ...amounts, serverlessId: id }],
      metadata: { query: time, recordCount: 1, uniqueServerlessCount: 1, totals: amounts },
    }
  }

  async function job(
    request: IncomingMessage,
    response: ServerResponse,
    [operation, jobId = '']: string[],
  ) {
    if (operation === 'run' && request.method === 'POST') return ring(request, response)
    if (operation === 'health') return json(response, 200, healthView())
    if (operation === 'status') {
      const found = jobs.find(jobId)
      if (!found) return problem(response, 404, 'job not found')
      const { status, output, error } = found
      return json(response, 200, { id: jobId, status, output, error })
    }
    if (operation === 'cancel' && request.method === 'POST') {
      const found = jobs.cancel(jobId)
      if (!found) return problem(response, 404, 'job not found')
      return json(response, 200, { id: jobId, status: found.status })
    }
    return problem(response, 404, 'operation not found')
  }

  function healthView() {
    const { summary } = workersView()
    return {
      jobs: {
        completed: jobs.counted('COMPLETED'),
        failed: jobs.counted('FAILED') + jobs.counted('TIMED_OUT'),
        inProgress: jobs.counted('IN_PROGRESS'),
        inQueue: jobs.counted('IN_QUEUE'),
        retried: jobs.all().reduce((sum, { taken }) => sum + Math.max(0, taken - 1), 0),
      },
      workers: { ...summary, ready: summary.idle + summary.running },
    }
  }

  async function ring(request: IncomingMessage, response: ServerResponse) {
    const run = await parsed(request, runSchema)
    const trouble = troubles.draw()
    if (trouble === '429') return tooMany(response)
    if (trouble === '500') return problem(response, 500, 'internal error')
    if (trouble === 'no-credit') return problem(response, 402, 'insufficient balance')
    const taken = (jobId: string) => json(response, 200, { id: jobId, status: 'IN_QUEUE' })
    if (trouble === 'lost') return taken('00000000-0000-4000-8000-000000000000-u1')
    if (trouble === 'late') {
      setTimeout(() => jobs.add(run), parts.lateMs).unref()
      return taken('00000000-0000-4000-8000-000000000001-u1')
    }
    const added = jobs.add(run)
    if (trouble === 'doubled') jobs.add(run)
    if (trouble === 'reply-lost') return response.destroy()
    return taken(added.id)
  }

  /** What the worker loop asks: `<operation>/<worker>` and, for a result, `/<job>`. */
  async function worker(
    request: IncomingMessage,
    response: ServerResponse,
    [operation, workerId = '', jobId = '']: string[],
  ) {
    if (request.headers.authorization !== workerKey)
      return problem(response, 401, 'not the key of a worker')
    const known = fleet.find(workerId)
    if (!known) return problem(response, 404, 'worker not found')
    if (operation === 'ping') return json(response, 200, {})
    if (operation === 'job-done') {
      jobs.complete(jobId, outputSchema.parse(JSON.parse(await text(request))))
      return json(response, 200, {})
    }
    if (operation === 'job-take') {
      known.isReady = true
      return poll(response, workerId, () => {
        const job = known.isStopping ? undefined : jobs.take(workerId)
        return job && { id: job.id, input: job.run.input }
      })
    }
    return poll(response, workerId, () => {
      const jobsToStop = state.stops.get(workerId)
      state.stops.delete(workerId)
      return jobsToStop && { jobsToStop }
    })
  }

  /** Answers once there is something, or with 204 after a while, or when the worker is to end. */
  async function poll(response: ServerResponse, workerId: string, look: () => unknown) {
    const until = Date.now() + parts.pollMs
    let isOver = false
    response.once('close', () => {
      isOver = true
    })
    while (!isOver) {
      const found = look()
      if (found) return json(response, 200, found)
      const isEnding = fleet.find(workerId)?.isStopping !== false
      if (isEnding || Date.now() >= until) return response.writeHead(204).end()
      await woken(workerId, response, until - Date.now())
    }
  }

  async function woken(workerId: string, response: ServerResponse, withinMs: number) {
    await new Promise<void>((done) => {
      const waiting = { workerId, wake: () => end() }
      const timer = setTimeout(end, withinMs)
      function end() {
        clearTimeout(timer)
        state.polls.delete(waiting)
        response.off('close', end)
        done()
      }
      response.once('close', end)
      state.polls.add(waiting)
    })
  }
}

async function parsed<T>(request: IncomingMessage, schema: z.ZodType<T>): Promise<T> {
  const body = await text(request)
  try {
    return schema.parse(JSON.parse(body))
  } catch (error) {
    throw new Unprocessable(error instanceof Error ? error.message : String(error), {
      cause: error,
    })
  }
}

function json(response: ServerResponse, status: number, body: unknown) {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}

/** An error as RFC 9457 describes it. */
function problem(
  response: ServerResponse,
  status: number,
  detail: string,
  headers: Record<string, string> = {},
) {
  response
    .writeHead(status, { 'content-type': 'application/problem+json', ...headers })
    .end(JSON.stringify({ title: detail, status, detail }))
}

function tooMany(response: ServerResponse) {
  problem(response, 429, 'rate limited', { 'retry-after': String(retryAfterSeconds) })
}
