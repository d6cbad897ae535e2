import { type Wake, wakeStates } from '@avatar/contracts'
import { describe, expect, it } from 'vitest'
import {
  decideScale,
  noTrouble,
  ringsPerPass,
  type ScaleDecision,
  type ScaleInput,
  type ScaleWorker,
  troubleAfter,
} from './decide-scale.ts'

const nowMs = 1_700_000_000_000
const midnightMs = Date.parse('2023-11-15T00:00:00Z')

const jobs = (count: number, estimatedSeconds = 100) =>
  Array.from({ length: count }, () => ({ estimatedSeconds }))

const aWake = (difference: Partial<Wake> = {}): Wake => ({
  wakeId: '0'.repeat(24),
  provider: 'runpod',
  pool: 'runpod',
  state: 'rung',
  intendedAtMs: nowMs - 10_000,
  ...difference,
})
const wakes = (...states: readonly Wake['state'][]) =>
  states.map((state, at) =>
    aWake({ state, wakeId: String(at).padStart(24, '0'), workerId: `w${at}`, incarnation: 'i' }),
  )
const worker = (difference: Partial<ScaleWorker> = {}): ScaleWorker => ({
  pool: 'runpod',
  state: 'rendering',
  remainingSeconds: 50,
  workerId: 'w0',
  incarnation: 'i',
  ...difference,
})
const loadingElsewhere = (loading: ScaleWorker['loading'] & object) =>
  worker({ pool: 'local', state: 'loading', remainingSeconds: 0, loading })
const old = (state: Wake['state'], seconds: number) =>
  aWake({ state, intendedAtMs: nowMs - seconds * 1000 })

function input(difference: Partial<ScaleInput> = {}): ScaleInput {
  const limits = { pool: 'runpod', min: 0, max: 5, targetWaitSeconds: 300, coldStartSeconds: 90 }
  return {
    nowMs,
    jobs: [],
    workers: [],
    wakes: [],
    timings: { wakeDeadlineMs: 600_000, ringAgainMs: 30_000 },
    money: { spentToday: 0, budgetPerDay: undefined },
    trouble: noTrouble,
    startedBy: 'doorbell',
    ...difference,
    limits: { ...limits, ...difference.limits },
  }
}
const limited = (difference: Partial<ScaleInput['limits']>) => ({
  limits: { ...input().limits, ...difference },
})
const spent = { money: { spentToday: 10, budgetPerDay: 10 } }
const refusing = { failures: 1, notBeforeMs: nowMs + 5_000, isStopped: false }
const survey = (difference = {}) => ({
  survey: { maxWorkers: 5, throttledWorkers: 0, otherWorkers: 1, ...difference },
})

/** What a decision comes to, its lists as counts. */
function summary(decision: ScaleDecision) {
  const { ringAgain, expire, withdraw, drainAll, untilMs, ...rest } = decision
  return {
    ...rest,
    ...(ringAgain.length > 0 ? { ringAgain: ringAgain.length } : {}),
    ...(expire.length > 0 ? { expire: expire.length } : {}),
    ...(withdraw.length > 0 ? { withdraw: withdraw.length } : {}),
    ...(drainAll ? { drainAll } : {}),
    ...(untilMs === undefined ? {} : { untilMs }),
  }
}
type Case = readonly [what: string, given: Partial<ScaleInput>, then: ReturnType<typeof summary>]

