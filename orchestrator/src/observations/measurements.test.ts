import {
  attemptEnds,
  type JobRecord,
  type JobState,
  jobMessages,
  jobStates,
  type MetricSpec,
  metrics,
  transitions,
  zerosOf,
} from '@avatar/contracts'
import { aJob, aRender, aSpent } from '@avatar/contracts/testing'
import { describe, expect, it } from 'vitest'
import { aMessage, rules, worker } from '../../testing/a-message.ts'
import { decide, type Message } from '../states/decide.ts'
import {
  attemptLabels,
  type Circumstances,
  engineOf,
  type Measurement,
  measurementsOf,
} from './measurements.ts'

const atMs = rules.nowMs
const circumstances: Circumstances = { wasWarmAt: () => true, isInDollars: true }

/** A record as it is in a state, with what a worker has told by then. */
function inState(state: JobState, difference: Partial<JobRecord> = {}): JobRecord {
  const isOpen = ['claimed', 'rendering', 'storing', 'cancelling'].includes(state)
  const hasStarted = isOpen && state !== 'claimed'
  return aJob({
    ...{ state, createdAtMs: atMs - 60_000, queuedAtMs: atMs - 50_000, estimatedSeconds: 12 },
    told: { renderSeconds: 12, completesAtMs: atMs - 30_000 },
    ...(isOpen ? { epoch: 1, worker, claimedAtMs: atMs - 40_000 } : {}),
    ...(hasStarted ? { startedAtMs: atMs - 30_000 } : {}),
    ...(state === 'storing' ? { uploaded: aRender(), used: { gpuSeconds: 10, size: '720p' } } : {}),
    ...difference,
  })
}

/** What a message measures; undefined where it changes no state. */
function measured(before: JobRecord, message: Message, about = circumstances) {
  const after = decide(before, message, rules).job
  if (!after || after.state === before.state) return undefined
  return { after, measurements: measurementsOf({ before, after, message }, about) }
}

const valuesOf = (measurements: readonly Measurement[] = [], name: Measurement['name']) =>
  measurements.filter((one) => one.name === name).map(({ value, labels }) => ({ value, ...labels }))

describe('over the whole state table', () => {
  const specs: Readonly<Record<string, MetricSpec>> = metrics
  const cells = jobStates.flatMap((state) =>
    jobMessages.flatMap((kind) =>
      ['RENDER_FAILED', 'NO_FACE'].flatMap((code) =>
        [{}, { uploaded: undefined, failures: 2, deaths: 99, losses: 99 }].map((difference) => ({
          before: inState(state, difference as Partial<JobRecord>),
          message: aMessage(kind, { code }),
          cell: transitions[state][kind],
        })),
      ),
    ),
  )
  const moved = cells.flatMap(({ before, message, cell }) => {
    const found = measured(before, message)
    return found ? [{ before, message, cell, ...found }] : []
  })

  it('each transition is counted once, and each end of a job and of an attempt', () => {
    expect(moved.length).toBeGreaterThan(40)
    for (const { before, after, measurements, cell } of moved) {
      expect(cell.next).toContain(after.state)
      expect(valuesOf(measurements, 'job_transitions_total')).toEqual([
        { value: 1, state: after.state },
      ])
      const hasEnded = ['completed', 'failed', 'cancelled'].includes(after.state)
      expect(valuesOf(measurements, 'jobs_finished_total')).toHaveLength(hasEnded ? 1 : 0)
      expect(valuesOf(measurements, 'job_duration_seconds')).toHaveLength(hasEnded ? 1 : 0)
      const isBooked = (after.spent?.length ?? 0) > (before.spent?.length ?? 0)
      expect(valuesOf(measurements, 'attempts_ended_total')).toHaveLength(isBooked ? 1 : 0)
      const isClaim = after.state === 'claimed'
      expect(valuesOf(measurements, 'queue_wait_seconds')).toHaveLength(isClaim ? 1 : 0)
      const isVideo = after.state === 'completed'
      expect(valuesOf(measurements, 'video_seconds_total')).toHaveLength(isVideo ? 1 : 0)
    }
  })

  it('every measurement is of the catalogue, and its counters begin with 0', () => {
    for (const { name, labels, value } of moved.flatMap(({ measurements }) => measurements)) {
      const spec = specs[name]
      expect(spec?.by).toEqual(['orchestrator'])
      expect(Object.keys(labels).sort()).toEqual(Object.keys(spec?.labels ?? {}).sort())
      expect(value).toBeGreaterThanOrEqual(0)
      if (spec?.type === 'counter') expect(zerosOf(spec)).toContainEqual(labels)
    }
  })

  it('reaches every state but the first', () => {
    const reached = new Set(moved.map(({ after }) => after.state))
    expect(jobStates.filter((state) => !reached.has(state))).toEqual(['pending'])
  })
})

