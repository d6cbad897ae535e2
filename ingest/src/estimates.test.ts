import {
  type Beat,
  type Held,
  type HeldJob,
  type JobRecord,
  type JobsAhead,
  learnPace,
  needsOf,
  type Offers,
  type Pace,
  paceKeyOf,
} from '@avatar/contracts'
import { aJob } from '@avatar/contracts/testing'
import { describe, expect, it } from 'vitest'
import type { RenderUnderWay } from './board.ts'
import { createEstimates } from './estimates.ts'
import type { LiveBeat } from './workers.ts'

const nowMs = 1_700_000_100_000
const owner = aJob().owner
const paceKey = { engine: 'infinitetalk', size: '720p', device: 'L40S', framesPerChunk: 25 }

/** A pace at which a chunk of a second takes so long, without anything fixed. */
const pace = (perChunk: number, difference: Partial<Pace> = {}): Pace => {
  const render = { framesPerChunk: 25, storingSeconds: 2, atMs: 1 }
  const one = learnPace(undefined, { ...render, frames: 25, seconds: perChunk })
  const two = learnPace(one, { ...render, frames: 50, seconds: 2 * perChunk })
  return { ...two, ...difference }
}

type AliveWorker = Partial<Beat> & { seenMsAgo?: number }

const busy = (difference: Partial<RenderUnderWay> = {}): RenderUnderWay => ({
  ...{ jobId: 'other', owner, epoch: 1, state: 'claimed', estimatedSeconds: 100 },
  ...{ startedAtMs: undefined, workerId: 'w1' },
  ...difference,
})

/** Estimates over workers, a board and learned paces that the test names; one idle worker unless it does. */
function estimates(
  world: {
    workers?: AliveWorker[]
    paces?: Record<string, Pace>
    starts?: Record<string, number>
    underWay?: RenderUnderWay[]
    ahead?: readonly (number | JobsAhead['first'][number])[]
    rest?: JobsAhead['rest']
    heldBack?: Held
    cap?: number
    held?: Partial<HeldJob> & { seenMsAgo?: number }
  } = {},
) {
  const { workers = [{}], paces = {}, starts = {}, underWay = [], ahead = [], cap } = world
  const alive = workers.map(({ seenMsAgo = 0, ...difference }, at) => {
    const idle = { workerId: `w${at + 1}`, incarnation: 'i1', engine: 'null', state: 'ready' }
    const beat = { ...idle, secondsPerVideoSecond: null, atMs: nowMs, jobs: [], ...difference }
    return { beat: beat as LiveBeat, aheadMs: 0, seenMsAgo }
  })
  const first = ahead.map((each) =>
    typeof each === 'number' ? { owner: 'another', seconds: each } : each,
  )
  const held = world.held && {
    ...{ jobId: 'any', owner, epoch: 1, stage: 'rendering' as const, percent: 0 },
    ...{ renderedForSeconds: 0, deadlineSeconds: 600, seenMsAgo: 0, ...world.held },
  }
  return createEstimates({
    board: {
      rendersUnderWay: () => underWay,
      jobsAhead: () => ({ first, rest: world.rest ?? { count: 0, seconds: 0 } }),
      heldBackOf: () => world.heldBack,
    },
    workers: { alive: () => alive, heldOf: () => held },
    paces: {
      ofRenders: () => new Map(Object.entries(paces)),
      startSecondsOf: (pool) => starts[pool],
    },
    rendersAtOnceOf: () => cap,
  })
}

type World = Parameters<typeof estimates>[0]

/** Seconds from now until the job is done. */
function doneIn(job: JobRecord, world: World = {}): number | undefined {
  const atMs = estimates(world).completesAtMs(job, nowMs)
  return atMs === undefined ? undefined : (atMs - nowMs) / 1000
}

const learned = { [paceKeyOf(paceKey)]: pace(3) }

