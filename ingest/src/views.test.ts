import { type Held, type JobRecord, jobStates, type Offers, stateTable } from '@avatar/contracts'
import { aJob, aRender } from '@avatar/contracts/testing'
import type { ObjectStore } from '@avatar/service-kit'
import { describe, expect, it } from 'vitest'
import { requireResult, resultView, statusView } from './views.ts'

const nowMs = 1_700_000_100_000

/** A worker that is there, of an earlier version unless it says what it can do. */
function aWorker(offers: Offers | undefined) {
  const beat = { workerId: 'w1', incarnation: 'i1', engine: 'null', state: 'ready' as const }
  const told = { ...beat, secondsPerVideoSecond: 1, atMs: nowMs, jobs: [], offers }
  return { beat: told, seenMsAgo: 0, aheadMs: 0 }
}

/** The view of a job, with the answers of the board, the workers and the estimates given. */
function view(
  job: JobRecord,
  world: {
    position?: number
    held?: Held
    serving?: number
    offers?: Offers
    /** Undefined until its worker is heard. */
    percent?: number | undefined
    completesAtMs?: number
  } = {},
) {
  const { position = 1, serving = 1 } = world
  const { percent } = { percent: 0, ...world }
  const stage = 'rendering' as const
  const held = percent === undefined ? undefined : { ...job, stage, percent, renderedForSeconds: 1 }
  return statusView(job, {
    board: { queuePosition: () => position, heldBackOf: () => world.held },
    workers: {
      heldOf: () => held && { ...held, seenMsAgo: 0 },
      alive: () => (serving > 0 ? [aWorker(world.offers)] : []),
    },
    scale: { summary: () => undefined, scaled: () => undefined, open: () => [] },
    estimates: { completesAtMs: () => world.completesAtMs },
    config: { PUBLIC_PATH_PREFIX: '', POOL_PRICES: {}, CURRENCY: 'USD' },
    nowMs,
  })
}

describe('what a client sees of a state', () => {
  it.each(jobStates)('%s: status and stage are those of the state table', (state) => {
    const { status, stage } = view(aJob({ state }))
    expect(status).toBe(stateTable[state].status)
    expect(stateTable[state].stage.split(' or ')).toContain(stage)
  })

  it('is waiting for a worker while none takes jobs', () => {
    expect(view(aJob({ state: 'queued' }), { serving: 0 })).toMatchObject({
      stage: 'waiting_for_worker',
      queue_position: 1,
    })
  })
})

describe('what a job waits for', () => {
  it.each([
    ['its turn', 'queued', {}, 'turn'],
    ['a worker', 'queued', { serving: 0 }, 'worker'],
    ['the end of its owner’s renders', 'queued', { held: 'own_jobs' }, 'own_jobs'],
    ['the budget, also without a worker', 'pending', { held: 'budget', serving: 0 }, 'budget'],
    ['nothing, once it has a worker', 'claimed', { held: 'own_jobs' }, null],
    ['nothing, at its end', 'completed', { serving: 0 }, null],
  ] as const)('is %s', (_what, state, world, expected) => {
    expect(view(aJob({ state }), world).waiting_for).toBe(expected)
  })

  it('is a worker, while none of those that are there can do it', () => {
    const draft = aJob({ state: 'queued', how: { quality: 'draft' } })
    const offers: Offers = {
      qualities: [{ quality: 'draft', secondsPerVideoSecond: 1 }],
      speakers: 1,
      video: false,
    }
    expect(view(draft).waiting_for).toBe('worker')
    expect(view(draft, { offers }).waiting_for).toBe('turn')
    expect(view(aJob({ state: 'queued' }), { offers }).waiting_for).toBe('worker')
  })

  it('has the priority that was given, or the normal one', () => {
    expect(view(aJob()).priority).toBe('normal')
    expect(view(aJob({ priority: 'high' })).priority).toBe('high')
  })
})

describe('progress', () => {
  it.each([
    ['queued', 50, 0],
    ['claimed', 50, 0],
    ['rendering', 42.34, 42.3],
    ['rendering', 100, 98],
    ['cancelling', 42, 42],
    ['storing', 42, 99],
    ['completed', 0, 100],
    ['failed', 42, 0],
  ] as const)('of a job that is %s at %d percent is %d', (state, percent, progress) => {
    expect(view(aJob({ state }), { percent }).progress).toBe(progress)
  })

  it.each([
    ['as far as it was estimated', 30_000, 60, 50],
    ['almost done at most', 90_000, 60, 98],
    ['at its beginning when the clock went back', -1_000, 60, 0],
    ['at its beginning without an estimate', 30_000, 0, 0],
  ])('of a render whose worker was not heard yet is %s', (_, agoMs, estimatedSeconds, progress) => {
    const job = aJob({ state: 'rendering', startedAtMs: nowMs - agoMs, estimatedSeconds })
    expect(view(job, { percent: undefined }).progress).toBe(progress)
  })
})

it('tells when the job is expected to be done, or null when nobody knows', () => {
  expect(view(aJob(), { completesAtMs: nowMs + 500.7 })).toMatchObject({
    estimated_completion_at: new Date(nowMs + 500).toISOString(),
  })
  expect(view(aJob())).toMatchObject({ estimated_completion_at: null })
})

describe('the result', () => {
  const done = aJob({ state: 'completed', result: aRender(), expiresAtMs: nowMs + 1 })

  it('exists until the moment of its expiry', () => {
    expect(requireResult(done, nowMs)).toEqual(aRender())
    expect(() => requireResult(done, nowMs + 1)).toThrow(
      expect.objectContaining({ code: 'RESULT_DELETED' }),
    )
    expect(() => requireResult({ ...done, deletedAtMs: 1 }, nowMs)).toThrow(
      expect.objectContaining({ code: 'RESULT_DELETED' }),
    )
  })

  it('is missing for a job that has none, whatever its state', () => {
    for (const state of jobStates)
      expect(() => requireResult(aJob({ state }), nowMs)).toThrow(
        expect.objectContaining({
          code: 'JOB_NOT_COMPLETED',
          details: { status: stateTable[state].status },
        }),
      )
  })

  it('describes the video, the engine and how it rendered', async () => {
    const presignLink: ObjectStore['presignLink'] = async (_key, _ttlSeconds, link) =>
      `http://s3/${link.method ?? 'GET'}/${link.disposition}`
    const objects = { presignLink } as Partial<ObjectStore>
    const made = aRender({ engine: 'preview', degraded: true, renderSeconds: 3 })
    const when = { nowMs, maxSeconds: 60 }
    expect(await resultView(objects as ObjectStore, done, made, when)).toMatchObject({
      url: 'http://s3/GET/inline',
      download_url: 'http://s3/GET/attachment',
      head_url: 'http://s3/HEAD/inline',
      ...{ engine: 'preview', degraded: true, render_seconds: 3 },
      ...{ width: made.width, height: made.height, fps: 25, sha256: made.sha256 },
      expires_at: new Date(nowMs + 1).toISOString(),
    })
  })
})
