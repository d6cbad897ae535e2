import { describe, expect, it } from 'vitest'
import { createFairOrder, type FairJob, type FairRules } from './fair-order.ts'
import { timings } from './timings.ts'

const headStartSeconds = timings.highHeadStartMs / 1000

type Owner = {
  share?: number
  /** How many may render at once. */
  renders?: number
  /** The seconds that its jobs really take, one after the other, again from the start at the end. */
  lengths: readonly number[]
  /** When its first jobs come, and when no more come. */
  from?: number
  until?: number
  /** Of how many jobs one is high; 0 for none. */
  highEvery?: number
  /** What is estimated of its jobs, as a part of the truth. */
  estimated?: number
}

type Options = {
  workers: number
  owners: Readonly<Record<string, Owner>>
  /** What is estimated, as a part of the truth: 0.8 to 1.25 by turns. */
  isEstimateRough?: boolean
  /** One attempt in so many is lost half way. */
  lossEvery?: number
  seconds: number
}

type Stretch = { owner: string; jobId: string; from: number; to: number }

/** Workers that render what the order gives them, for owners who always have twenty jobs waiting. */
function simulate({ workers, owners, isEstimateRough, lossEvery, seconds }: Options) {
  const running = new Map<string, number>()
  const rules: FairRules = {
    headStartSeconds,
    shareOf: (owner) => owners[owner]?.share ?? 1,
    heldBack: (owner, now) =>
      now >= (owners[owner]?.renders ?? Infinity) ? 'own_jobs' : undefined,
  }
  const order = createFairOrder(rules)
  const jobs = new Map<string, FairJob>()
  const stretches: Stretch[] = []
  const lost: { jobId: string; at: number; placeAfter: number | undefined }[] = []
  const busy: { until: number; stretch: Stretch; isLost: boolean }[] = []
  let revision = 0
  let attempts = 0
  let mostOfCapped = 0

  const note = (job: FairJob) => {
    jobs.set(job.jobId, job)
    order.note(job, ++revision)
  }
  const lengthOf = ({ owner, jobId }: { owner: string; jobId: string }) => {
    const { lengths } = owners[owner] as Owner
    return lengths[Number(jobId.split('-')[1]) % lengths.length] ?? 1
  }
  const made = new Map<string, number>()
  const waiting = new Map<string, number>()
  function fill(now: number) {
    for (const [owner, each] of Object.entries(owners)) {
      const { from = 0, until = Infinity, highEvery = 0, estimated = 1 } = each
      if (now < from || now >= until) continue
      while ((waiting.get(owner) ?? 0) < 20) {
        const n = made.get(owner) ?? 0
        made.set(owner, n + 1)
        waiting.set(owner, (waiting.get(owner) ?? 0) + 1)
        const jobId = `${owner}-${n}`
        const factor = (isEstimateRough ? [0.8, 1, 1.25][n % 3] : 1) ?? 1
        const estimatedSeconds = lengthOf({ owner, jobId }) * factor * estimated
        const isHigh = highEvery > 0 && n % highEvery === 0
        note({
          ...{ jobId, owner, state: 'queued', createdAtMs: now * 1000 + n, estimatedSeconds },
          ...(isHigh ? { priority: 'high' as const } : {}),
        })
      }
    }
  }

  let now = 0
  while (now < seconds) {
    fill(now)
    while (busy.length < workers) {
      const next = order.pick(now * 1000)
      const job = next && jobs.get(next.jobId)
      if (!job) break
      const { jobId, owner } = job
      const { seconds: estimatedSeconds } = next.turn
      const taken = { estimatedSeconds, takenAtMs: now * 1000, ...job.turn }
      note({ ...job, state: 'rendering', turn: { ...next.turn, ...taken } })
      const isFirst = job.turn === undefined
      waiting.set(owner, (waiting.get(owner) ?? 0) - 1)
      running.set(owner, (running.get(owner) ?? 0) + 1)
      if (owners[owner]?.renders) mostOfCapped = Math.max(mostOfCapped, running.get(owner) ?? 0)
      const isLost = isFirst && lossEvery !== undefined && ++attempts % lossEvery === 0
      const to = now + lengthOf(job) * (isLost ? 0.5 : 1)
      busy.push({ until: to, stretch: { owner, jobId, from: now, to }, isLost })
    }
    busy.sort((a, b) => b.until - a.until)
    const done = busy.pop()
    now = done?.until ?? now + 1
    if (!done) continue
    const { owner, jobId, from, to } = done.stretch
    stretches.push(done.stretch)
    running.set(owner, (running.get(owner) ?? 0) - 1)
    const job = jobs.get(jobId) as FairJob
    if (done.isLost) {
      waiting.set(owner, (waiting.get(owner) ?? 0) + 1)
      note({ ...job, state: 'queued' })
      lost.push({ jobId, at: now, placeAfter: order.placeOf(jobId) })
    } else {
      jobs.delete(jobId)
      note({
        ...job,
        state: 'completed',
        finishedAtMs: now * 1000,
        turn: { start: 0, ...job.turn, seconds: to - from },
      })
    }
  }
  /** The GPU seconds that an owner got between two moments. */
  const used = (owner: string, from: number, to: number) =>
    stretches
      .filter((each) => each.owner === owner)
      .reduce(
        (sum, each) => sum + Math.max(0, Math.min(to, each.to) - Math.max(from, each.from)),
        0,
      )
  return { used, stretches, lost, mostOfCapped }
}

