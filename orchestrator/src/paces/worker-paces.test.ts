import type { Beat } from '@avatar/contracts'
import { describe, expect, it } from 'vitest'
import { createKnownWorkers } from './worker-paces.ts'

const silentAfterMs = 30_000
const paceKey = { engine: 'null', size: '720p', device: 'cpu', framesPerChunk: 75 }

function aBeat(state: Beat['state'], time: number | Beat['time'], difference: Partial<Beat> = {}) {
  const worker = { workerId: 'w1', incarnation: 'i1', engine: 'null', jobs: [] }
  const spent = { idleSeconds: 0, renderingSeconds: 0 }
  const told = typeof time === 'number' ? { loadingSeconds: time, ...spent } : time
  const beat: Beat = { ...worker, state, secondsPerVideoSecond: 1, atMs: 1, time: told }
  return { ...beat, ...difference }
}

/** What is learned from each of the heartbeats, a second apart. */
function learnedFrom(...beats: Beat[]) {
  const known = createKnownWorkers(silentAfterMs)
  return beats.map((beat, second) => known.onBeat(beat, second * 1_000))
}

describe('a cold start', () => {
  it('is told at the first heartbeat after the engine is loaded, once', () => {
    const beats = [
      aBeat('loading', 1),
      aBeat('loading', 40),
      aBeat('ready', 41),
      aBeat('ready', 41),
    ]
    expect(learnedFrom(...beats)).toEqual([undefined, undefined, 41, undefined])
    expect(learnedFrom(aBeat('loading', 1), aBeat('rendering', 41))).toEqual([undefined, 41])
  })

  it('is that of each incarnation', () => {
    const again = { incarnation: 'i2' }
    const beats = [aBeat('loading', 5), aBeat('loading', 1, again), aBeat('ready', 9, again)]
    expect(learnedFrom(...beats)).toEqual([undefined, undefined, 9])
    expect(learnedFrom(aBeat('loading', 5), aBeat('ready', 7, again))).toEqual([
      undefined,
      undefined,
    ])
  })

  it('is none where the engine is loaded again, was loaded before, or never is', () => {
    const reloading = { loadingSeconds: 42, idleSeconds: 3, renderingSeconds: 9 }
    const reloaded = [aBeat('loading', reloading), aBeat('ready', { ...reloading, idleSeconds: 4 })]
    for (const beats of [
      reloaded,
      [aBeat('ready', 41)],
      [aBeat('loading', 1), aBeat('draining', 2)],
      [aBeat('loading', 1), aBeat('gone', 2)],
    ])
      expect(learnedFrom(...beats).every((learned) => learned === undefined)).toBe(true)
  })

  it('is none of a worker of an earlier version, which tells no time', () => {
    const { time: _, ...loading } = aBeat('loading', 1)
    expect(learnedFrom(loading, { ...loading, state: 'ready' })).toEqual([undefined, undefined])
  })
})

describe('what a worker renders on', () => {
  it('is known of the incarnation that was heard last, until it has fallen silent', () => {
    const known = createKnownWorkers(silentAfterMs)
    known.onBeat(aBeat('ready', 1, { paceKey }), 0)
    expect(known.paceKeyOf('w1', 'i1')).toEqual(paceKey)
    expect(known.paceKeyOf('w1', 'i2')).toBeUndefined()
    known.onBeat(aBeat('ready', 1, { workerId: 'w2' }), silentAfterMs + 1)
    expect(known.paceKeyOf('w1', 'i1')).toBeUndefined()
  })
})