const table: readonly Case[] = [
  ['nothing waits', {}, { wanted: 0, ring: 0, reason: 'no_jobs' }],
  ['one job', { jobs: jobs(1) }, { wanted: 1, ring: 1, reason: 'ringing' }],
  ['a job that takes no time', { jobs: jobs(1, 0) }, { wanted: 1, ring: 1, reason: 'ringing' }],
  ['three short jobs share one', { jobs: jobs(3) }, { wanted: 1, ring: 1, reason: 'ringing' }],
  ['a hair over the target', { jobs: jobs(2, 200) }, { wanted: 2, ring: 2, reason: 'ringing' }],
  ['exactly the target', { jobs: jobs(2, 195) }, { wanted: 1, ring: 1, reason: 'ringing' }],
  [
    'one long job is one worker’s',
    { jobs: jobs(1, 5_000) },
    { wanted: 1, ring: 1, reason: 'ringing' },
  ],
  ['two rings a pass at most', { jobs: jobs(5, 900) }, { wanted: 5, ring: 2, reason: 'ringing' }],
  ['no more than the maximum', { jobs: jobs(99, 900) }, { wanted: 5, ring: 2, reason: 'ringing' }],
  [
    'a maximum of none',
    { jobs: jobs(2), ...limited({ max: 0 }) },
    { wanted: 0, ring: 0, reason: 'enough' },
  ],
  [
    'a slow start makes fewer',
    { jobs: jobs(2, 300), ...limited({ coldStartSeconds: 400 }) },
    { wanted: 1, ring: 1, reason: 'ringing' },
  ],
  [
    'one is on its way',
    { jobs: jobs(1), wakes: wakes('rung') },
    { wanted: 1, ring: 0, reason: 'enough' },
  ],
  [
    'one is written down',
    { jobs: jobs(1), wakes: wakes('intended') },
    { wanted: 1, ring: 0, reason: 'enough' },
  ],
  [
    'one loads',
    { jobs: jobs(1), wakes: wakes('started') },
    { wanted: 1, ring: 0, reason: 'enough' },
  ],
  [
    'one is ready',
    { jobs: jobs(1), wakes: wakes('ready') },
    { wanted: 1, ring: 0, reason: 'enough' },
  ],
  [
    'the last one has ended',
    { jobs: jobs(1), wakes: wakes('ended') },
    { wanted: 1, ring: 1, reason: 'ringing' },
  ],
  [
    'the last one was lost',
    { jobs: jobs(1), wakes: wakes('lost') },
    { wanted: 1, ring: 1, reason: 'ringing' },
  ],
  [
    'a job behind a busy worker',
    { jobs: jobs(1), wakes: wakes('ready'), workers: [worker()] },
    { wanted: 1, ring: 0, reason: 'enough' },
  ],
  [
    'a job behind one that is busy for long',
    { jobs: jobs(1), wakes: wakes('ready'), workers: [worker({ remainingSeconds: 400 })] },
    { wanted: 2, ring: 1, reason: 'ringing' },
  ],
  [
    'a worker that renders and no job',
    { wakes: wakes('ready'), workers: [worker()] },
    { wanted: 1, ring: 0, reason: 'no_jobs' },
  ],
  [
    'a worker that leaves is none',
    { jobs: jobs(1), wakes: wakes('ready'), workers: [worker({ state: 'draining' })] },
    { wanted: 1, ring: 1, reason: 'ringing' },
  ],
  [
    'and keeps its place until it is gone',
    {
      jobs: jobs(1),
      wakes: wakes('ready'),
      workers: [worker({ state: 'draining' })],
      ...limited({ max: 1 }),
    },
    { wanted: 0, ring: 0, reason: 'enough' },
  ],
  [
    'what a leaving worker renders needs nobody',
    { wakes: wakes('ready'), workers: [worker({ state: 'draining' })] },
    { wanted: 0, ring: 0, reason: 'no_jobs' },
  ],
  [
    'a worker of another pool does the job',
    { jobs: jobs(1), workers: [worker({ pool: 'local', state: 'ready', remainingSeconds: 0 })] },
    { wanted: 1, ring: 0, reason: 'enough' },
  ],
  [
    'one of another pool that loads is waited for',
    { jobs: jobs(1), workers: [loadingElsewhere({ seconds: 599, isInTrouble: false })] },
    { wanted: 1, ring: 0, reason: 'enough' },
  ],
  [
    'but not for longer than a wake-up',
    { jobs: jobs(1), workers: [loadingElsewhere({ seconds: 600, isInTrouble: false })] },
    { wanted: 1, ring: 1, reason: 'ringing' },
  ],
  [
    'nor where its engine has failed to load',
    { jobs: jobs(1), workers: [loadingElsewhere({ seconds: 1, isInTrouble: true })] },
    { wanted: 1, ring: 1, reason: 'ringing' },
  ],
  [
    'and if there are more jobs, one is rung for beside it',
    {
      jobs: jobs(2, 300),
      workers: [worker({ pool: 'local', state: 'ready', remainingSeconds: 0 })],
    },
    { wanted: 2, ring: 1, reason: 'ringing' },
  ],
  [
    'a worker of the pool without a wake does not count',
    { jobs: jobs(1), workers: [worker({ state: 'ready', remainingSeconds: 0 })] },
    { wanted: 1, ring: 1, reason: 'ringing' },
  ],
  [
    'an intent that nobody rang for',
    { jobs: jobs(1), wakes: [old('intended', 31)] },
    { wanted: 1, ring: 0, reason: 'enough', ringAgain: 1 },
  ],
  [
    'what was rung is not rung again',
    { jobs: jobs(1), wakes: [old('rung', 31)] },
    { wanted: 1, ring: 0, reason: 'enough' },
  ],
  [
    'nobody has come in time',
    { jobs: jobs(1), wakes: [old('rung', 600)] },
    { wanted: 1, ring: 1, reason: 'ringing', expire: 1 },
  ],
  [
    'nor for an intent',
    { jobs: jobs(1), wakes: [old('intended', 600)] },
    { wanted: 1, ring: 1, reason: 'ringing', expire: 1 },
  ],
  [
    'who has come stays, however long ago',
    { jobs: jobs(1), wakes: [old('started', 9_000)] },
    { wanted: 1, ring: 0, reason: 'enough' },
  ],
  [
    'the jobs are gone, and what was rung for is called back',
    { wakes: wakes('rung', 'intended', 'ready') },
    { wanted: 0, ring: 0, reason: 'no_jobs', withdraw: 2 },
  ],
  [
    'what keeps the minimum is not called back',
    { wakes: wakes('rung', 'rung'), ...limited({ min: 1 }) },
    { wanted: 1, ring: 0, reason: 'enough', withdraw: 1 },
  ],
  ['a minimum', limited({ min: 2 }), { wanted: 2, ring: 2, reason: 'ringing' }],
  [
    'the budget is spent',
    { jobs: jobs(3), wakes: wakes('rung', 'ready'), ...spent },
    {
      ...{ wanted: 0, ring: 0, reason: 'budget_reached', withdraw: 1, drainAll: true },
      untilMs: midnightMs,
    },
  ],
  [
    'a cent is left of the budget',
    { jobs: jobs(1), money: { spentToday: 9, budgetPerDay: 10 } },
    { wanted: 1, ring: 1, reason: 'ringing' },
  ],
  [
    'the ledger is not read',
    { jobs: jobs(1), money: undefined },
    { wanted: 1, ring: 0, reason: 'money_unknown' },
  ],
  [
    'the provider refuses',
    { jobs: jobs(1), trouble: refusing },
    { wanted: 1, ring: 0, reason: 'provider_away', untilMs: nowMs + 5_000 },
  ],
  [
    'and is asked again when its time is over',
    { jobs: jobs(1), trouble: { ...refusing, notBeforeMs: nowMs } },
    { wanted: 1, ring: 1, reason: 'provider_away' },
  ],
  [
    'and is not asked about an intent before',
    { jobs: jobs(1), wakes: [old('intended', 31)], trouble: refusing },
    { wanted: 1, ring: 0, reason: 'provider_away', untilMs: nowMs + 5_000 },
  ],
  [
    'there is no credit',
    { jobs: jobs(1), trouble: { failures: 1, notBeforeMs: nowMs + 9, isStopped: true } },
    { wanted: 1, ring: 0, reason: 'provider_away', untilMs: nowMs + 9 },
  ],
  [
    'the provider has no GPU',
    { jobs: jobs(1), wakes: wakes('rung'), ...survey({ throttledWorkers: 2, otherWorkers: 0 }) },
    { wanted: 1, ring: 0, reason: 'no_capacity' },
  ],
  [
    'it has one for somebody',
    { jobs: jobs(1), wakes: wakes('rung'), ...survey({ throttledWorkers: 2 }) },
    { wanted: 1, ring: 0, reason: 'enough' },
  ],
  [
    'its own maximum is lower',
    { jobs: jobs(9, 900), ...survey({ maxWorkers: 1 }) },
    { wanted: 1, ring: 1, reason: 'ringing' },
  ],
  [
    'its own maximum is 0',
    { jobs: jobs(9, 900), ...survey({ maxWorkers: 0 }) },
    { wanted: 0, ring: 0, reason: 'enough' },
  ],
  [
    'nothing could start a worker',
    { jobs: jobs(1), startedBy: 'nobody' },
    { wanted: 1, ring: 0, reason: 'no_worker_configured' },
  ],
  [
    'something else reads how many are wanted',
    { jobs: jobs(9, 900), startedBy: 'gauge' },
    { wanted: 5, ring: 0, reason: 'enough' },
  ],
]

