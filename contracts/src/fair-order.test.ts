import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createFairOrder, equalShares, type FairJob, type FairRules } from './fair-order.ts'
import type { JobState } from './job.ts'
import { type Needs, needsOf, plainNeeds } from './offers.ts'
import { timings } from './timings.ts'

const headStartSeconds = timings.highHeadStartMs / 1000
const nowMs = 1_000_000

/** Rules by owner: the share, and how many may run at once. */
function rulesOf(
  owners: Readonly<Record<string, { share?: number; renders?: number; isBroke?: boolean }>> = {},
): FairRules {
  return {
    headStartSeconds,
    shareOf: (owner) => owners[owner]?.share ?? 1,
    heldBack(owner, running) {
      if (owners[owner]?.isBroke) return 'budget'
      return running >= (owners[owner]?.renders ?? Infinity) ? 'own_jobs' : undefined
    },
  }
}

/** A queued job: owner `a`, number 3 is `a3`, created at 3. */
function job(jobId: string, difference: Partial<FairJob> = {}): FairJob {
  const createdAtMs = Number(jobId.slice(1))
  const owner = jobId.slice(0, 1)
  return { jobId, owner, state: 'queued', createdAtMs, estimatedSeconds: 10, ...difference }
}

function orderOf(jobs: readonly FairJob[], rules = rulesOf()) {
  const order = createFairOrder(rules)
  const latest = new Map(jobs.map((each) => [each.jobId, each]))
  let revision = 0
  const note = (...changed: FairJob[]) => {
    for (const each of changed) {
      latest.set(each.jobId, each)
      order.note(each, ++revision)
    }
  }
  note(...jobs)
  /** Claims the next job. */
  const claim = (atMs = nowMs) => {
    const next = order.pick(atMs)
    const found = next && latest.get(next.jobId)
    if (found) note({ ...found, state: 'claimed', turn: next.turn })
    return next?.jobId
  }
  const end = (jobId: string, seconds: number, state: JobState = 'completed') => {
    const found = latest.get(jobId)
    if (found?.turn) note({ ...found, state, turn: { ...found.turn, seconds } })
  }
  const claimAll = () => {
    const claimed: string[] = []
    for (let next = claim(); next !== undefined; next = claim()) claimed.push(next)
    return claimed
  }
  return { order, note, claim, claimAll, end, get: (id: string) => latest.get(id) as FairJob }
}

