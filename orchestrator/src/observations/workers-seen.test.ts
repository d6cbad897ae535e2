import { type Beat, beatSchema, type HeldJob } from '@avatar/contracts'
import { describe, expect, it } from 'vitest'
import { createWarmTimes } from './warm-times.ts'
import { createWorkersSeen } from './workers-seen.ts'

const timings = { beatEveryMs: 2_000, silentAfterMs: 30_000 }

const aBeat = (difference: Partial<Beat> = {}): Beat =>
  beatSchema.parse({
    ...{ workerId: 'w1', incarnation: 'i1', engine: 'null', state: 'ready' },
    ...{ secondsPerVideoSecond: 1, atMs: 0, jobs: [], ...difference },
  })

const rendering = (percent: number, stage: HeldJob['stage'] = 'rendering') =>
  aBeat({
    state: 'rendering',
    jobs: [
      {
        jobId: 'b4a1c2f0-5c1d-4a59-8f5e-2f8c7d1e0a11',
        ...{ owner: 'acme', epoch: 1, stage, percent, renderedForSeconds: 1, deadlineSeconds: 9 },
      },
    ],
  })

describe('a worker', () => {
  it('is gone once it has been silent for too long', () => {
    const workers = createWorkersSeen(timings)
    workers.onBeat(aBeat(), 1_000)
    expect(workers.alive(31_000)).toHaveLength(1)
    expect(workers.alive(31_001)).toEqual([])
  })

  it('is gone at once when it says so', () => {
    const workers = createWorkersSeen(timings)
    workers.onBeat(aBeat(), 1_000)
    workers.onBeat(aBeat({ state: 'gone' }), 1_001)
    expect(workers.alive(1_001)).toEqual([])
  })

  it('that drains and then says nothing is gone after a few heartbeats', () => {
    const workers = createWorkersSeen(timings)
    workers.onBeat(aBeat({ state: 'draining' }), 1_000)
    expect(workers.alive(5_000)).toHaveLength(1)
    expect(workers.alive(5_001)).toEqual([])
  })

  it('has been loading since it first said so, or since before we heard it', () => {
    const workers = createWorkersSeen(timings)
    const loading = (seconds: number) =>
      aBeat({ state: 'loading', starting: { stage: 'weights', seconds } })
    const since = () => workers.alive(20_000)[0]?.loadingSinceMs
    workers.onBeat(loading(4), 10_000)
    expect(since()).toBe(6_000)
    workers.onBeat(loading(14), 20_000)
    expect(since()).toBe(6_000)
    workers.onBeat(aBeat(), 20_000)
    expect(since()).toBeUndefined()
  })

  it('has not moved since the percent of its render last changed', () => {
    const workers = createWorkersSeen(timings)
    const moved = () => workers.alive(9_000)[0]?.movedAtMs
    workers.onBeat(aBeat(), 0)
    expect(moved()).toBeUndefined()
    workers.onBeat(rendering(10), 1_000)
    workers.onBeat(rendering(10), 3_000)
    expect(moved()).toBe(1_000)
    workers.onBeat(rendering(11), 5_000)
    expect(moved()).toBe(5_000)
    workers.onBeat(rendering(100, 'uploading'), 7_000)
    expect(moved()).toBeUndefined()
  })
})

describe('the start of a render process', () => {
  const startup: Beat['startup'] = [{ stage: 'total', seconds: 12 }]
  const time = { loadingSeconds: 12, idleSeconds: 1, renderingSeconds: 0 }

  it('is told once, by the first heartbeat after it', () => {
    const workers = createWorkersSeen(timings)
    expect(workers.onBeat(aBeat({ state: 'loading' }), 0)).toEqual([])
    expect(workers.onBeat(aBeat({ startup }), 1)).toEqual(startup)
    expect(workers.onBeat(aBeat({ startup }), 2)).toEqual([])
  })

  it('is told again for the next process, and for the next life of the worker', () => {
    const workers = createWorkersSeen(timings)
    workers.onBeat(aBeat({ startup, time }), 0)
    const again: Beat['startup'] = [{ stage: 'total', seconds: 3 }]
    expect(workers.onBeat(aBeat({ startup: again }), 1)).toEqual(again)
    expect(workers.onBeat(aBeat({ startup: again, incarnation: 'i2' }), 2)).toEqual(again)
  })

  it('is not told of a worker that was at work before we were', () => {
    const workers = createWorkersSeen(timings)
    expect(workers.onBeat(aBeat({ startup, time: { ...time, idleSeconds: 600 } }), 0)).toEqual([])
    const other = aBeat({ workerId: 'w2', startup, time })
    expect(workers.onBeat(other, 0)).toEqual(startup)
  })
})

describe('whether the system was warm', () => {
  it('follows the changes, and before the first one is as they began', () => {
    const times = createWarmTimes()
    expect(times.wasWarmAt(0)).toBe(false)
    times.note(true, 10)
    times.note(true, 15)
    times.note(false, 20)
    expect([5, 10, 19, 20, 30].map(times.wasWarmAt)).toEqual([true, true, true, false, false])
  })

  it('forgets the oldest changes', () => {
    const times = createWarmTimes()
    for (let atMs = 0; atMs < 10_000; atMs++) times.note(atMs % 2 === 0, atMs)
    expect(times.wasWarmAt(9_998)).toBe(true)
    expect(times.wasWarmAt(9_999)).toBe(false)
  })
})