describe('how many workers there should be', () => {
  it.each(table)('%s', (_what, given, then) => {
    expect(summary(decideScale(input(given)))).toEqual(then)
  })

  it('calls back who was asked for last: the others have waited longest', () => {
    const [first, second] = [old('rung', 40), { ...old('rung', 20), wakeId: '1'.repeat(24) }]
    const { withdraw } = decideScale(input({ wakes: [second, first], ...limited({ min: 1 }) }))
    expect(withdraw).toEqual([second])
  })
})

describe('100,000 random inputs', () => {
  const random = mulberry32(20_261_129)
  const upTo = (most: number) => Math.floor(random() * (most + 1))
  const oneOf = <T>(...values: readonly T[]) => values[upTo(values.length - 1)] as T

  function anyInput(): ScaleInput {
    const count = upTo(8)
    return input({
      jobs: Array.from({ length: upTo(12) }, () => ({ estimatedSeconds: random() * 900 })),
      workers: Array.from({ length: upTo(6) }, (_, at) =>
        worker({
          pool: oneOf('runpod', 'local'),
          state: oneOf('loading', 'ready', 'rendering', 'draining'),
          remainingSeconds: oneOf(0, random() * 900),
          workerId: `w${at}`,
        }),
      ),
      wakes: Array.from({ length: count }, (_, at) =>
        aWake({
          wakeId: String(at).padStart(24, '0'),
          state: oneOf(...wakeStates),
          intendedAtMs: nowMs - upTo(700_000),
          workerId: `w${at}`,
          incarnation: 'i',
        }),
      ),
      limits: {
        pool: 'runpod',
        max: upTo(6),
        min: oneOf(0, 0, 0, upTo(3)),
        targetWaitSeconds: oneOf(0, 30, 300),
        coldStartSeconds: oneOf(0, 20, 90, 400),
      },
      money: oneOf(
        undefined,
        { spentToday: upTo(20), budgetPerDay: oneOf(undefined, 10) },
        { spentToday: 0, budgetPerDay: undefined },
      ),
      survey: oneOf(undefined, {
        maxWorkers: upTo(6),
        throttledWorkers: upTo(2),
        otherWorkers: upTo(2),
      }),
      trouble: oneOf(noTrouble, refusing, {
        ...{ failures: 3, notBeforeMs: nowMs + 1, isStopped: true },
      }),
      startedBy: oneOf('doorbell', 'doorbell', 'gauge', 'nobody'),
    })
  }

  it('keep every rule', () => {
    for (let at = 0; at < 100_000; at++) {
      const given = anyInput()
      const told = decideScale(given)
      const { wanted, ring, ringAgain, expire, withdraw, drainAll } = told
      const busy = given.workers.filter(
        ({ state, remainingSeconds }) => state !== 'draining' && remainingSeconds > 0,
      ).length
      const { min, max } = given.limits
      const broken: string[] = []
      const claim = (what: string, holds: boolean) => holds || broken.push(what)
      claim('at most the maximum', wanted <= max)
      claim('at most the provider’s maximum', wanted <= (given.survey?.maxWorkers ?? max))
      claim(
        'at most as many as there is work for',
        wanted <= Math.max(min, given.jobs.length + busy),
      )
      claim('none without work', given.jobs.length + busy + min > 0 || wanted === 0)
      const { money } = given
      const isSpent = money?.budgetPerDay !== undefined && money.spentToday >= money.budgetPerDay
      claim('none over the budget', !isSpent || wanted + ring + ringAgain.length === 0)
      claim('all leave over the budget, and only then', drainAll === isSpent)
      const open = given.wakes.filter((wake) =>
        ['intended', 'rung', 'started', 'ready'].includes(wake.state),
      )
      const gone = new Set([...expire, ...withdraw])
      const leaving = open.filter((wake) =>
        given.workers.some(
          ({ state, workerId }) => state === 'draining' && workerId === wake.workerId,
        ),
      )
      const kept = open.filter(
        (wake) =>
          !gone.has(wake) &&
          !(leaving.includes(wake) && wake.state !== 'rung' && wake.state !== 'intended'),
      )
      claim('rings for what is missing', ring === 0 || ring + kept.length <= wanted)
      claim('a few at once', ring <= ringsPerPass)
      claim(
        'no wake twice',
        new Set([...ringAgain, ...expire, ...withdraw]).size ===
          ringAgain.length + expire.length + withdraw.length,
      )
      claim(
        'takes nobody from work',
        [...expire, ...withdraw].every(({ state }) => state === 'intended' || state === 'rung'),
      )
      claim(
        'rings only where a ring starts a worker',
        given.startedBy === 'doorbell' || ring + ringAgain.length === 0,
      )
      claim('no money, no ring', money !== undefined || ring + ringAgain.length === 0)
      claim(
        'waits while the provider refuses',
        given.trouble === noTrouble || ring + ringAgain.length === 0,
      )
      const more = decideScale({ ...given, jobs: [...given.jobs, { estimatedSeconds: 200 }] })
      claim('more work never wants fewer', isSpent || more.wanted >= wanted)
      const longer = given.jobs.map(({ estimatedSeconds }) => ({
        estimatedSeconds: estimatedSeconds * 2,
      }))
      claim('longer work neither', decideScale({ ...given, jobs: longer }).wanted >= wanted)
      if (broken.length > 0) expect.fail(`${broken}: ${JSON.stringify({ given, told })}`)
    }
  }, 120_000)
})

