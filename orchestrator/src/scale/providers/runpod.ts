import { dayOf, nextDayMs, type Wake } from '@avatar/contracts'
import { AppError, type Secret } from '@avatar/service-kit'
import { z } from 'zod'
import type { Ringing, Survey, WorkerProvider } from './provider.ts'

export type RunPodOptions = {
  endpointId: string
  apiKey: Secret
  /** Base of the management API, version 2. */
  apiUrl: string
  /** Base of the API that takes doorbells. */
  jobApiUrl: string
  /** The maximum that the endpoint shall have. */
  maxWorkers: number
  /** The kinds of GPU, the preferred one first. The others are asked for while it is not to be had. */
  gpuPools?: readonly string[]
  /** How long a worker may stay, and how long a doorbell may wait for one. */
  lifetimeMs: number
  wakeDeadlineMs: number
  timeoutMs: number
}

const takenSchema = z.object({ id: z.string().min(1).max(200) })
const endpointSchema = z.object({
  image: z.string().optional(),
  workers: z.object({ max: z.int().nonnegative() }),
  gpu: z.object({ pools: z.array(z.string()) }).optional(),
})
const workersSchema = z.object({
  summary: z.object({ throttled: z.int().nonnegative(), total: z.int().nonnegative() }),
})

const billSchema = z.object({
  records: z.array(z.object({ totalAmount: z.number().nonnegative() })),
})

/** Beyond the deadline and a whole lifetime: a doorbell's ttl counts from its submission and ends running jobs. */
const ttlSpareMs = 300_000
/** The shortest that RunPod takes. */
const signOfLifeTtlMs = 10_000

/**
 * RunPod Serverless. A job there is a doorbell without data: what a worker does it asks the orchestrator. The
 * management API is its second version, whose PATCH replaces `env` whole, so none is ever sent here.
 */
export function runPodProvider(options: RunPodOptions): WorkerProvider {
  const { endpointId, apiKey, lifetimeMs, wakeDeadlineMs, timeoutMs } = options
  const managed = `${options.apiUrl}/serverless/${endpointId}`
  const queue = `${options.jobApiUrl}/${endpointId}`

  /** @throws AppError PROVIDER_UNAVAILABLE when no answer comes in time */
  async function call(method: 'GET' | 'POST' | 'PATCH', url: string, body?: unknown) {
    try {
      return await fetch(url, {
        method,
        headers: {
          authorization: `Bearer ${apiKey.reveal()}`,
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        // It takes whole milliseconds only.
        signal: AbortSignal.timeout(Math.ceil(timeoutMs)),
        redirect: 'error',
      })
    } catch (cause) {
      throw new AppError('PROVIDER_UNAVAILABLE', { cause })
    }
  }

  /** @throws AppError PROVIDER_UNAVAILABLE for an answer that is no success, or of another shape */
  async function ask<S extends z.ZodType>(
    schema: S,
    ...request: Parameters<typeof call>
  ): Promise<z.output<S>> {
    const response = await call(...request)
    if (!response.ok) {
      await response.body?.cancel()
      throw new AppError('PROVIDER_UNAVAILABLE', { details: { status: response.status } })
    }
    try {
      return schema.parse(await response.json())
    } catch (cause) {
      throw new AppError('PROVIDER_UNAVAILABLE', { cause })
    }
  }

  async function ring({ wakeId }: Wake): Promise<Ringing> {
    const policy = {
      executionTimeout: lifetimeMs,
      ttl: wakeDeadlineMs + lifetimeMs + ttlSpareMs,
    }
    try {
      const response = await call('POST', `${queue}/run`, {
        input: { kind: 'drain', wakeId },
        policy,
      })
      if (response.ok) return { ref: takenSchema.parse(await response.json()).id }
      await response.body?.cancel()
      return refusalOf(response)
    } catch {
      // Whether it was taken nobody knows: it is rung again under the same id.
      return { refused: 'away' }
    }
  }

  async function survey(): Promise<Survey> {
    const endpoint = await ask(endpointSchema, 'GET', managed)
    const { summary } = await ask(workersSchema, 'GET', `${managed}/workers`)
    return {
      maxWorkers: endpoint.workers.max,
      throttledWorkers: summary.throttled,
      otherWorkers: summary.total - summary.throttled,
      ...(endpoint.image === undefined ? {} : { release: endpoint.image }),
      ...(endpoint.gpu ? { gpuPools: endpoint.gpu.pools } : {}),
    }
  }

  async function repair(found: Survey, isShortOfGpus: boolean): Promise<readonly string[]> {
    const done: string[] = []
    const patch: Record<string, unknown> = {}
    if (found.maxWorkers !== undefined && found.maxWorkers < options.maxWorkers) {
      patch['workers'] = { max: options.maxWorkers }
      done.push(`raised the endpoint's maximum from ${found.maxWorkers} to ${options.maxWorkers}`)
    }
    const pools = poolsFor(options.gpuPools ?? [], isShortOfGpus)
    // Without any in the settings, those of the endpoint are left alone.
    if (pools.length > 0 && found.gpuPools && pools.join() !== found.gpuPools.join()) {
      patch['gpu'] = { pools }
      done.push(`asks for GPUs of ${pools.join(', ')}`)
    }
    if (done.length > 0) await ask(z.unknown(), 'PATCH', managed, patch)
    return done
  }

  return {
    name: 'runpod',
    rings: true,
    ring,
    async withdraw(ref) {
      const response = await call('POST', `${queue}/cancel/${encodeURIComponent(ref)}`)
      await response.body?.cancel()
      // It has forgotten the doorbell: nothing is left to take back.
      if (!response.ok && response.status !== 404)
        throw new AppError('PROVIDER_UNAVAILABLE', { details: { status: response.status } })
    },
    survey,
    repair,
    async billOf(day) {
      const next = dayOf(nextDayMs(Date.parse(day)))
      const asked = new URLSearchParams({
        ...{ bucketSize: 'day', serverlessId: endpointId },
        ...{ startTime: `${day}T00:00:00Z`, endTime: `${next}T00:00:00Z` },
      })
      const { records } = await ask(
        billSchema,
        'GET',
        `${options.apiUrl}/billing/serverless?${asked}`,
      )
      return records.reduce((sum, { totalAmount }) => sum + totalAmount, 0)
    },
    async showSignOfLife() {
      const policy = { ttl: signOfLifeTtlMs, lowPriority: true }
      await ask(takenSchema, 'POST', `${queue}/run`, { input: { kind: 'sign-of-life' }, policy })
    },
  }
}

/** The preferred kind alone, and every kind while that one is not to be had. */
function poolsFor(pools: readonly string[], isShortOfGpus: boolean): readonly string[] {
  return isShortOfGpus ? pools : pools.slice(0, 1)
}

function refusalOf(response: Response): Ringing {
  const seconds = Number(response.headers.get('retry-after') ?? Number.NaN)
  const retryAfterMs = Number.isFinite(seconds) && seconds >= 0 ? seconds * 1000 : undefined
  switch (response.status) {
    case 429:
      return { refused: 'rate-limited', ...(retryAfterMs === undefined ? {} : { retryAfterMs }) }
    case 402:
      return { refused: 'no-credit' }
    case 401:
    case 403:
    case 404:
      return { refused: 'not-allowed' }
    default:
      return { refused: 'away' }
  }
}
