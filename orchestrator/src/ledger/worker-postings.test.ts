import { type Beat, timings } from '@avatar/contracts'
import { describe, expect, it } from 'vitest'
import { createWorkersHeard } from './worker-postings.ts'

const minute = timings.workerPostingEveryMs
const day = '2026-11-29'

function aBeat(idleSeconds: number, difference: Partial<Beat> = {}): Beat {
  return {
    ...{ workerId: 'worker-1', incarnation: 'i1', engine: 'preview', state: 'ready' },
    ...{ secondsPerVideoSecond: 1, atMs: 1_700_000_000_000, jobs: [], pool: 'l40s' },
    time: { loadingSeconds: 3, idleSeconds, renderingSeconds: 0 },
    ...difference,
  }
}

function heard() {
  const workers = createWorkersHeard(timings, { l40s: 530 })
  /** Posts what is due; the idle seconds of each posting stand for it. */
  const post = (nowMs: number) =>
    workers.due(nowMs).map(({ posting, posted }) => {
      posted()
      return posting.idleSeconds
    })
  return { ...workers, post }
}

describe("a worker's time", () => {
  it('is posted each minute, as it was told last', () => {
    const { onBeat, post } = heard()
    onBeat(aBeat(1), day, 0)
    onBeat(aBeat(59), day, minute - 1_000)
    expect(post(minute - 1)).toEqual([])
    onBeat(aBeat(60), day, minute - 1)
    expect(post(minute)).toEqual([60])
    expect(post(minute + 1)).toEqual([])
  })

  it('carries the price of its pool, and nothing for one without a price', () => {
    const { onBeat, due } = heard()
    onBeat(aBeat(1), day, 0)
    onBeat(aBeat(1, { workerId: 'worker-2', pool: 'local' }), day, 0)
    expect(due(minute).map(({ posting }) => posting.priceMicros)).toEqual([530, 0])
  })

  it('is posted at once when the worker begins to drain, and once more when it has fallen silent', () => {
    const { onBeat, post } = heard()
    onBeat(aBeat(1), day, 0)
    onBeat(aBeat(5, { state: 'draining' }), day, 5_000)
    expect(post(5_000)).toEqual([5])
    onBeat(aBeat(6, { state: 'draining' }), day, 6_000)
    expect(post(6_000)).toEqual([])
    expect(post(6_001 + timings.silentAfterMs)).toEqual([6])
    expect(post(minute * 10)).toEqual([])
  })

  it('is posted at once when the worker ends without draining', () => {
    const { onBeat, post } = heard()
    onBeat(aBeat(1), day, 0)
    onBeat(aBeat(2, { state: 'gone' }), day, 2_000)
    expect(post(2_000)).toEqual([2])
  })

  it('comes again until it was posted', () => {
    const { onBeat, due, post } = heard()
    onBeat(aBeat(1), day, 0)
    const silentMs = timings.silentAfterMs + 1
    expect(due(silentMs)).toHaveLength(1)
    expect(post(silentMs)).toEqual([1])
  })

  it('belongs to the day on which it was told, and to its incarnation', () => {
    const { onBeat, due } = heard()
    onBeat(aBeat(1), '2026-11-29', 0)
    onBeat(aBeat(2, { incarnation: 'i2' }), '2026-11-30', 1_000)
    expect(due(minute + 1_000).map((each) => [each.day, each.posting.incarnation])).toEqual([
      ['2026-11-29', 'i1'],
      ['2026-11-30', 'i2'],
    ])
  })

  it('of an earlier version, which tells none, is left out', () => {
    const { onBeat, post } = heard()
    const { pool: _pool, time: _time, ...old } = aBeat(1)
    onBeat(old, day, 0)
    expect(post(minute)).toEqual([])
  })
})
