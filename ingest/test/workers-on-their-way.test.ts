import { randomUUID } from 'node:crypto'
import {
  type Beat,
  buckets,
  type HealthView,
  type ScaleSummary,
  type StatusView,
  scaleKey,
  scaleSummarySchema,
  subjects,
  type Wake,
  wakeKeyOf,
  wakeSchema,
} from '@avatar/contracts'
import { until } from '@avatar/service-kit/testing'
import { beforeEach, describe, expect, it } from 'vitest'
import { useRestWorld } from './rest-world.ts'

const world = useRestWorld()
const pool = 'runpod'
let wakeId: string

beforeEach(() => {
  wakeId = randomUUID().replaceAll('-', '').slice(0, 24)
})

/** Writes what the orchestrator would have told. */
async function tell(difference: Partial<ScaleSummary>) {
  const records = await world.operator.records(buckets.meta, scaleSummarySchema)
  const told = {
    provider: 'runpod',
    pool,
    wanted: 1,
    reason: 'enough',
    sinceMs: Date.now(),
  } as const
  const summary = { ...told, coldStartSeconds: 90, ...difference }
  const found = await records.find(scaleKey)
  if (found) await records.update(scaleKey, summary, found.revision)
  else await records.create(scaleKey, summary)
}

async function putWake(difference: Partial<Wake> = {}) {
  const records = await world.operator.records(buckets.wake, wakeSchema)
  const wake: Wake = {
    ...{ wakeId, provider: 'runpod', pool, state: 'rung', intendedAtMs: Date.now() },
    ...difference,
  }
  const found = await records.find(wakeKeyOf(wake))
  if (found) await records.update(wakeKeyOf(wake), wake, found.revision)
  else await records.create(wakeKeyOf(wake), wake)
  return wake
}

async function beats(difference: Partial<Beat>) {
  const beat: Beat = {
    ...{ workerId: 'w-woken', incarnation: 'i1', engine: 'null', state: 'loading', pool },
    ...{ secondsPerVideoSecond: null, atMs: Date.now(), jobs: [], ...difference },
  }
  world.operator.publishCore(subjects.beat(beat.workerId), beat)
}

const status = async (jobId: string): Promise<StatusView> =>
  (await world.call(`/status/${jobId}`)).body['data'] as unknown as StatusView // As documented.
const statusOnce = (jobId: string, holds: (seen: StatusView) => boolean, what: string) =>
  until(
    async () => {
      const seen = await status(jobId)
      return holds(seen) && seen
    },
    { what },
  )

