import {
  hasOpenAttempt,
  isTerminal,
  type JobRecord,
  type JobState,
  jobMessages,
  jobStates,
} from '@avatar/contracts'
import { aJob, aRender } from '@avatar/contracts/testing'
import { attemptTraceparent, jobTraceparent, spanIdOf } from '@avatar/service-kit'
import { describe, expect, it } from 'vitest'
import { aMessage, rules, worker } from '../../testing/a-message.ts'
import { decide, type Message } from '../states/decide.ts'
import { spansOf } from './spans.ts'

const createdAtMs = rules.nowMs - 30_000
const claimedAtMs = rules.nowMs - 10_000
const facts = { currency: 'USD' }

function inState(state: JobState, difference: Partial<JobRecord> = {}): JobRecord {
  const isOpen = hasOpenAttempt({ state })
  return aJob({
    ...{ state, createdAtMs, queuedAtMs: createdAtMs + 5_000, epoch: isOpen ? 1 : 0 },
    ...(isOpen ? { worker, claimedAtMs } : {}),
    ...(isTerminal({ state }) ? { finishedAtMs: rules.nowMs - 1_000 } : {}),
    ...difference,
  })
}

/** What a message makes of a job, and the spans of that. */
function after(before: JobRecord, message: Message) {
  const job = decide(before, message, rules).job
  const changed = job && job.state !== before.state
  const spans = changed ? spansOf({ before, after: job, message }, facts) : []
  return { job, spans, names: spans.map(({ name }) => name) }
}

const uploaded = { uploaded: aRender() }

describe('over the whole state table', () => {
  const cases = jobStates.flatMap((state) =>
    jobMessages.flatMap((kind) =>
      [{}, state === 'storing' || state === 'cancelling' ? uploaded : {}].map((difference) => ({
        ...{ state, kind },
        ...after(inState(state, difference), aMessage(kind)),
      })),
    ),
  )

  it('an attempt ends where the record has none any more, a job where it is over, and a queue at a claim', () => {
    const reached = new Set<string>()
    for (const { state, kind, job, names } of cases) {
      const wanted = [
        ...(job?.state === 'claimed' && state === 'queued' ? ['queue'] : []),
        ...(job && hasOpenAttempt({ state }) && !hasOpenAttempt(job) ? ['attempt'] : []),
        ...(job && isTerminal(job) && !isTerminal({ state }) ? ['job'] : []),
      ]
      expect(names, `${state} × ${kind}`).toEqual(wanted)
      for (const name of names) reached.add(name)
    }
    expect([...reached].sort()).toEqual(['attempt', 'job', 'queue'])
  })

  it('each span has its time, its place and the job that it is found by', () => {
    for (const { spans, job, state, kind } of cases)
      for (const span of spans) {
        const what = `${state} × ${kind}: ${span.name}`
        expect(span.toMs, what).toBeGreaterThanOrEqual(span.fromMs)
        expect(span.fromMs, what).toBeGreaterThanOrEqual(createdAtMs)
        expect(span.attributes?.['avatar.job.id'], what).toBe(job?.jobId)
        const parent = job && (span.name === 'job' ? job.traceparent : jobTraceparent(job))
        expect(span.parent, what).toBe(parent)
      }
  })
})

it('tells an attempt as it was, under the id that its worker knows', () => {
  const before = inState('rendering', { epoch: 3 })
  const message = aMessage('failed', { epoch: 3, code: 'RENDER_FAILED' })
  const [span] = after(before, message).spans
  expect(span).toMatchObject({
    id: spanIdOf(before.jobId, 3),
    ...{ fromMs: claimedAtMs, toMs: rules.nowMs, isError: true },
    attributes: {
      ...{ 'avatar.attempt': 3, 'avatar.worker': 'w1', 'avatar.outcome': 'failed' },
      ...{ 'avatar.code': 'RENDER_FAILED', 'avatar.blame': 'us' },
    },
  })
  expect(attemptTraceparent(before)).toContain(span?.id)
})

it('tells each end of an attempt by its outcome; only two of them are no failures', () => {
  const told = (state: JobState, kind: (typeof jobMessages)[number], more = {}) => {
    const spans = after(inState(state, more), aMessage(kind)).spans
    const span = spans.find(({ name }) => name === 'attempt')
    return [span?.attributes?.['avatar.outcome'], span?.attributes?.['avatar.code'], span?.isError]
  }
  expect(told('storing', 'verified', uploaded)).toEqual(['completed', undefined, false])
  expect(told('rendering', 'released')).toEqual(['released', undefined, false])
  expect(told('rendering', 'attempt-lost')).toEqual(['lost', 'WORKER_LOST', true])
  expect(told('rendering', 'overdue')).toEqual(['failed', 'DEADLINE_EXCEEDED', true])
  expect(told('storing', 'refused', uploaded)).toEqual(['failed', 'OUTPUT_INVALID', true])
  expect(told('cancelling', 'cancelled')).toEqual(['cancelled', undefined, true])
})

it('tells a job with what it came to, and its cost only in dollars', () => {
  const before = inState('storing', uploaded)
  const message = aMessage('verified')
  const job = decide(before, message, rules).job
  if (!job) throw new Error('not completed')
  const spans = (currency: string) => spansOf({ before, after: job, message }, { currency })
  const [, span] = spans('USD')
  expect(span).toMatchObject({
    id: spanIdOf(job.jobId),
    ...{ fromMs: createdAtMs, toMs: job.finishedAtMs, isError: false },
    attributes: {
      ...{ 'avatar.outcome': 'completed', 'avatar.attempts': 1, 'avatar.door': 'rest' },
      ...{ 'avatar.engine': aRender().engine, 'avatar.audio_seconds': job.audio.seconds },
    },
  })
  expect(span?.attributes?.['avatar.cost_usd']).toBeTypeOf('number')
  expect(spans('EUR')[1]?.attributes?.['avatar.cost_usd']).toBeUndefined()
})

it('tells a failed job by its code and who is to blame', () => {
  const { spans } = after(inState('queued'), aMessage('queue-timeout'))
  expect(spans).toMatchObject([
    { name: 'job', isError: true, attributes: { 'avatar.code': 'QUEUE_TIMEOUT' } },
  ])
  expect(spans[0]?.attributes?.['avatar.blame']).toBeTypeOf('string')
})

it('tells how long a job waited, and whether a worker was there', () => {
  const before = inState('queued')
  const message = aMessage('claim')
  const job = decide(before, message, rules).job
  if (!job) throw new Error('not claimed')
  const queuedAtMs = createdAtMs + 5_000
  const told = (warmFromMs: number) =>
    spansOf({ before, after: job, message }, { ...facts, wasWarmAt: (atMs) => atMs >= warmFromMs })
  for (const [start, warmFromMs] of [
    ['warm', queuedAtMs],
    ['cold', queuedAtMs + 1],
  ] as const)
    expect(told(warmFromMs)).toMatchObject([
      {
        ...{ name: 'queue', fromMs: queuedAtMs, toMs: job.claimedAtMs },
        attributes: { 'avatar.start': start, 'avatar.attempt': 1 },
      },
    ])
})