/** The greatest difference of two owners' GPU seconds per share over any window, by tens of seconds. */
function greatestGap(options: Options, [a, b]: readonly [string, string], from = 0) {
  const { used } = simulate(options)
  const perShare = (owner: string, to: number) =>
    used(owner, 0, to) / (options.owners[owner]?.share ?? 1)
  let least = Infinity
  let most = -Infinity
  for (let at = from; at <= options.seconds; at += 10) {
    const ahead = perShare(a, at) - perShare(b, at)
    least = Math.min(least, ahead)
    most = Math.max(most, ahead)
  }
  return most - least
}

/** What the design promises of two owners who both wait throughout. */
function boundOf({ workers, owners }: Options, [a, b]: readonly [string, string]) {
  const longest = (owner: string) =>
    Math.max(...(owners[owner]?.lengths ?? [])) / (owners[owner]?.share ?? 1)
  return headStartSeconds + (workers + 1) * (longest(a) + longest(b))
}

const many = { lengths: [4, 9, 6, 5] }
const long = { lengths: [60, 35, 80] }

describe('two owners who wait throughout', () => {
  it.each<[string, Options, readonly [string, string]]>([
    [
      'one long, one short',
      { workers: 3, owners: { a: long, b: many }, seconds: 4_000 },
      ['a', 'b'],
    ],
    [
      'beside two others, one of them twice as entitled',
      {
        workers: 3,
        owners: { a: long, b: many, c: many, d: { ...long, share: 2 } },
        seconds: 4_000,
      },
      ['a', 'd'],
    ],
    [
      'one who marks everything high',
      { workers: 2, owners: { a: { ...many, highEvery: 1 }, b: many }, seconds: 2_000 },
      ['a', 'b'],
    ],
    [
      'one whose every third is high, on one worker',
      { workers: 1, owners: { a: { ...many, highEvery: 3 }, b: long }, seconds: 4_000 },
      ['a', 'b'],
    ],
    [
      'with estimates that are wrong by a quarter',
      { workers: 3, owners: { a: long, b: many, c: long }, isEstimateRough: true, seconds: 4_000 },
      ['a', 'b'],
    ],
    [
      'one whose jobs all take twice as long as estimated',
      { workers: 2, owners: { a: { ...many, estimated: 0.5 }, b: many }, seconds: 20_000 },
      ['a', 'b'],
    ],
    [
      'one whose jobs all take half as long as estimated',
      { workers: 3, owners: { a: { ...many, estimated: 2 }, b: many }, seconds: 20_000 },
      ['a', 'b'],
    ],
    [
      'one who comes later',
      { workers: 3, owners: { a: long, b: { ...many, from: 1_000 } }, seconds: 4_000 },
      ['a', 'b'],
    ],
  ])('get GPU seconds per share within the bound: %s', (_name, options, pair) => {
    const from = Math.max(...pair.map((owner) => options.owners[owner]?.from ?? 0))
    expect(greatestGap(options, pair, from)).toBeLessThanOrEqual(boundOf(options, pair))
  })

  it('get no less than half of their share in any minute where jobs are short', () => {
    const owners = { a: many, b: many, c: { ...many, share: 2 } }
    const { used } = simulate({ workers: 3, owners, seconds: 2_000 })
    for (let from = 0; from < 1_900; from += 7)
      for (const [owner, part] of [
        ['a', 0.25],
        ['b', 0.25],
        ['c', 0.5],
      ] as const)
        expect(used(owner, from, from + 60)).toBeGreaterThanOrEqual((3 * 60 * part) / 2)
  })
})