describe('the next job', () => {
  it('is the oldest of an owner, high before normal', () => {
    const { claimAll } = orderOf([job('a2'), job('a1'), job('a9', { priority: 'high' }), job('a3')])
    expect(claimAll()).toEqual(['a9', 'a1', 'a2', 'a3'])
  })

  it('goes round the owners, however many jobs each has and whoever came first', () => {
    const many = [1, 2, 3, 4].map((each) => job(`a${each}`))
    const { claimAll } = orderOf([...many, job('b8'), job('b9')])
    expect(claimAll()).toEqual(['a1', 'b8', 'a2', 'b9', 'a3', 'a4'])
  })

  it('goes by GPU seconds, not by jobs', () => {
    const short = [1, 2, 3, 4].map((each) => job(`a${each}`, { estimatedSeconds: 10 }))
    const long = [5, 6].map((each) => job(`b${each}`, { estimatedSeconds: 20 }))
    expect(orderOf([...short, ...long]).claimAll()).toEqual(['a1', 'b5', 'a2', 'a3', 'b6', 'a4'])
  })

  it('goes by share', () => {
    const jobs = [1, 2, 3, 4, 5, 6].flatMap((each) => [job(`a${each}`), job(`b${each}`)])
    const { claimAll } = orderOf(jobs, rulesOf({ b: { share: 2 } }))
    const claimed = claimAll().slice(0, 6)
    expect(claimed.filter((each) => each.startsWith('b'))).toHaveLength(4)
  })

  it('is none of an owner at its cap, or out of budget', () => {
    const rules = rulesOf({ a: { renders: 1 }, b: { isBroke: true } })
    const { order, claim, end } = orderOf([job('a1'), job('a2'), job('b3'), job('c4')], rules)
    expect([claim(), claim(), claim()]).toEqual(['a1', 'c4', undefined])
    expect([order.heldBackOf('a'), order.heldBackOf('b'), order.heldBackOf('c')]).toEqual([
      'own_jobs',
      'budget',
      undefined,
    ])
    end('a1', 10, 'storing')
    expect(claim()).toBe('a2')
  })

  it('is not in back-off, however many are', () => {
    const resting = Array.from({ length: 1_000 }, (_none, at) =>
      job(`a${at}`, { notBeforeMs: nowMs + 1 + at }),
    )
    const { order, claim } = orderOf([...resting, job('a5000')])
    expect(order.placeOf('a5000')).toBe(1_001)
    expect(claim()).toBe('a5000')
    expect(claim()).toBeUndefined()
    expect(claim(nowMs + 3)).toBe('a0')
    expect(order.mayStartCount(nowMs + 3)).toBe(2)
  })

  it('takes a turn behind the latest of its owner, for the seconds that it used once it ended', () => {
    const { order, claim, end } = orderOf([job('a1'), job('a2')])
    claim()
    expect(order.pick(nowMs)?.turn).toEqual({ start: 10, seconds: 10 })
    end('a1', 25)
    expect(order.pick(nowMs)?.turn).toEqual({ start: 25, seconds: 10 })
  })

  it('takes what an earlier turn took more or less than estimated into the next one, however late it is told', () => {
    const taken = (start: number, takenAtMs: number) => ({
      ...{ start, seconds: 10, estimatedSeconds: 10, takenAtMs },
    })
    const first = job('a1', { state: 'rendering', turn: taken(0, nowMs) })
    const second = job('a2', { state: 'rendering', turn: taken(10, nowMs + 5) })
    const ended = (seconds: number, finishedAtMs: number): FairJob => ({
      ...{ ...first, state: 'completed', finishedAtMs },
      turn: { ...taken(0, nowMs), seconds },
    })
    const nextStart = (...jobs: FairJob[]) =>
      orderOf([...jobs, job('a3')]).order.pick(nowMs)?.turn.start
    expect(nextStart(first, second)).toBe(20)
    expect(nextStart(second, ended(25, nowMs + 6))).toBe(35)
    expect(nextStart(ended(25, nowMs + 6), second)).toBe(35)
    expect(nextStart(ended(4, nowMs + 6), second)).toBe(14)
    // The second turn was taken in the knowledge of it.
    expect(nextStart(ended(25, nowMs + 5), second)).toBe(20)
  })

  it('of an owner who was away starts now: it neither owes nor is owed', () => {
    const { note, claim, claimAll } = orderOf([1, 2, 3, 4, 5].map((each) => job(`a${each}`)))
    for (let each = 0; each < 4; each++) claim()
    note(...[6, 7, 8].map((each) => job(`b${each}`)))
    note(job('a9'))
    expect(claimAll()).toEqual(['b6', 'a5', 'b7', 'b8', 'a9'])
  })

  it('of high priority runs at most the head start before its share', () => {
    const jobs = [1, 2, 3, 4, 5, 6, 7, 8, 9].flatMap((each) => [
      job(`a${each}`, { priority: 'high' }),
      job(`b${each}`),
    ])
    const ahead = orderOf(jobs).claimAll().indexOf('b1')
    expect(ahead).toBe(headStartSeconds / 10)
  })

  it('is again one that was lost, with the turn it paid for', () => {
    const { order, note, claim, get } = orderOf([job('a1'), job('a2'), job('b3')])
    claim()
    const { turn } = get('a1')
    note({ ...get('a1'), state: 'queued', notBeforeMs: nowMs + 10 })
    expect([order.placeOf('a1'), order.placeOf('b3'), order.placeOf('a2')]).toEqual([1, 2, 3])
    expect(order.pick(nowMs)?.jobId).toBe('b3')
    expect(order.pick(nowMs + 10)).toEqual({ jobId: 'a1', owner: 'a', turn })
    expect(claim(nowMs + 10)).toBe('a1')
    expect(order.placeOf('b3')).toBe(1)
  })
})

describe('a place', () => {
  it('is that of the claims to come, also where keys are equal', () => {
    const high = { priority: 'high', estimatedSeconds: 100 } as const
    const came = job('a4', { turn: { start: 0, seconds: 0 } })
    const others = [job('b0', { estimatedSeconds: 40 }), job('b3')]
    const { order, claimAll } = orderOf([job('a1', high), job('a2', high), came, ...others])
    const expected = ['a1', 'b0', 'a2', 'b3', 'a4']
    expect(expected.map((id) => order.placeOf(id))).toEqual([1, 2, 3, 4, 5])
    expect(claimAll()).toEqual(expected)
  })
})