describe('a client whose job waits for a worker', () => {
  it('sees it asked for, come, load and be ready, and when it should be', async () => {
    const intendedAtMs = Date.now() - 10_000
    await tell({})
    await putWake({ intendedAtMs })
    const { jobId } = await world.putJob({ state: 'queued', queuedAtMs: Date.now() })
    const stream = await followed(jobId)
    const readyAt = new Date(intendedAtMs + 90_000).toISOString()
    const requested = await statusOnce(jobId, ({ worker }) => worker?.state === 'requested', 'it')
    expect(requested).toMatchObject({
      stage: 'waiting_for_worker',
      waiting_for: 'worker',
      worker: { since: new Date(intendedAtMs).toISOString(), expected_ready_at: readyAt },
    })
    await stream.tells('requested')
    // 80 s of the cold start are left; then the job itself.
    const leftMs = Date.parse(requested.estimated_completion_at ?? '') - Date.now()
    expect(leftMs / 1000).toBeGreaterThan(70)
    expect(leftMs / 1000).toBeLessThan(80 + requested.estimated_seconds + 10)

    const at = { intendedAtMs, startedAtMs: Date.now(), workerId: 'w-woken', incarnation: 'i1' }
    await putWake({ state: 'started', ...at })
    await statusOnce(jobId, ({ worker }) => worker?.state === 'starting', 'it starts')
    await stream.tells('starting')
    for (const percent of [20, 60]) {
      await beats({ wakeId, loading: { part: 'transformer', percent } })
      const seen = await statusOnce(jobId, ({ worker }) => worker?.percent === percent, 'it loads')
      expect(seen.worker).toMatchObject({ state: 'loading', expected_ready_at: readyAt })
      expect(seen.stage).toBe('waiting_for_worker')
      await stream.tells(`loading ${percent}`)
    }
    await putWake({ state: 'ready', ...at, readyAtMs: Date.now() })
    await beats({ wakeId, state: 'ready', secondsPerVideoSecond: 1 })
    const ready = await statusOnce(jobId, ({ worker }) => worker?.state === 'ready', 'it is ready')
    expect(ready).toMatchObject({ stage: 'queued', waiting_for: 'turn' })
    await stream.tells('ready')
    await beats({ wakeId, state: 'gone' })
    expect(stream.states()).toEqual(['requested', 'starting', 'loading 20', 'loading 60', 'ready'])
    await stream.end()
    await putWake({ state: 'ended', ...at, endedAtMs: Date.now() })
  })

  it.each([
    ['no_capacity', undefined],
    ['provider_away', Date.now() + 30_000],
    ['budget_reached', Date.parse('2031-01-02T00:00:00Z')],
  ] as const)('is told why none comes: %s', async (reason, untilMs) => {
    await tell({ reason, ...(untilMs === undefined ? {} : { untilMs }) })
    const { jobId } = await world.putJob({ state: 'queued', queuedAtMs: Date.now() })
    const seen = await statusOnce(jobId, ({ worker }) => worker?.reason === reason, reason)
    expect(seen).toMatchObject({
      waiting_for: 'worker',
      estimated_completion_at: null,
      worker: { state: 'none', expected_ready_at: null },
    })
    const told = untilMs === undefined ? undefined : new Date(untilMs).toISOString()
    expect(seen.worker?.until).toBe(told)
  })

  it('is told that nobody starts workers here', async () => {
    await tell({ provider: 'none', reason: 'no_worker_configured' })
    const { jobId } = await world.putJob({ state: 'queued', queuedAtMs: Date.now() })
    await statusOnce(jobId, ({ worker }) => worker?.reason === 'no_worker_configured', 'the reason')
  })

  it('that has a worker, or has ended, is told of none', async () => {
    const rendering = await world.putJob({ state: 'rendering', startedAtMs: Date.now(), epoch: 1 })
    expect((await status(rendering.jobId)).worker).toBeNull()
  })
})

it('GET /health names the provider, how many are wanted, and wake-ups by state, without ids', async () => {
  await tell({ wanted: 2, reason: 'ringing' })
  await putWake({ state: 'rung', ref: 'job-of-the-provider' })
  const health = await until(
    async () => {
      const { body } = await world.call('/health')
      const { scale } = body['data'] as unknown as HealthView // As documented.
      return scale?.reason === 'ringing' && scale.wakes.rung > 0 && body
    },
    { what: 'the wake-up in /health' },
  )
  expect(health['data']).toMatchObject({ scale: { provider: 'runpod', wanted: 2 } })
  expect(JSON.stringify(health)).not.toMatch(new RegExp(`${wakeId}|job-of-the-provider`))
})

/** Follows a job by server-sent events, and keeps what its worker was, each time it changed. */
async function followed(jobId: string) {
  const aborted = new AbortController()
  const { headers } = world.mine
  const response = await fetch(`${world.url}/events/${jobId}`, { headers, signal: aborted.signal })
  const seen: string[] = []
  const reading = (async () => {
    let text = ''
    for await (const chunk of response.body ?? []) {
      text += Buffer.from(chunk).toString()
      const events = text.split('\n\n')
      text = events.pop() ?? ''
      for (const event of events) {
        const data = /^data: (.*)$/m.exec(event)?.[1]
        const { worker } = data ? (JSON.parse(data) as StatusView) : {}
        if (!worker) continue
        const told = [worker.state, worker.percent].filter((part) => part !== undefined).join(' ')
        if (seen.at(-1) !== told) seen.push(told)
      }
    }
  })().catch(() => undefined)
  return {
    states: () => seen,
    tells: (state: string) =>
      until(() => seen.includes(state), { what: `the stream to tell ${state}` }),
    async end() {
      aborted.abort()
      await reading
    },
  }
}