describe('the seconds of a render', () => {
  const offers = (high: number): Offers => ({
    qualities: [
      { quality: 'standard', secondsPerVideoSecond: 3 },
      { quality: 'high', secondsPerVideoSecond: high },
    ],
    speakers: 1,
    video: false,
  })
  const high = needsOf({ how: { quality: 'high' } })

  it('are those that the fastest worker announced for the quality, until it is learned', () => {
    const workers = [{ paceKey, offers: offers(30) }, { offers: offers(20) }]
    const plain = { workerId: 'w9', secondsPerVideoSecond: 1 }
    const known = estimates({ workers: [...workers, plain], paces: learned })
    expect(known.renderSeconds(250, high)).toBeCloseTo(200)
    expect(known.renderSeconds(250)).toBeCloseTo(10)
    const both = { ...learned, [paceKeyOf({ ...paceKey, quality: 'high' })]: pace(9) }
    expect(estimates({ workers, paces: both }).renderSeconds(250, high)).toBeCloseTo(90)
    expect(estimates({ workers: [], paces: both }).renderSeconds(250, high)).toBeCloseTo(90)
    expect(estimates({ workers: [], paces: both }).renderSeconds(250)).toBeCloseTo(30)
  })

  it('begin when a worker that can do the job is free, however many others are', () => {
    const job = aJob({ state: 'queued', how: { quality: 'high' }, estimatedSeconds: 7 })
    const able = { workerId: 'w1', offers: offers(20) }
    expect(doneIn(job, { workers: [{ workerId: 'w2' }] })).toBeUndefined()
    expect(doneIn(job, { workers: [{ workerId: 'w2' }, able] })).toBe(7)
    const underWay = [busy({ workerId: 'w1', estimatedSeconds: 50 })]
    expect(doneIn(job, { workers: [{ workerId: 'w2' }, able], underWay })).toBe(57)
  })

  it('are those learned for the fastest worker', () => {
    const fast = { ...paceKey, device: 'H100' }
    const paces = { ...learned, [paceKeyOf(fast)]: pace(1) }
    const workers = [{ paceKey }, { paceKey: fast }]
    expect(estimates({ workers, paces }).renderSeconds(250)).toBeCloseTo(10)
    const draining: AliveWorker = { paceKey: fast, state: 'draining' }
    expect(estimates({ workers: [{ paceKey }, draining], paces }).renderSeconds(250)).toBeCloseTo(
      30,
    )
  })

  it('are by the calibration of a worker of whose like nothing was learned', () => {
    const workers = [{ secondsPerVideoSecond: 0.5 }]
    expect(estimates({ workers, paces: learned }).renderSeconds(250)).toBe(5)
  })

  it('are, without a worker that tells, by the pace seen last, else by an assumption', () => {
    const start = { samples: 1, seconds: 9 } as unknown as Pace // It has a key of its own.
    const old = { ...learned, 'old.720p.cpu': pace(8, { atMs: 0 }), 'start.l40s': start }
    for (const workers of [[], [{ state: 'loading' as const }]])
      expect(estimates({ workers, paces: old }).renderSeconds(250)).toBeCloseTo(30)
    expect(estimates({ workers: [] }).renderSeconds(250)).toBe(20)
  })
})

describe('a waiting job', () => {
  const queued = aJob({ state: 'queued', estimatedSeconds: 10 })

  it('is done after the jobs ahead, each of which goes to the worker that is free first', () => {
    expect(doneIn(queued)).toBe(10)
    expect(doneIn(queued, { ahead: [40, 5] })).toBe(55)
    expect(doneIn(queued, { ahead: [40, 5, 5], workers: [{}, {}] })).toBe(20)
    expect(doneIn(queued, { ahead: [40], workers: [{}, {}] })).toBe(10)
  })

  it('shares what lies beyond the first jobs of a long queue evenly', () => {
    const rest = { count: 900, seconds: 4_000 }
    expect(doneIn(queued, { ahead: [6, 8], rest, workers: [{}, {}] })).toBe(2_016)
  })

  it('waits for what its worker has in hand, and for what a lost worker had', () => {
    const workers = [{}, {}]
    expect(doneIn(queued, { underWay: [busy()], workers })).toBe(10)
    expect(doneIn(queued, { underWay: [busy(), busy({ workerId: 'w2' })], workers })).toBe(110)
    expect(doneIn(queued, { underWay: [busy({ workerId: 'gone' })] })).toBe(110)
  })

  it('waits for a worker that loads, as long as its pool has learned to take', () => {
    const loading: AliveWorker = {
      ...{ state: 'loading', pool: 'l40s', seenMsAgo: 2_000 },
      time: { loadingSeconds: 18, idleSeconds: 0, renderingSeconds: 0 },
    }
    const starts = { l40s: 60 }
    expect(doneIn(queued, { workers: [loading], starts })).toBe(50)
    expect(doneIn(queued, { workers: [loading] })).toBe(10)
    expect(doneIn(queued, { workers: [{ ...loading, seenMsAgo: 99_000 }], starts })).toBe(10)
    expect(doneIn(queued, { workers: [loading, {}], starts })).toBe(10)
  })

  it('is stored after its render, as long as that was seen to take', () => {
    expect(doneIn(queued, { paces: learned })).toBe(12)
  })

  it('is done when nobody can tell: without a worker, with sick ones, with a spent budget', () => {
    expect(doneIn(queued, { workers: [] })).toBeUndefined()
    expect(doneIn(queued, { workers: [{ state: 'draining' }] })).toBeUndefined()
    const sick: AliveWorker = { state: 'loading', trouble: 'no weights' }
    expect(doneIn(queued, { workers: [sick] })).toBeUndefined()
    expect(doneIn(queued, { heldBack: 'budget' })).toBeUndefined()
  })

  it('of fifty jobs that queue is told within a fifth by the median, though renders vary by a third', () => {
    const estimated = Array.from({ length: 50 }, (_, at) => 4 + ((at * 7) % 13))
    const freeInSeconds = [0, 0]
    const errors = estimated.map((estimatedSeconds, at) => {
      const job = aJob({ state: 'queued', estimatedSeconds })
      const ahead = estimated.slice(0, at)
      const told = doneIn(job, { ahead, workers: [{}, {}], paces: learned }) ?? 0
      freeInSeconds.sort((a, b) => a - b)
      const rendered = (freeInSeconds.shift() ?? 0) + estimatedSeconds * (0.85 + (at % 6) * 0.06)
      freeInSeconds.push(rendered)
      const took = rendered + 2
      return Math.abs(told - took) / took
    })
    expect(errors.toSorted((a, b) => a - b)[25]).toBeLessThan(0.2)
  })

  it('starts no earlier than its back-off ends', () => {
    expect(doneIn({ ...queued, notBeforeMs: nowMs + 30_000 })).toBe(40)
  })

  it('starts no earlier than its owner’s other jobs allow', () => {
    const workers = [{}, {}, {}]
    const own = { owner, seconds: 5 }
    const underWay = [busy()]
    expect(doneIn(queued, { workers, underWay, ahead: [own] })).toBe(10)
    expect(doneIn(queued, { workers, underWay, ahead: [own, 7], cap: 1 })).toBe(115)
    expect(doneIn(queued, { workers, underWay, ahead: [own, 7], cap: 2 })).toBe(15)
    expect(doneIn(queued, { workers, underWay: [busy({ owner: 'another' })], cap: 1 })).toBe(10)
  })
})