describe('over an hour', () => {
  it('shares of 1, 1 and 2 get a quarter, a quarter and a half', () => {
    const owners = { a: many, b: long, c: { ...many, share: 2 } }
    const { used } = simulate({ workers: 3, owners, seconds: 3_600 })
    for (const [owner, part] of [
      ['a', 0.25],
      ['b', 0.25],
      ['c', 0.5],
    ] as const)
      expect(used(owner, 0, 3_600) / (3 * 3_600)).toBeCloseTo(part, 1)
  })

  it('a cap of one is never passed, and the others take what it leaves', () => {
    const owners = { a: { ...many, renders: 1 }, b: many }
    const { used, mostOfCapped } = simulate({ workers: 4, owners, seconds: 3_600 })
    expect(mostOfCapped).toBe(1)
    expect(used('a', 0, 3_600)).toBeGreaterThan(3_500)
    expect(used('b', 0, 3_600)).toBeGreaterThan(10_700)
  })

  it('who marks everything high starves nobody, and gains its head start once', () => {
    const owners = { a: { ...many, highEvery: 1 }, b: many, c: many }
    const { used } = simulate({ workers: 1, owners, seconds: 3_600 })
    expect(used('a', 0, 100)).toBeGreaterThan(60)
    expect(used('a', 0, 3_600) - used('b', 0, 3_600)).toBeLessThanOrEqual(headStartSeconds + 18)
    expect(used('b', 0, 3_600)).toBeGreaterThan(1_100)
  })
})

describe('who was away', () => {
  it('neither owes for what it had alone, nor is owed for its absence', () => {
    const owners = { a: many, b: { ...many, from: 1_000 }, c: { ...many, from: 1_000 } }
    const { used } = simulate({ workers: 2, owners, seconds: 1_600 })
    for (const owner of ['a', 'b', 'c']) {
      expect(used(owner, 1_000, 1_300)).toBeGreaterThan(160)
      expect(used(owner, 1_000, 1_600)).toBeCloseTo(400, -2)
    }
  })
})

describe('jobs that are lost', () => {
  const owners = { a: many, b: long }
  const { lost, stretches, used } = simulate({ workers: 3, owners, lossEvery: 5, seconds: 2_000 })

  it('are next again, whoever else waits', () => {
    expect(lost.length).toBeGreaterThan(20)
    for (const { jobId, at, placeAfter } of lost) {
      expect(placeAfter).toBeLessThanOrEqual(2)
      const again = stretches.filter((each) => each.jobId === jobId && each.from >= at)
      const between = stretches.filter(({ from }) => from > at && from < (again[0]?.from ?? 0))
      expect(between.length).toBeLessThanOrEqual(1)
    }
  })

  it('cost their owners no second turn', () => {
    const paid = (owner: string) => {
      const lostOnes = new Set(lost.map(({ jobId }) => jobId))
      const half = stretches.filter((each) => each.owner === owner && lostOnes.has(each.jobId))
      const wasted = half.reduce((sum, { from, to }) => sum + (to - from), 0) / 3
      return used(owner, 0, 2_000) - wasted
    }
    expect(Math.abs(paid('a') - paid('b'))).toBeLessThan(150)
  })
})