describe('a claim', () => {
  const claim = (wasWarmAt: (atMs: number) => boolean) =>
    measured(inState('queued'), aMessage('claim'), { ...circumstances, wasWarmAt })?.measurements

  it('tells how long the job waited, and whether a worker was there when it was queued', () => {
    const wait = claim((at) => at === atMs - 50_000)
    expect(valuesOf(wait, 'queue_wait_seconds')).toEqual([{ value: 50, start: 'warm' }])
    expect(
      valuesOf(
        claim(() => false),
        'queue_wait_seconds',
      ),
    ).toMatchObject([{ start: 'cold' }])
  })
})

describe('a completed job', () => {
  const spent = [aSpent({ epoch: 0, end: 'lost', isCharged: false })]
  const done = (about = circumstances) =>
    measured(inState('storing', { spent }), aMessage('verified'), about)?.measurements

  it('tells its render, by engine and size, and what was promised of it', () => {
    const labels = { engine: 'preview', size: '720p' }
    expect(valuesOf(done(), 'render_duration_seconds')).toEqual([{ value: 3, ...labels }])
    expect(valuesOf(done(), 'render_pace_ratio')).toEqual([{ value: 0.75, ...labels }])
    expect(valuesOf(done(), 'video_seconds_total')).toEqual([{ value: 4, engine: 'preview' }])
    expect(valuesOf(done(), 'store_duration_seconds')).toEqual([{ value: 27 }])
    expect(valuesOf(done(), 'estimate_error_ratio')).toEqual([
      { value: 0.2, of: 'render' },
      { value: 0.5, of: 'finish' },
    ])
    expect(valuesOf(done(), 'jobs_finished_total')).toEqual([
      { value: 1, outcome: 'completed', code: 'none', blame: 'none', door: 'rest' },
    ])
    expect(valuesOf(done(), 'job_duration_seconds')).toEqual([
      { value: 60, outcome: 'completed', door: 'rest' },
    ])
  })

  it('tells what it is charged, where that is in dollars', () => {
    expect(valuesOf(done(), 'job_cost_usd')).toEqual([{ value: 0.0053, engine: 'preview' }])
    expect(valuesOf(done({ ...circumstances, isInDollars: false }), 'job_cost_usd')).toEqual([])
  })

  it('tells nothing of the storing where nobody told when its render began', () => {
    const { startedAtMs: _, ...before } = inState('storing')
    const found = measured(before, aMessage('verified'))?.measurements
    expect(valuesOf(found, 'store_duration_seconds')).toEqual([])
    expect(valuesOf(found, 'render_duration_seconds')).toHaveLength(1)
  })
})

describe('a failed job', () => {
  it.each([
    ['NO_FACE', 'caller'],
    ['GPU_OUT_OF_MEMORY', 'us'],
    ['UPLOAD_FAILED', 'dependency'],
  ])('by %s blames %s, as the failure table has it', (code, blame) => {
    const found = measured(inState('rendering'), aMessage('failed', { code }))?.measurements
    expect(valuesOf(found, 'jobs_finished_total')).toEqual([
      { value: 1, outcome: 'failed', code, blame, door: 'rest' },
    ])
    expect(valuesOf(found, 'attempts_ended_total')).toEqual([
      { value: 1, outcome: 'failed', code, blame },
    ])
  })

  it('that nobody took has ended no attempt', () => {
    const found = measured(inState('queued'), aMessage('queue-timeout'))?.measurements
    expect(valuesOf(found, 'jobs_finished_total')).toMatchObject([
      { code: 'QUEUE_TIMEOUT', blame: 'us' },
    ])
    expect(valuesOf(found, 'attempts_ended_total')).toEqual([])
  })
})

describe('labels', () => {
  it('of an attempt are there for every end', () => {
    const labels = attemptEnds.map((end) => attemptLabels(end, 'RENDER_FAILED'))
    expect(labels.map(({ outcome, code }) => `${outcome} ${code}`)).toEqual([
      'completed none',
      'failed OUTPUT_INVALID',
      'failed RENDER_FAILED',
      'released none',
      'cancelled none',
      'lost WORKER_LOST',
      'failed DEADLINE_EXCEEDED',
    ])
  })

  it('of an engine that the catalogue does not know are `other`', () => {
    expect([engineOf('preview'), engineOf('of tomorrow')]).toEqual(['preview', 'other'])
  })
})