describe('what is noted', () => {
  it('counts by revision: an older one changes nothing, and brings no ended job back', () => {
    const order = createFairOrder(rulesOf())
    order.note(job('a1', { state: 'rendering' }), 5)
    order.note(job('a1'), 4)
    expect(order.waitingCount()).toBe(0)
    order.note(job('a1', { state: 'cancelled' }), 7)
    order.note(job('a1'), 6)
    expect(order.waitingCount()).toBe(0)
    expect(order.pick(nowMs)).toBeUndefined()
  })

  it('is gone once forgotten, and may come again', () => {
    const order = createFairOrder(rulesOf())
    order.note(job('a1'), 5)
    order.forget('a1')
    order.forget('a1')
    expect([order.waitingCount(), order.placeOf('a1')]).toEqual([0, undefined])
    order.note(job('a1'), 0)
    expect([order.waitingCount(), order.placeOf('a1')]).toEqual([1, 1])
  })

  it('gives the same order in any sequence, and without the earlier revisions', () => {
    fc.assert(
      fc.property(anyJobs, fc.infiniteStream(fc.nat()), (jobs, random) => {
        const shuffled = jobs
          .map((each) => ({ each, at: random.next().value }))
          .sort((a, b) => a.at - b.at)
          .map(({ each }) => each)
        const earlier = jobs.map((each) => ({ ...each, state: 'queued' as const, turn: undefined }))
        const again = createFairOrder(rulesOf())
        for (const each of earlier) again.note(each, 1)
        for (const each of jobs) again.note(each, 2)
        const orders = [jobs, shuffled].map((each) => orderOf(each).order)
        for (const other of [...orders, again])
          for (const { jobId } of jobs) expect(other.placeOf(jobId)).toBe(orders[0]?.placeOf(jobId))
      }),
      { numRuns: 100, seed: 7 },
    )
  })
})

/** Jobs of four owners. Whole seconds and shares that divide them, so that sums are exact and ties are many. */
const anyJobs = fc
  .array(
    fc.record({
      owner: fc.constantFrom('a', 'b', 'c', 'd'),
      createdAtMs: fc.nat(20),
      estimatedSeconds: fc.constantFrom(0, 4, 8, 20, 40),
      priority: fc.constantFrom<FairJob['priority'][]>('high', 'normal', undefined),
      notBeforeMs: fc.constantFrom(undefined, nowMs, nowMs + 500),
      state: fc.constantFrom<JobState>('queued', 'queued', 'queued', 'rendering', 'completed'),
      turn: fc.option(
        fc.record({ start: fc.nat(30).map((n) => n * 4), seconds: fc.nat(5).map((n) => n * 4) }),
        { nil: undefined },
      ),
    }),
    { maxLength: 40 },
  )
  // The generator says `undefined` where a record leaves the field out.
  .map((jobs) => jobs.map((each, at) => ({ ...each, jobId: `j${1_000 + at}` }) as FairJob))

/** Of all jobs that wait, in the words of the design: no line, no sums, every record looked at. */
function naivePick(jobs: readonly FairJob[], rules: FairRules, atMs: number) {
  const turns = jobs.flatMap(({ owner, priority, turn }) =>
    turn ? [{ owner, priority, turn }] : [],
  )
  const head = (priority: FairJob['priority']) => (priority === 'high' ? headStartSeconds : 0)
  const v = Math.max(0, ...turns.map(({ turn, priority }) => turn.start - head(priority)))
  const running = (owner: string) =>
    jobs.filter((each) => each.owner === owner && each.state === 'rendering').length
  const heads = [...new Set(jobs.map(({ owner }) => owner))].flatMap((owner) => {
    if (rules.heldBack(owner, running(owner))) return []
    const [first] = jobs
      .filter((each) => each.owner === owner && each.state === 'queued')
      .filter(({ notBeforeMs = 0 }) => notBeforeMs <= atMs)
      .sort((a, b) => head(b.priority) - head(a.priority) || byAge(a, b))
    if (!first) return []
    const own = turns.filter((each) => each.owner === owner).map(({ turn }) => turn)
    const latest = Math.max(0, ...own.map(({ start }) => start))
    const seconds = own.reduce((sum, each) => sum + (each.start === latest ? each.seconds : 0), 0)
    const finish = latest + seconds / rules.shareOf(owner)
    const turn = first.turn ?? { start: Math.max(finish, v), seconds: first.estimatedSeconds }
    return [{ job: first, turn, key: Math.max(turn.start, v) - head(first.priority) }]
  })
  return heads.sort((a, b) => a.key - b.key || byAge(a.job, b.job))[0]
}

