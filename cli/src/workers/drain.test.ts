import { type Beat, beatSchema, type HeldJob, timings } from '@avatar/contracts'
import { describe, expect, it } from 'vitest'
import { chosenAmong, createDrain } from './drain.ts'

const aBeat = (difference: Partial<Beat> = {}): Beat =>
  beatSchema.parse({
    ...{ workerId: 'w1', incarnation: 'i1', engine: 'null', state: 'ready' },
    ...{ secondsPerVideoSecond: 1, atMs: 0, jobs: [], ...difference },
  })

const holding = (stage: HeldJob['stage'], percent: number): Pick<Beat, 'jobs'> => ({
  jobs: [
    {
      jobId: 'b4a1c2f0-5c1d-4a59-8f5e-2f8c7d1e0a11',
      ...{ owner: 'acme', epoch: 1, stage, percent, renderedForSeconds: 1, deadlineSeconds: 9 },
    },
  ],
})

const draining = (difference: Partial<Beat> = {}) => aBeat({ state: 'draining', ...difference })

describe('the chosen workers', () => {
  const of = (workerId: string, release?: string) =>
    aBeat({ workerId, ...(release === undefined ? {} : { release }) })
  const all = [of('w1', '2.0.0'), of('w2', '2.1.0'), of('w3')]
  const ids = (id?: string, release?: string) =>
    chosenAmong(all, id, release).map(({ workerId }) => workerId)

  it('are the one that is named, those of another release or of none, or all', () => {
    expect(ids('w2')).toEqual(['w2'])
    expect(ids('w4')).toEqual([])
    expect(ids(undefined, '2.1.0')).toEqual(['w1', 'w3'])
    expect(ids()).toEqual(['w1', 'w2', 'w3'])
  })
})

describe('a drain', () => {
  it('waits no longer than it is told for those that finish a job, and calls the others deaf', () => {
    const drain = createDrain([aBeat(), aBeat({ workerId: 'w2' })], 0)
    drain.onBeat(draining(holding('rendering', 12)), 1)
    drain.giveUp()
    expect(drain.isOver()).toBe(true)
    expect(drain.outcomes().map(({ outcome }) => outcome)).toEqual(['leaving', 'deaf'])
    expect(drain.told()[0]).toBe('w1 leaves after its job; no longer waited for')
  })

  it('tells a worker at each heartbeat until one says that it drains, and waits until it is gone', () => {
    const drain = createDrain([aBeat()], 0)
    expect(drain.told()).toEqual(['w1 has not heard it yet'])
    expect(drain.onBeat(aBeat({ state: 'rendering', ...holding('rendering', 10) }), 1)).toBe(true)
    expect(drain.onBeat(draining(holding('rendering', 47)), 2)).toBe(false)
    expect(drain.told()).toEqual(['w1 finishes a job: rendering, 40 %'])
    expect(drain.onBeat(draining(holding('uploading', 100)), 3)).toBe(false)
    expect(drain.onBeat(draining(holding('ended', 100)), 4)).toBe(false)
    expect(drain.told()).toEqual(['w1 has nothing in hand and ends'])
    expect(drain.isOver()).toBe(false)
    drain.onBeat(aBeat({ state: 'gone' }), 5)
    expect(drain.isOver()).toBe(true)
    expect(drain.outcomes()).toEqual([{ workerId: 'w1', outcome: 'gone' }])
    expect(drain.told()).toEqual(['w1 has left'])
  })

  it('does not tell the process that took the place of a worker', () => {
    const drain = createDrain([aBeat()], 0)
    expect(drain.onBeat(aBeat({ incarnation: 'i2', state: 'loading' }), 1)).toBe(false)
    expect(drain.outcomes()).toEqual([{ workerId: 'w1', outcome: 'gone' }])
    expect(drain.onBeat(aBeat({ incarnation: 'i2' }), 2)).toBe(false)
  })

  it('leaves workers alone that were not chosen', () => {
    const drain = createDrain([aBeat()], 0)
    expect(drain.onBeat(aBeat({ workerId: 'w2' }), 1)).toBe(false)
    expect(drain.outcomes()).toHaveLength(1)
  })

  it('waits for a long render, and gives up on silence', () => {
    const drain = createDrain([aBeat()], 0)
    const late = 40 * timings.silentAfterMs
    for (let at = 0; at <= late; at += timings.beatEveryMs) {
      drain.onBeat(draining(holding('rendering', 1)), at)
      drain.check(at)
    }
    expect(drain.isOver()).toBe(false)
    drain.check(late + timings.silentAfterMs)
    expect(drain.isOver()).toBe(false)
    drain.check(late + timings.silentAfterMs + 1)
    expect(drain.outcomes()).toEqual([{ workerId: 'w1', outcome: 'lost' }])
  })

  it('gives up on a worker that goes on taking jobs', () => {
    const drain = createDrain([aBeat(), aBeat({ workerId: 'w2' })], 0)
    for (let at = 0; at <= timings.silentAfterMs + 1; at += 1_000) {
      drain.onBeat(aBeat(), at)
      drain.onBeat(draining({ workerId: 'w2' }), at)
    }
    drain.check(timings.silentAfterMs + 1)
    expect(drain.outcomes()).toEqual([
      { workerId: 'w1', outcome: 'deaf' },
      { workerId: 'w2', outcome: undefined },
    ])
  })
})