describe('a job that a worker has', () => {
  const claimed = aJob({
    ...{ state: 'claimed', epoch: 1, estimatedSeconds: 10 },
    worker: { id: 'w1', incarnation: 'i1' },
  })
  const rendering = (secondsAgo: number, estimatedSeconds = 100) =>
    aJob({
      ...claimed,
      state: 'rendering',
      estimatedSeconds,
      startedAtMs: nowMs - secondsAgo * 1000,
    })

  it('is rendered after the one that its worker still renders', () => {
    const other = busy({ state: 'rendering', startedAtMs: nowMs - 60_000 })
    expect(doneIn(claimed, { underWay: [other] })).toBe(50)
    expect(doneIn(claimed, { underWay: [{ ...other, workerId: 'w2' }] })).toBe(10)
  })

  it('is done when its worker says, counted down since that was heard, and stored after that', () => {
    const held = { percent: 60, remainingSeconds: 44, seenMsAgo: 1_500 }
    expect(doneIn(rendering(10), { held })).toBe(42.5)
    expect(doneIn(rendering(10), { held, paces: learned })).toBe(44.5)
    expect(doneIn(rendering(10), { held: { ...held, seenMsAgo: 60_000 } })).toBe(0)
  })

  it('is told by the progress alone of a worker that tells no more', () => {
    expect(doneIn(rendering(40), { held: { percent: 80 } })).toBeCloseTo(10)
    expect(doneIn(rendering(41), { held: { percent: 80, seenMsAgo: 1_000 } })).toBeCloseTo(9)
    expect(doneIn(rendering(5), { held: { percent: 0 } })).toBe(95)
  })

  it('is told without a step from the claim to the end, though the worker expects half as long', () => {
    const told = [doneIn({ ...claimed, estimatedSeconds: 100 }) ?? 0]
    for (let second = 0; second <= 50; second += 0.1) {
      const percent = 2 * second
      const held = { percent, remainingSeconds: 50 - second }
      told.push(second + (doneIn(rendering(second), { held }) ?? 0))
    }
    const steps = told.slice(1).map((each, at) => Math.abs(each - (told[at] ?? 0)))
    expect(Math.max(...steps)).toBeLessThan(0.5)
    expect(told.at(-1)).toBeCloseTo(50)
  })

  it('is stored from the end of its render on, and never done in the past', () => {
    const held = { stage: 'uploading' as const, percent: 100, renderedForSeconds: 49 }
    const over = { held: { ...held, remainingSeconds: 0 }, paces: learned }
    expect(doneIn(rendering(50), over)).toBe(1)
    expect(doneIn({ ...rendering(50), state: 'storing' }, over)).toBe(1)
    expect(doneIn({ ...rendering(60), state: 'storing' }, over)).toBe(0)
    expect(doneIn({ ...rendering(60), state: 'storing' }, {})).toBe(0)
    expect(doneIn(rendering(500), {})).toBe(0)
  })

  it('is unknown while it is being cancelled, and the end of one that has ended', () => {
    expect(doneIn({ ...claimed, state: 'cancelling' })).toBeUndefined()
    expect(doneIn({ ...claimed, state: 'completed', finishedAtMs: nowMs - 500 })).toBe(-0.5)
  })
})