function byAge(a: FairJob, b: FairJob): number {
  return a.createdAtMs - b.createdAtMs || (a.jobId < b.jobId ? -1 : 1)
}

describe('against an order that looks at every record each time', () => {
  const rules = rulesOf({ b: { share: 2 }, c: { renders: 3 }, d: { share: 4, renders: 1 } })

  it('the next job is the same, through claims, losses and ends', () => {
    fc.assert(
      fc.property(anyJobs, fc.array(fc.nat(9), { maxLength: 60 }), (jobs, steps) => {
        const { order, note } = orderOf(jobs, rules)
        const all = new Map(jobs.map((each) => [each.jobId, each]))
        const change = (changed: FairJob) => {
          all.set(changed.jobId, changed)
          note(changed)
        }
        let atMs = nowMs
        for (const step of steps) {
          const expected = naivePick([...all.values()], rules, atMs)
          const picked = order.pick(atMs)
          expect(picked).toEqual(
            expected && {
              jobId: expected.job.jobId,
              owner: expected.job.owner,
              turn: expected.turn,
            },
          )
          const running = [...all.values()].filter(({ state }) => state === 'rendering')
          const one = running[step % Math.max(1, running.length)]
          if (step < 6 && expected)
            change({ ...expected.job, state: 'rendering', turn: expected.turn })
          else if (step === 6 && one?.turn)
            change({ ...one, state: 'completed', turn: { ...one.turn, seconds: 4 } })
          else if (step === 7 && one) change({ ...one, state: 'queued', notBeforeMs: atMs + 100 })
          else atMs += 100
        }
      }),
      { numRuns: 300, seed: 7 },
    )
  })

  it('places are the sequence in which jobs are claimed, where none is held back meanwhile', () => {
    fc.assert(
      fc.property(anyJobs, (jobs) => {
        const { order } = orderOf(jobs, rules)
        const all = new Map(
          jobs.map((each): [string, FairJob] => [each.jobId, { ...each, notBeforeMs: 0 }]),
        )
        const open: FairRules = { ...rules, heldBack: (owner) => order.heldBackOf(owner) }
        const sequence: FairJob[] = []
        for (let place = 1; ; place++) {
          const next = naivePick([...all.values()], open, nowMs)
          if (!next) break
          const { jobId } = next.job
          expect({ jobId, place: order.placeOf(jobId) }).toEqual({ jobId, place })
          const ahead = sequence.map((each) => ({
            owner: each.owner,
            seconds: each.estimatedSeconds,
          }))
          const seconds = ahead.slice(3).reduce((sum, each) => sum + each.seconds, 0)
          expect(order.aheadOf(jobId, 3)).toEqual({
            first: ahead.slice(0, 3),
            rest: { count: Math.max(0, ahead.length - 3), seconds },
          })
          sequence.push(next.job)
          all.set(jobId, { ...next.job, state: 'storing', turn: next.turn })
        }
        for (const { jobId, owner, state } of jobs)
          if (state !== 'queued' || order.heldBackOf(owner))
            expect(order.placeOf(jobId)).toBeUndefined()
      }),
      { numRuns: 300, seed: 7 },
    )
  })

  it('counts are those of the records', () => {
    fc.assert(
      fc.property(anyJobs, (jobs) => {
        const { order } = orderOf(jobs, rules)
        const queued = jobs.filter(({ state }) => state === 'queued')
        expect(order.waitingCount()).toBe(queued.length)
        let mayStart = 0
        const all = new Map(jobs.map((each) => [each.jobId, each]))
        for (;;) {
          const next = naivePick([...all.values()], rules, nowMs)
          if (!next) break
          mayStart++
          all.set(next.job.jobId, { ...next.job, state: 'rendering' })
        }
        expect(order.mayStartCount(nowMs)).toBe(mayStart)
        for (const each of jobs) order.note({ ...each, state: 'failed' }, 1_000)
        expect(order.waitingCount() + order.mayStartCount(nowMs)).toBe(0)
      }),
      { numRuns: 100, seed: 7 },
    )
  })
})

