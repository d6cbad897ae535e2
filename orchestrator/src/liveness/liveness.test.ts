import { type Beat, scaledTimings } from '@avatar/contracts'
import { describe, expect, it } from 'vitest'
import { createLiveness, type OpenAttempt } from './liveness.ts'

const timings = scaledTimings(1)
const attempt: OpenAttempt = {
  jobId: 'b4a1c2f0-5c1d-4a59-8f5e-2f8c7d1e0a11',
  owner: 'o_abcDEF123456',
  epoch: 3,
  workerId: 'w1',
  incarnation: 'i1',
}

function aBeat(incarnation: string, epochs: number[], gpuSeconds?: number): Beat {
  return {
    workerId: 'w1',
    incarnation,
    engine: 'null',
    state: 'rendering',
    secondsPerVideoSecond: 1,
    atMs: 0,
    jobs: epochs.map((epoch) => ({
      jobId: attempt.jobId,
      owner: attempt.owner,
      epoch,
      stage: 'rendering',
      percent: 10,
      renderedForSeconds: 1,
      deadlineSeconds: 600,
      ...(gpuSeconds === undefined ? {} : { gpuSeconds }),
    })),
  }
}

/** Makes a pass every two seconds, as the watch does, and returns when the attempt was first lost. */
function lostAt(
  untilMs: number,
  onTick: (liveness: ReturnType<typeof createLiveness>, nowMs: number) => void = () => {},
  skips: (nowMs: number) => boolean = () => false,
): number | undefined {
  const liveness = createLiveness(timings, 0)
  for (let nowMs = 0; nowMs <= untilMs; nowMs += 2000) {
    onTick(liveness, nowMs)
    if (!skips(nowMs) && liveness.findLost([attempt], nowMs).length > 0) return nowMs
  }
  return undefined
}

describe('liveness', () => {
  it('gives up on an attempt that no heartbeat names, but not within the grace time after a start', () => {
    expect(lostAt(100_000)).toBe(46_000)
  })

  it('keeps an attempt that heartbeats name', () => {
    expect(
      lostAt(200_000, (l, nowMs) => l.onBeat(aBeat('i1', [3]), [attempt], nowMs)),
    ).toBeUndefined()
  })

  it('gives up on an attempt half a minute after its last heartbeat', () => {
    const beats = (l: ReturnType<typeof createLiveness>, nowMs: number) => {
      if (nowMs <= 60_000) l.onBeat(aBeat('i1', [3]), [attempt], nowMs)
    }
    expect(lostAt(200_000, beats)).toBe(92_000)
  })

  it('ignores a heartbeat that names another epoch', () => {
    expect(lostAt(100_000, (l, nowMs) => l.onBeat(aBeat('i1', [2]), [attempt], nowMs))).toBe(46_000)
  })

  it('gives up at once on an attempt whose worker came back without it', () => {
    const beats = (l: ReturnType<typeof createLiveness>, nowMs: number) =>
      l.onBeat(nowMs < 60_000 ? aBeat('i1', [3]) : aBeat('i2', []), [attempt], nowMs)
    expect(lostAt(200_000, beats)).toBe(60_000)
  })

  it('keeps an attempt that its restarted worker found in the spool', () => {
    const beats = (l: ReturnType<typeof createLiveness>, nowMs: number) =>
      l.onBeat(nowMs < 60_000 ? aBeat('i1', [3]) : aBeat('i2', [3]), [attempt], nowMs)
    expect(lostAt(200_000, beats)).toBeUndefined()
  })

  it('tells what the last heartbeat told of a lost attempt, that of an earlier incarnation too', () => {
    const liveness = createLiveness(timings, 0)
    for (let nowMs = 0; nowMs < 60_000; nowMs += 2000) {
      liveness.onBeat(aBeat('i1', [3], nowMs / 1000), [attempt], nowMs)
      expect(liveness.findLost([attempt], nowMs)).toEqual([])
    }
    liveness.onBeat(aBeat('i2', []), [attempt], 60_000)
    expect(liveness.findLost([attempt], 60_000)).toEqual([{ ...attempt, used: { gpuSeconds: 58 } }])
  })

  it('remembers an attempt that the view does not know yet, and forgets it if it never does', () => {
    const liveness = createLiveness(timings, 0)
    liveness.onBeat(aBeat('i1', [3], 5), [], 0)
    for (let nowMs = 0; nowMs <= 40_000; nowMs += 2000) liveness.findLost([], nowMs)
    for (let nowMs = 42_000; nowMs < 74_000; nowMs += 2000)
      expect(liveness.findLost([attempt], nowMs)).toEqual([])
    expect(liveness.findLost([attempt], 74_000)).toEqual([attempt])
  })

  it('declares nothing lost for the grace time after a gap between passes', () => {
    const isBrokerAway = (nowMs: number) => nowMs > 60_000 && nowMs < 100_000
    const beats = (l: ReturnType<typeof createLiveness>, nowMs: number) => {
      if (nowMs <= 60_000) l.onBeat(aBeat('i1', [3]), [attempt], nowMs)
    }
    expect(lostAt(300_000, beats, isBrokerAway)).toBe(146_000)
  })

  it('judges a worker by its own heartbeats, and forgets attempts that have been closed', () => {
    const others = { ...attempt, workerId: 'w2', epoch: 4 }
    const liveness = createLiveness(timings, 0)
    for (let nowMs = 0; nowMs < 60_000; nowMs += 2000) {
      liveness.onBeat(aBeat('i1', [3, 4]), [attempt, others], nowMs)
      expect(liveness.findLost([attempt, others], nowMs)).toEqual([])
    }
    liveness.onBeat(aBeat('i2', []), [attempt, others], 60_000)
    expect(liveness.findLost([others], 60_000)).toEqual([])
    expect(liveness.findLost([attempt], 62_000)).toEqual([])
  })
})