describe('a provider that refuses', () => {
  const timings = { ringBackoffMs: 30_000, ringBackoffMaxMs: 300_000, surveyEveryMs: 3_600_000 }
  const after = (...answers: Parameters<typeof troubleAfter>[1][]) =>
    answers.reduce((trouble, answer) => troubleAfter(trouble, answer, nowMs, timings), noTrouble)

  it('is asked again after a wait that doubles up to five minutes', () => {
    const waits = [1, 2, 3, 4, 5, 6].map(
      (times) => after(...Array(times).fill({ refused: 'away' })).notBeforeMs - nowMs,
    )
    expect(waits).toEqual([30_000, 60_000, 120_000, 240_000, 300_000, 300_000])
  })

  it('is taken at its own word on how long to wait', () => {
    const trouble = after({ refused: 'rate-limited', retryAfterMs: 7_000 })
    expect(trouble).toEqual({ failures: 1, notBeforeMs: nowMs + 7_000, isStopped: false })
  })

  it.each(['no-credit', 'not-allowed'] as const)(
    'for %s is asked again in an hour, or when it stands otherwise',
    (refused) => {
      const isStopped = { failures: 1, notBeforeMs: nowMs + 3_600_000, isStopped: true }
      expect(after({ refused })).toEqual(isStopped)
    },
  )

  it('is forgiven when it takes an order', () => {
    expect(after({ refused: 'away' }, {})).toEqual(noTrouble)
  })
})

function mulberry32(seed: number) {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}