describe('a line of thousands', () => {
  it('keeps its order while jobs come and go anywhere in it', () => {
    const created = Array.from({ length: 3_000 }, (_none, at) => (at * 7_919) % 3_000)
    const { order, note } = orderOf(created.map((each) => job(`a${each}`, { estimatedSeconds: 3 })))
    for (const each of created.filter((at) => at % 3 === 0))
      note(job(`a${each}`, { state: 'cancelled' }))
    const left = created.filter((at) => at % 3 !== 0).sort((a, b) => a - b)
    expect(order.waitingCount()).toBe(left.length)
    for (const [at, each] of left.entries()) expect(order.placeOf(`a${each}`)).toBe(at + 1)
    expect(order.aheadOf(`a${left[999]}`, 256).rest).toEqual({ count: 743, seconds: 743 * 3 })
  })
})

describe('the rules without limits', () => {
  it('give equal shares and hold nobody back', () => {
    const { headStartSeconds: seconds, shareOf, heldBack } = equalShares(timings)
    expect([seconds, shareOf('a'), heldBack('a', 1_000)]).toEqual([60, 1, undefined])
  })
})

describe('workers that cannot do every job', () => {
  const high = needsOf({ how: { quality: 'high' } })
  const onlyPlain = (needs: Needs) => needs === plainNeeds

  it('get the next job that they can do, and the job passed over keeps its place', () => {
    const order = createFairOrder(rulesOf())
    order.note(job('j1', { needs: high }), 1)
    order.note(job('j2'), 2)
    expect(order.pick(nowMs, onlyPlain)?.jobId).toBe('j2')
    expect(order.pick(nowMs)?.jobId).toBe('j1')
    expect(order.placeOf('j1')).toBe(1)
    expect(order.pick(nowMs, () => false)).toBeUndefined()
  })

  it('are found far down a line, past thousands that they cannot do', () => {
    const order = createFairOrder(rulesOf())
    for (let at = 0; at < 3_000; at++) {
      const needs = at === 2_500 ? plainNeeds : high
      order.note(job(`j${at}`, { needs }), 1)
    }
    expect(order.pick(nowMs, onlyPlain)?.jobId).toBe('j2500')
  })

  /** The hours of one worker that can do all, beside four that others keep busy with what they can do. */
  function share(seconds: { first: number; later: number }) {
    const order = createFairOrder(rulesOf())
    let revision = 0
    const jobs = new Map<string, FairJob>()
    const add = (owner: string, count: number, estimatedSeconds: number, needs: Needs) => {
      for (let at = 0; at < count; at++) {
        const createdAtMs = ++revision
        const one = job(`${owner}${at}`, { owner, needs, createdAtMs, estimatedSeconds })
        jobs.set(one.jobId, one)
        order.note(one, revision)
      }
    }
    add('first', 500, seconds.first, high)
    add('busy', 1_500, 60, plainNeeds)
    add('other', 1_500, 60, plainNeeds)
    const workers = [1, 2, 3, 4, 5].map((id) => ({ freeAt: 0, doesAll: id === 5 }))
    const rendered: Record<string, number> = {}
    for (let now = 0; now < 18_000; now += 60) {
      if (now === 600) add('later', 50, seconds.later, high)
      for (const worker of workers.filter(({ freeAt }) => freeAt <= now)) {
        const next = order.pick(nowMs, worker.doesAll ? undefined : onlyPlain)
        const one = next && jobs.get(next.jobId)
        if (!next || !one) continue
        order.note({ ...one, state: 'claimed', turn: next.turn }, ++revision)
        worker.freeAt = now + one.estimatedSeconds
        rendered[one.owner] = (rendered[one.owner] ?? 0) + 1
      }
    }
    return rendered
  }

  it('serve every owner of jobs that few can do, whoever came first and with however many', () => {
    const { first = 0, later = 0, busy = 0, other = 0 } = share({ first: 60, later: 60 })
    expect(later).toBe(50)
    expect(first).toBeGreaterThan(200)
    expect(Math.abs(busy - other)).toBeLessThan(5)
    const long = share({ first: 60, later: 240 })
    expect(long['later']).toBe(50)
  })
})
