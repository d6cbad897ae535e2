import { type JobRecord, scaledTimings } from '@avatar/contracts'
import { aJob } from '@avatar/contracts/testing'
import { describe, expect, it } from 'vitest'
import { ProgressChecks, type Sight } from '../testing/simulation/check-progress.ts'
import { progressBounds } from '../testing/simulation/progress-bounds.ts'

const bounds = progressBounds(scaledTimings(1))
const { recovers, handOut, told, states } = bounds

/** Looks every second at what is there at that second, as a simulated life does. */
function complaintsOf(untilMs: number, sightAt: (nowMs: number) => Partial<Sight>): string[] {
  const complaints: string[] = []
  const checks = new ProgressChecks(bounds, (what) => complaints.push(what))
  const still: Omit<Sight, 'nowMs'> = {
    ...{ isDisturbed: false, isWorkDisturbed: false, jobs: [], idleWorkers: [] },
    idleAsks: new Set(),
    ...{ isEndTold: () => true, mayStart: () => true, workMs: () => 0 },
  }
  for (let nowMs = 0; nowMs <= untilMs; nowMs += 1_000)
    checks.look({ nowMs, ...still, ...sightAt(nowMs) })
  return complaints
}

const job = aJob({ state: 'queued', epoch: 1 })
const inState = (state: JobRecord['state']) => ({ jobs: [{ ...job, state }] })

describe('what must go on', () => {
  it.each(['pending', 'claimed', 'rendering', 'storing', 'cancelling'] as const)(
    'says that a job stays %s, and not before its time',
    (state) => {
      const withinMs = states[state]
      expect(complaintsOf(withinMs, () => inState(state))).toEqual([])
      const [complaint] = complaintsOf(withinMs + 1_000, () => inState(state))
      expect(complaint).toContain(`I1 ${job.jobId} stays ${state}`)
    },
  )

  it('grants a render its time', () => {
    const sight = { ...inState('rendering'), workMs: () => 60_000 }
    expect(complaintsOf(states.rendering + 60_000, () => sight)).toEqual([])
    expect(complaintsOf(states.rendering + 61_000, () => sight)).toHaveLength(1)
  })

  it('counts anew with each attempt', () => {
    const withinMs = states.claimed
    const sightAt = (nowMs: number) => ({
      jobs: [{ ...job, state: 'claimed' as const, epoch: nowMs < withinMs ? 1 : 2 }],
    })
    expect(complaintsOf(2 * withinMs - 1_000, sightAt)).toEqual([])
  })

  it('waits until what disturbed it is over, and what that left behind', () => {
    const overMs = 100_000
    for (const trouble of ['isDisturbed', 'isWorkDisturbed'] as const) {
      const sightAt = (nowMs: number) => ({ ...inState('claimed'), [trouble]: nowMs <= overMs })
      const withinMs = overMs + recovers + states.claimed
      expect(complaintsOf(withinMs, sightAt)).toEqual([])
      expect(complaintsOf(withinMs + 1_000, sightAt)).toHaveLength(1)
    }
  })

  it('says that nobody is told of an end', () => {
    const sight = { ...inState('completed'), isEndTold: () => false }
    expect(complaintsOf(told, () => sight)).toEqual([])
    expect(complaintsOf(told + 1_000, () => sight)[0]).toContain('nobody is told')
    // A store that is away, or a worker, is in nobody's way here.
    const disturbed = { ...sight, isWorkDisturbed: true }
    expect(complaintsOf(told + 1_000, () => disturbed)).toHaveLength(1)
  })

  it('says that a worker idles while a job waits', () => {
    const sight = { ...inState('queued'), idleWorkers: ['w1'] }
    expect(complaintsOf(handOut, () => sight)).toEqual([])
    expect(complaintsOf(handOut + 1_000, () => sight)).toHaveLength(1)
    expect(complaintsOf(handOut + 1_000, () => ({ ...sight, isWorkDisturbed: true }))).toHaveLength(
      1,
    )
  })

  it('says that a job is claimed for an ask that is not answered', () => {
    const worker = { id: 'w1', incarnation: 'i1', ask: 'a1' }
    const claimed = { jobs: [{ ...job, state: 'claimed' as const, worker }] }
    const sight = { ...claimed, idleAsks: new Set(['a1']) }
    expect(complaintsOf(handOut, () => sight)).toEqual([])
    expect(complaintsOf(handOut + 1_000, () => sight)).toHaveLength(1)
    const another = { ...claimed, idleAsks: new Set(['a2']) }
    expect(complaintsOf(handOut + 1_000, () => another)).toEqual([])
  })

  it('says nothing where the job may not start, another worker idles each time, or nothing is well for long', () => {
    const waits = inState('queued')
    const may = { ...waits, idleWorkers: ['w1'] }
    for (const sightAt of [
      () => ({ ...waits, idleWorkers: [] }),
      () => ({ ...may, mayStart: () => false }),
      () => ({ ...may, jobs: [{ ...job, notBeforeMs: 1e9 }] }),
      (nowMs: number) => ({ ...waits, idleWorkers: [`w${Math.floor(nowMs / handOut)}`] }),
      (nowMs: number) => ({ ...may, isDisturbed: nowMs % (recovers + 5_000) === 0 }),
    ])
      expect(complaintsOf(10 * handOut, sightAt)).toEqual([])
  })
})
